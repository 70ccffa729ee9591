"""Removing what no run names, here and in a node's cache, and forgetting a run.

Runs may begin and go on meanwhile; gc_mark.py says why.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from accrete.catalog.catalog import Catalog
from accrete.catalog.gc_mark import DEAD_AFTER_S, CollectionMark
from accrete.catalog.inventory import Inventory, follow, read_inventory
from accrete.catalog.life import extends, readable_records
from accrete.catalog.step_documents import SILENT_AFTER_S, UPLOAD_INTERVAL_S, step_documents
from accrete.config.run import check_run_name
from accrete.errors import InputError, IntegrityError, RunNotFoundError
from accrete.store import keys
from accrete.store.keys import Listed
from accrete.store.object_store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What may go, in the order in which it must: nothing left ever names what is gone."""

    notes: tuple[Listed, ...]
    """Of sources whose data set goes."""
    stages: tuple[Listed, ...]
    """Manifests of stages of no run."""
    datasets: tuple[Listed, ...]
    """Manifests of data sets of no run."""
    snapshots: tuple[Listed, ...]
    """Of finished stages, of stages of no run, and all but the newest of the others."""
    objects: tuple[Listed, ...]
    """Shards, checkpoints and stage records that nothing names."""

    @property
    def all(self) -> tuple[Listed, ...]:
        """Everything, in order."""
        return (*self.notes, *self.stages, *self.datasets, *self.snapshots, *self.objects)

    @property
    def num_bytes(self) -> int:
        """Bytes of everything."""
        return sum(listed.num_bytes for listed in self.all)


def collection_of(
    listed: Sequence[Listed],
    inventory: Inventory,
    prepared: Mapping[str, str | None],
    older_than: datetime,
) -> Collection:
    """Return what no run names and was written before a moment.

    A manifest that is younger counts as named, and all that it names: its run may be about to
    begin.

    Args:
        listed: everything in the store, listed before the inventory was read.
        inventory: its records and manifests.
        prepared: the data set that each source became, by the source's fingerprint; None where the
            note does not say.
        older_than: by the store's clock.
    """
    old = {item.key: item for item in listed if item.modified_at < older_than}
    named = follow(
        inventory.runs.values(),
        inventory.stages,
        inventory.datasets,
        more_stages=[d for d in inventory.stages if keys.stage_key(d) not in old],
        more_datasets=[d for d in inventory.datasets if keys.dataset_key(d) not in old],
    )

    def found(wanted: Iterable[str]) -> tuple[Listed, ...]:
        return tuple(old[key] for key in wanted if key in old)

    return Collection(
        notes=found(
            keys.prepared_key(fingerprint)
            for fingerprint, dataset in prepared.items()
            if dataset not in named.datasets
        ),
        stages=found(keys.stage_key(d) for d in inventory.stages if d not in named.stages),
        datasets=found(keys.dataset_key(d) for d in inventory.datasets if d not in named.datasets),
        snapshots=found(_useless_snapshots(listed, inventory, named.stages)),
        objects=tuple(
            item
            for key, item in old.items()
            if (sha256 := keys.parse_object_key(key)) is not None and sha256 not in named.objects
        ),
    )


def _useless_snapshots(
    listed: Sequence[Listed], inventory: Inventory, named: set[str]
) -> list[str]:
    """Return the keys of snapshots that no attempt will go on from."""
    by_stage: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for item in listed:
        parsed = keys.parse_snapshot_key(item.key)
        if parsed is not None and item.key.startswith(keys.snapshot_prefix()):
            by_stage[item.key.split("/")[1]].append((parsed[0], item.key))
    useless = []
    for stage, found in by_stage.items():
        is_wanted = stage in named and stage not in inventory.stages
        newest = max(found) if is_wanted else None
        useless += [key for position, key in found if (position, key) != newest]
    return useless


