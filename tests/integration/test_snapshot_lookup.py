"""Which snapshot of a stage counts: the furthest that is whole and says what its key says.

It may be the store's, or one on this node's disk that did not get there.
"""

from pathlib import Path

import pytest
import torch

from accrete.catalog.manifests import FORMAT
from accrete.core.hashing import sha256_of_file
from accrete.models.checkpoint import save_checkpoint
from accrete.stages.local_snapshots import LocalSnapshots
from accrete.stages.snapshots import Pace, SnapshotInfo, newest_snapshot
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.training.loop import TrainState

STAGE, OTHER = "a" * 64, "b" * 64


def put(store: ObjectStore, folder: Path, *, stage: str, position: int, at: int) -> None:
    """Store a snapshot that says it is of a stage and a position, below STAGE at another one."""
    path = folder / "snapshot"
    info = SnapshotInfo(format=FORMAT, stage=stage, state=TrainState(position=position))
    save_checkpoint(path, {"w": torch.zeros(2)}, {}, info)
    key = keys.snapshot_key(STAGE, at, sha256_of_file(path), path.stat().st_size)
    store.upload(key, path)


@pytest.mark.parametrize(("stage", "position"), [(OTHER, 9), (STAGE, 8)])
def test_a_snapshot_that_says_other_than_its_key_is_passed_over(
    stage: str, position: int, store: ObjectStore, tmp_path: Path
) -> None:
    put(store, tmp_path, stage=STAGE, position=5, at=5)
    put(store, tmp_path, stage=stage, position=position, at=9)
    snapshot = newest_snapshot(STAGE, store, NodeCache(tmp_path / "cache", store))
    assert snapshot is not None
    assert snapshot.info.state.position == 5


def test_what_is_no_snapshot_is_passed_over(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x80\x04 a pickle")
    key = keys.snapshot_key(STAGE, 3, sha256_of_file(path), path.stat().st_size)
    store.upload(key, path)
    store.write_note(f"{keys.snapshot_prefix(STAGE)}notes.txt", b"")
    assert newest_snapshot(STAGE, store, NodeCache(tmp_path / "cache", store)) is None


def keep(store: ObjectStore, folder: Path, position: int) -> LocalSnapshots:
    """Leave a snapshot of STAGE on the node's disk alone."""
    path = folder / "snapshot"
    info = SnapshotInfo(format=FORMAT, stage=STAGE, state=TrainState(position=position))
    save_checkpoint(path, {"w": torch.zeros(2)}, {}, info)
    key = keys.snapshot_key(STAGE, position, sha256_of_file(path), path.stat().st_size)
    local = LocalSnapshots(STAGE, node(store, folder))
    local.take(path, key)
    return local


def node(store: ObjectStore, folder: Path) -> NodeCache:
    return NodeCache(folder / "cache", store)


def found(store: ObjectStore, folder: Path) -> int:
    snapshot = newest_snapshot(STAGE, store, node(store, folder))
    return -1 if snapshot is None else snapshot.info.state.position


@pytest.mark.parametrize(("here", "stored"), [(9, 5), (5, 9), (9, None)])
def test_the_further_of_this_node_s_and_the_store_s_counts(
    here: int, stored: int | None, store: ObjectStore, tmp_path: Path
) -> None:
    keep(store, tmp_path, here)
    if stored is not None:
        put(store, tmp_path, stage=STAGE, position=stored, at=stored)
    assert found(store, tmp_path) == 9


def test_a_damaged_one_of_this_node_is_passed_over(store: ObjectStore, tmp_path: Path) -> None:
    local = keep(store, tmp_path, 9)
    put(store, tmp_path, stage=STAGE, position=5, at=5)
    ((key, _),) = local.listed()
    path = local.whole(key)
    assert path is not None
    data = path.read_bytes()
    for damaged in (data[:-1], data[:-1] + b"\x7f", b""):
        path.write_bytes(damaged)
        assert found(store, tmp_path) == 5


def test_old_ones_of_this_node_go_and_one_on_its_way_stays(
    store: ObjectStore, tmp_path: Path
) -> None:
    for position in (3, 5, 9):
        local = keep(store, tmp_path, position)
    on_its_way = local.whole(min(local.listed())[0])
    local.delete(before=9, keep=on_its_way)
    assert sorted(position for _, position in local.listed()) == [3, 9]
    local.delete()
    assert local.listed() == []
    assert found(store, tmp_path) == -1


def test_snapshots_that_cost_little_are_taken_oftener() -> None:
    pace = Pace(60.0, 15.0)
    assert pace.interval_s == 15
    pace.cost(2_300_000, 0.05)  # a small network's
    assert pace.interval_s == 15
    pace.cost(160_000_000, 0.1)  # VGG-19's: by what is written
    assert pace.interval_s == pytest.approx(59.3, abs=0.1)
    pace.cost(1_000_000, 0.2)  # a slow disk
    assert pace.interval_s == pytest.approx(40)
    pace.cost(1_000_000, 9.0)
    assert pace.interval_s == 60
    fixed = Pace(5.0)
    fixed.cost(160_000_000, 9.0)
    assert fixed.interval_s == 5
