"""A model's life: the run that began it, and the runs that extended it, one after another."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import StageManifest
from accrete.catalog.records import RunRecord, find_record, run_names
from accrete.errors import ConfigError, RunNotFoundError

_PARALLEL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """A run that finished, and what it came to."""

    record: RunRecord
    """The run."""
    stage: StageManifest
    """Its last stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Finished runs, each but the first an extension of the one before."""

    lived: tuple[Lived, ...]
    """From the first to the newest; none while the first has not finished."""
    begun: tuple[RunRecord, ...]
    """Extensions of the newest that have not finished."""

    @property
    def newest(self) -> Lived:
        """The model that classes are added to."""
        return self.lived[-1]


def records_of(catalog: Catalog) -> dict[str, RunRecord]:
    """Return the runs whose data set is prepared, by name; sweeps are none.

    Raises:
        StoreError: they cannot be read.
        IntegrityError: a record was changed.
    """
    names = run_names(catalog.store)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = pool.map(lambda name: find_record(catalog.store, name), names)
        return {record.name: record for record in found if record is not None}


def ancestors_of(catalog: Catalog, records: Mapping[str, RunRecord], name: str) -> list[Lived]:
    """Return what a run came from: the runs before it, from the first, each with its stage that
    was extended. What was trained elsewhere is no run.

    Args:
        catalog: where the stages are.
        records: of all runs, by name.
        name: of the run.

    Raises:
        RunNotFoundError: no such run is recorded.
        IntegrityError: a stage's manifest was changed, or an object of it is gone.
    """
    owners = {each.stages[-1]: each for each in reversed(list(records.values()))}
    for each in records.values():
        for stage_digest in each.stages:
            owners.setdefault(stage_digest, each)  # a run that ended with the stage comes first
    record, found, seen = _recorded(records, name), [], {name}
    while (base := record.config.base) is not None:
        before = owners.get(base.identity)
        stage = catalog.stage(base.identity) if before else None
        if before is None or stage is None or before.name in seen:
            break
        found.append(Lived(record=before, stage=stage))
        seen.add(before.name)
        record = before
    return found[::-1]


def life_of(catalog: Catalog, records: Mapping[str, RunRecord], name: str) -> Life:
    """Return the life that a run began, up to its newest model.

    Args:
        catalog: where the stages are.
        records: of all runs, by name.
        name: of the first run.

    Raises:
        RunNotFoundError: no such run is recorded.
        ConfigError: two finished runs extend the same model, so that none is the newest.
        IntegrityError: a stage's manifest was changed, or an object of it is gone.
    """
    lived: list[Lived] = []
    waiting = [_recorded(records, name)]
    while waiting:
        found = _finished(catalog, waiting)
        if len(found) > 1:
            both = " and ".join(each.record.name for each in found[:2])
            raise ConfigError(
                f"{both} both extend {_name_of(lived[-1])}: neither is the newest; give the name "
                "of the one that goes on, or forget the other (accrete forget)"
            )
        if not found:
            break
        lived += found
        seen = {each.record.name for each in lived}
        waiting = [
            each
            for each in records.values()
            if each.config.base is not None
            and each.config.base.identity == found[0].stage.digest
            and each.name not in seen
        ]
    return Life(lived=tuple(lived), begun=tuple(waiting))


def _recorded(records: Mapping[str, RunRecord], name: str) -> RunRecord:
    if name not in records:
        raise RunNotFoundError(
            f"run {name!r} has no record in this store: `accrete ls` lists the runs that have one"
        )
    return records[name]


def _finished(catalog: Catalog, records: Sequence[RunRecord]) -> list[Lived]:
    """Return which of some runs finished; of two that came to the same stage, the first by name."""
    found: dict[str, Lived] = {}
    for record in sorted(records, key=lambda each: each.name):
        stage = catalog.stage(record.stages[-1])
        if stage is not None:
            found.setdefault(stage.digest, Lived(record=record, stage=stage))
    return list(found.values())


def _name_of(lived: Lived) -> str:
    return f"stage {lived.stage.index} of run {lived.record.name}"
