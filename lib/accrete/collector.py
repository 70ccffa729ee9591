"""Removing what no run names, while runs begin and go on. See collection_mark.py for why it can."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from accrete import keys
from accrete.catalog import Catalog
from accrete.collection import Collection, collection_of
from accrete.collection_mark import DEAD_AFTER_S, CollectionMark
from accrete.errors import InputError, IntegrityError
from accrete.inventory import Inventory, read_inventory
from accrete.journal import UPLOAD_INTERVAL_S
from accrete.runs import step_documents
from accrete.store import Listed, ObjectStore

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
    older_than = min([store.clock() - keep, *_begun_at(store, inventory, listed)])
    return collection_of(listed, inventory, catalog.prepared_datasets(), older_than)


def check_keep(store: ObjectStore, keep: timedelta) -> None:
    """Refuse to take what is young from runs that are under way and have not named it yet.

    Raises:
        InputError: a step runs that may have stored what is to be kept for less than an hour.
    """
    if keep >= MIN_KEEP:
        return
    heard_since = store.clock() - _LIVING_WITHIN
    for item in store.list_objects(keys.run_prefix()):
        if item.modified_at < heard_since or not keys.is_step_key(item.key):
            continue
        name = item.key.split("/")[1]
        if any(document["state"] == "running" for document in step_documents(store, name)):
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
    mark = CollectionMark(catalog.store, dead_after_s=dead_after_s)
    try:
        found = find_collection(catalog, keep)
        _remove(catalog.store, found, mark, report)
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
    now = store.clock()
    heard = {item.key: item.modified_at for item in listed}
    begun = []
    for name in inventory.unprepared:
        key = keys.step_key(name, keys.prepare_step_name())
        if key not in heard or now - heard[key] > _LIVING_WITHIN:
            continue
        for document in step_documents(store, name):
            begun.append(datetime.fromisoformat(document["started_at"]) - _CLOCK_ERROR)
    return begun