_PARALLEL = 8
_BATCH = 64
_LIVING_WITHIN = timedelta(seconds=30 * UPLOAD_INTERVAL_S)
MIN_KEEP = timedelta(hours=1)
"""What is younger may be on its way into a manifest of a run that is under way."""

_CLOCK_ERROR = timedelta(hours=1)


def find_collection(catalog: Catalog, keep: timedelta) -> Collection:
    """Return what could go, and remove nothing.

    Args:
        catalog: where to look.
        keep: what was written within this time stays: a run may be about to name it.

    Raises:
        IntegrityError: a record or manifest cannot be read: what it names is not known.
    """
    store = catalog.store
    listed = list(store.list_objects(""))  # before the records: what comes later is not in it
    inventory = read_inventory(catalog)
    if inventory.damaged:
        key, reason = next(iter(inventory.damaged.items()))
        others = f" (and {len(inventory.damaged) - 1} others)" if len(inventory.damaged) > 1 else ""
        raise IntegrityError(
            f"nothing was removed, since {store.uri(key)}{others} cannot be read and what it names "
            f"is not known: {reason}"
        )
    older_than = min([store.bucket.clock() - keep, *_begun_at(store, inventory, listed)])
    return collection_of(listed, inventory, catalog.prepared_datasets(), older_than)


def check_keep(store: ObjectStore, keep: timedelta) -> None:
    """Refuse to take what is young from runs that are under way and have not named it yet.

    Raises:
        InputError: a step runs that may have stored what is to be kept for less than an hour.
    """
    if keep >= MIN_KEEP:
        return
    heard_since = store.bucket.clock() - _LIVING_WITHIN
    for item in store.list_objects(keys.run_prefix()):
        if item.modified_at < heard_since or not keys.is_step_key(item.key):
            continue
        name = item.key.split("/")[1]
        if any(document.state == "running" for document in step_documents(store, name)):
            raise InputError(
                f"--keep is under an hour, and run {name!r} wrote to the store minutes ago: it may "
                "have stored what it names later; give at least 1h, or wait until nothing runs"
            )


def collect(
    catalog: Catalog,
    keep: timedelta,
    *,
    report: Callable[[int, int], None] = lambda _done, _total: None,
    dead_after_s: float = DEAD_AFTER_S,
) -> Collection:
    """Remove what no run names; return it.

    Args:
        catalog: where.
        keep: what was written within this time stays.
        report: told what is removed, and the total.
        dead_after_s: seconds after which a silent collector counts as killed.

    Raises:
        IntegrityError: a record or manifest cannot be read; nothing is removed then.
        StoreError: another collector is at work, or the store fails; what is gone was unnamed, and
            another collection removes the rest.
    """
    # What waited for a store that was away would remove on the word of a mark that counts as dead.
    store = catalog.store.at_once()
    mark = CollectionMark(store, dead_after_s=dead_after_s)
    try:
        found = find_collection(catalog, keep)
        _remove(store, found, mark, report)
    finally:
        mark.end()
    return found


def _remove(
    store: ObjectStore,
    found: Collection,
    mark: CollectionMark,
    report: Callable[[int, int], None],
) -> None:
    """Delete kind after kind, so that what names an object is gone before it."""
    total, done = len(found.all), 0
    kinds = (found.notes, found.stages, found.datasets, found.snapshots, found.objects)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for kind in kinds:
            for start in range(0, len(kind), _BATCH):
                mark.beat()
                batch = [listed.key for listed in kind[start : start + _BATCH]]
                list(pool.map(store.delete, batch))
                done += len(batch)
                report(done, total)


def _begun_at(store: ObjectStore, inventory: Inventory, listed: list[Listed]) -> list[datetime]:
    """Return since when living preparations have been storing shards that nothing names yet."""
    now = store.bucket.clock()
    heard = {item.key: item.modified_at for item in listed}
    begun = []
    for name in inventory.unprepared:
        key = keys.step_key(name, keys.prepare_step_name())
        if key not in heard or now - heard[key] > _LIVING_WITHIN:
            continue
        for document in step_documents(store, name):
            begun.append(document.started_at - _CLOCK_ERROR)
    return begun


