"""A model's life: the run that began it, and the runs that extended it, one after another."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import StageManifest
from accrete.catalog.newest import LATEST, NothingFinishedError, newest_run, runs_of_life
from accrete.catalog.records import RunRecord, find_record, run_names
from accrete.config.arrivals import is_arrival_name
from accrete.config.run import BaseModel, RunConfig
from accrete.errors import InputError, IntegrityError, RunNotFoundError
from accrete.store import keys
from accrete.store.object_store import ObjectStore

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
    """Those that have not finished, of the whole life."""

    @property
    def newest(self) -> Lived:
        """The model that classes are added to."""
        return self.lived[-1]

    @property
    def underway(self) -> tuple[RunRecord, ...]:
        """Extensions of the newest that have not finished."""
        return tuple(each for each in self.begun if extends(each, self.newest.stage.digest))


def extends(record: RunRecord, stage: str) -> bool:
    """Return whether a run's model grew from the stage of a digest."""
    base = record.config.base
    return base is not None and base.identity == stage


def check_no_fork(catalog: Catalog, base: BaseModel, config: RunConfig) -> None:
    """Refuse to extend a model that another run is about to extend.

    Args:
        catalog: where runs and stages are.
        base: the newest model of a life.
        config: the run that is to extend it; the same one may go on.

    Raises:
        InputError: the life would fork.
    """
    for record in readable_records(catalog.store).values():
        is_other = extends(record, base.identity) and record.config.digest != config.digest
        if is_other and not _is_finished(catalog, record.stages[-1]):
            raise InputError(
                f"run {record.name!r} extends {base.origin} too, and has not finished: wait for "
                f"its end, `accrete forget {record.name}`, or fork the life by giving the stage "
                f"itself, {base.identity[:12]}"
            )


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


def readable_records(store: ObjectStore) -> dict[str, RunRecord]:
    """Return the runs whose data set is prepared, by name; without those that were damaged.

    Raises:
        StoreError: they cannot be read.
    """

    def read(name: str) -> RunRecord | None:
        try:
            return find_record(store, name)
        except IntegrityError:
            return None

    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = pool.map(read, run_names(store))
        return {record.name: record for record in found if record is not None}


def ancestors_of(
    catalog: Catalog, records: Mapping[str, RunRecord], name: str, asked: str | None = None
) -> list[Lived]:
    """Return what a run came from: the runs before it, from the first, each with its stage that
    was extended. What was trained elsewhere is no run.

    Args:
        catalog: where the stages are.
        records: of all runs, by name.
        name: of the run.
        asked: the run whose life is asked for: of several runs of one configuration, which have
            the same stages, it is the one that is meant. None: the one that the run is named after.

    Raises:
        RunNotFoundError: no such run is recorded.
        IntegrityError: a stage's manifest was changed, or an object of it is gone.
    """

    def farness(owner: RunRecord, stage: str) -> tuple[bool, ...]:
        is_named_after = is_arrival_name(name, owner.name)
        return owner.name != asked, not is_named_after, owner.stages[-1] != stage

    record, found, seen = _recorded(records, name), [], {name}
    while (base := record.config.base) is not None:
        owners = [each for each in records.values() if base.identity in each.stages]
        before = min(owners, key=partial(farness, stage=base.identity), default=None)
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
        InputError: the life has forked, so that no model is the newest.
        IntegrityError: a stage's manifest was changed, or an object of it is gone.
    """
    first = _recorded(records, name)
    # Asked before the newest is: what ends meanwhile is the newest itself then.
    runs = runs_of_life(name, records).values()
    begun = tuple(each for each in runs if not _is_finished(catalog, each.stages[-1]))
    try:
        newest = newest_run(f"{name}{LATEST}", records, partial(_is_finished, catalog), _tell_none)
    except NothingFinishedError:
        return Life(lived=(), begun=(first,))
    stage = catalog.stage(newest.stages[-1])
    assert stage is not None, "it was seen just now"
    before = [] if newest.name == name else ancestors_of(catalog, records, newest.name, name)
    names = [each.record.name for each in before]
    since = before[names.index(name) :] if name in names else []
    return Life(lived=(*since, Lived(record=newest, stage=stage)), begun=begun)


def _is_finished(catalog: Catalog, digest: str) -> bool:
    return catalog.store.size_of(keys.stage_key(digest)) is not None


def _tell_none(_line: str) -> None:
    """Say nothing: who asks for a life shows it."""


def _recorded(records: Mapping[str, RunRecord], name: str) -> RunRecord:
    if name not in records:
        raise RunNotFoundError(
            f"run {name!r} has no record in this store: `accrete ls` lists the runs that have one"
        )
    return records[name]
