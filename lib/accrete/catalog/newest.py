"""NAME@latest: the newest model of the life that a run began.

A run's life is the run and all that extend it: runs whose base is a stage of a run in the life. Of
each only the last stage counts, once it is finished: those before it, of a plan that shares one
learning rate, are on their way. Whatever was extended is older than what extends it, so the newest
model is the one that nothing finished extends. Where two are left, the life has forked, and only
its owner knows which way it goes on.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from accrete.catalog.catalog import Catalog
from accrete.catalog.records import (
    RunRecord,
    SweepRecord,
    find_record,
    find_sweep_record,
    run_names,
)
from accrete.config.run import check_run_name
from accrete.core.units import format_counted
from accrete.errors import ConfigError, InputError, IntegrityError, RunNotFoundError
from accrete.store import keys

_AT = "@"
LATEST = "@latest"
"""Behind a run's name: the newest model of its life."""
_PARALLEL_READS = 8


class NothingFinishedError(InputError):
    """Of a life, no run has finished."""


class ForkedLifeError(InputError):
    """Two models of a life are the newest; its owner can end that."""


def is_latest(text: str) -> bool:
    """Return whether a text stands for the newest model of a life.

    Raises:
        ConfigError: something else than `latest` follows the @, or no run's name is before it.
    """
    if _AT not in text:
        return False
    name = text.removesuffix(LATEST)
    if _AT in name:
        raise ConfigError(
            f"model is {text[:80]!r}: after @ only latest has a meaning; give NAME@latest, or "
            "NAME and --stage J"
        )
    check_run_name(name)
    return True


def begun_by(text: str) -> str:
    """Return the run that began a life, which NAME and NAME@latest stand for.

    Raises:
        ConfigError: neither is meant.
    """
    return text.removesuffix(LATEST) if is_latest(text) else text


def find_newest(catalog: Catalog, text: str, tell: Callable[[str], None]) -> RunRecord:
    """Return the run whose last stage is the newest model of a life.

    Args:
        catalog: where to look; the record of every run in it is read.
        text: NAME@latest.
        tell: hears which stage of which run that is, and what else is on its way.

    Raises:
        RunNotFoundError: the store knows no such run.
        InputError: the life has forked, or nothing of it is finished.
    """
    store = catalog.store

    def read(name: str) -> RunRecord | SweepRecord | None:
        try:
            return find_record(store, name) or find_sweep_record(store, name)
        except IntegrityError as error:
            tell(f"run {name} is left out: {error}")
            return None

    names = run_names(store)
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        found = zip(names, pool.map(read, names), strict=True)
        records = {name: record for name, record in found if record is not None}

    def is_finished(digest: str) -> bool:
        return store.size_of(keys.stage_key(digest)) is not None

    return newest_run(text, records, is_finished, tell)


def newest_run(
    text: str,
    records: Mapping[str, RunRecord | SweepRecord],
    is_finished: Callable[[str], bool],
    tell: Callable[[str], None],
) -> RunRecord:
    """Return the run whose last stage is the newest model of a life.

    Args:
        text: NAME@latest.
        records: all runs of the store, by name.
        is_finished: tells whether the stage of a digest is.
        tell: hears which stage of which run that is, and what else is on its way.

    Raises:
        RunNotFoundError: there is no such run.
        ForkedLifeError: no model is the newest.
        NothingFinishedError: nothing of the life is finished.
    """
    life = runs_of_life(text.removesuffix(LATEST), records)
    done = {name: run for name, run in life.items() if is_finished(run.stages[-1])}
    waiting = sorted(life.keys() - done.keys())
    if not done:
        raise NothingFinishedError(
            f"{text} has no finished model: `accrete status {waiting[0]}` tells how the run stands"
        )
    extended = {run.config.base.identity for run in done.values() if run.config.base is not None}
    # Two runs of one configuration have the same stages and are one model: the first name stands.
    ends = {run.stages[-1]: run for _, run in sorted(done.items(), reverse=True)}
    left = sorted(
        (run for digest, run in ends.items() if digest not in extended), key=lambda run: run.name
    )
    if len(left) > 1:
        shown = ", ".join(_shown(run) for run in left[:3]) + (", …" if len(left) > 3 else "")
        raise ForkedLifeError(
            f"{text} may be any of {format_counted(len(left), 'model')}, since the life has "
            f"forked: {shown}; give {left[0].name}@latest or {left[1].name}@latest, or forget a "
            "run that is of no use (accrete forget)"
        )
    newest = left[0]
    num_classes = format_counted(newest.config.plan.num_classes, "class", "classes")
    tell(f"{text} is {_shown(newest)}, {num_classes}")
    if waiting:
        runs = ", ".join(waiting[:3]) + (", …" if len(waiting) > 3 else "")
        tell(f"not finished yet, and left out: run {runs}")
    return newest


def runs_of_life(name: str, records: Mapping[str, RunRecord | SweepRecord]) -> dict[str, RunRecord]:
    """Return a run and all that extend it, directly or through others, by name.

    Raises:
        RunNotFoundError: there is no such run.
        InputError: it is a sweep.
    """
    first = records.get(name)
    if first is None:
        raise RunNotFoundError(
            f"no run is called {name!r}, or its data set is not prepared: `accrete ls` lists what "
            "there is"
        )
    if not isinstance(first, RunRecord):
        raise InputError(
            f"{name!r} is a {first.sweep.purpose} of {len(first.cells)} runs, no life of one: "
            "give the digest of the stage that you mean, which its report.json names"
        )
    of_base: dict[str, list[RunRecord]] = {}
    for record in records.values():
        if isinstance(record, RunRecord) and record.config.base is not None:
            of_base.setdefault(record.config.base.identity, []).append(record)
    life = {name: first}
    unseen = [first]
    while unseen:
        for stage in unseen.pop().stages:
            for run in of_base.get(stage, []):
                if run.name not in life:
                    life[run.name] = run
                    unseen.append(run)
    return life


def _shown(run: RunRecord) -> str:
    return f"stage {len(run.stages)} of run {run.name} ({run.stages[-1][:12]})"