def keys_of_run(store: ObjectStore, name: str) -> list[str]:
    """Return the keys of a run's notes, its record first, so that it names nothing from then on.

    Raises:
        ConfigError: no run can be called so.
        RunNotFoundError: no run is.
        InputError: a step of it is running, or another run extends it.
    """
    check_run_name(name)
    listed = list(store.list_objects(keys.run_folder(name)))
    if not listed:
        raise RunNotFoundError(
            f"no run {name!r} in {store.address}: `accrete ls` lists what there is"
        )
    _check_silent(store, name, listed)
    _check_last(store, name)
    records = (keys.run_key(name), keys.sweep_key(name))
    return sorted((item.key for item in listed), key=lambda key: (key not in records, key))


def forget_run(store: ObjectStore, name: str, found: list[str]) -> None:
    """Delete a run's notes; what a call that was cut off left, another one deletes.

    Args:
        store: where they are.
        name: the run, which may have begun to run again since its notes were found.
        found: from `keys_of_run`.

    Raises:
        InputError: a step of it is running.
    """
    _check_silent(store, name, list(store.list_objects(keys.run_folder(name))))
    for key in found:
        store.at_once().delete(key)  # later a step of it may be running


def _check_silent(store: ObjectStore, name: str, listed: list[Listed]) -> None:
    silent_since = store.bucket.clock() - timedelta(seconds=SILENT_AFTER_S)
    notes = [item for item in listed if item.key.startswith(keys.step_prefix(name))]
    heard = {item.key for item in notes if item.modified_at > silent_since}
    if heard and any(each.state == "running" for each in step_documents(store, name)):
        raise InputError(
            f"a step of run {name!r} wrote to the store within the last {SILENT_AFTER_S} s: "
            "end the run, wait that long, and try again"
        )


def _check_last(store: ObjectStore, name: str) -> None:
    """Refuse to take a run out of the middle of a life: what extends it would have no beginning."""
    records = readable_records(store)
    forgotten = records.pop(name, None)
    stages = set(forgotten.stages) if forgotten else set()
    stages -= {stage for each in records.values() for stage in each.stages}
    later = [each for each in records.values() if any(extends(each, stage) for stage in stages)]
    if later:
        raise InputError(
            f"run {later[0].name!r} extends run {name!r}: without it their life has a gap, and "
            f"NAME@latest is an older model; forget {later[0].name!r} first, if it is of no use"
        )


_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedFile:
    """A file of the cache that may go."""

    path: Path
    """Where it is."""
    num_bytes: int
    """Its size."""


def unneeded_files(root: Path, named: Container[str], keep: timedelta) -> list[CachedFile]:
    """Return the files of a cache that no run names and nobody wrote lately.

    Args:
        root: the cache's folder; it need not exist.
        named: SHA-256 of the objects that runs name.
        keep: what was written within this time stays, by this machine's clock.
    """
    oldest = time.time() - keep.total_seconds()
    found = []
    for path in _candidates(root):
        with suppress(FileNotFoundError):
            facts = path.lstat()
            is_named = len(path.name) == _SHA256_DIGITS and path.name in named
            if facts.st_mtime < oldest and not is_named:
                found.append(CachedFile(path=path, num_bytes=facts.st_size))
    return found


def remove_files(files: list[CachedFile]) -> None:
    """Remove files; a process that has one open goes on reading it."""
    for file in files:
        file.path.unlink(missing_ok=True)
        with suppress(OSError):
            file.path.parent.rmdir()  # of an attempt, or of objects: only when it is empty


def _candidates(root: Path) -> Iterator[Path]:
    """Yield objects, half-pulled ones, temporary files, snapshots; compiled code is torch's own."""
    for folder in ("objects", "tmp", "snapshots"):
        yield from sorted(path for path in (root / folder).rglob("*") if not path.is_dir())
