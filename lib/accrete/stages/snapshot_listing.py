"""The snapshots of a stage, by their keys: without torch, for steps that reuse a stage."""

from collections.abc import Callable

from accrete.errors import AccreteError
from accrete.stages.local_snapshots import LocalSnapshots
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore


def listed_snapshots(store: ObjectStore, stage: str) -> list[tuple[str, int]]:
    """Return key and position of a stage's snapshots."""
    listed = store.list_keys(keys.snapshot_prefix(stage))
    found = [(key, keys.parse_snapshot_key(key)) for key in listed]
    return [(key, parsed[0]) for key, parsed in found if parsed is not None]


def delete_snapshots(
    stage: str, store: ObjectStore, cache: NodeCache, notice: Callable[[str], None]
) -> None:
    """Delete all snapshots of a stage, once its manifest stands; they are of no use then.

    Args:
        stage: its identity.
        store: where they are.
        cache: of this node, which has some, too.
        notice: told where that fails; they cost space and nothing else.
    """
    LocalSnapshots(stage, cache).delete()
    try:
        for key, _ in listed_snapshots(store, stage):
            store.delete(key)
    except AccreteError as error:
        notice(f"the stage's snapshots stay in the store: {error}")
