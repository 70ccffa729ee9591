"""Which snapshot of a stage counts: the furthest that is whole and says what its key says."""

from pathlib import Path

import pytest
import torch

from accrete.catalog.manifests import FORMAT
from accrete.core.hashing import sha256_of_file
from accrete.models.checkpoint import save_checkpoint
from accrete.stages.snapshots import SnapshotInfo, newest_snapshot
from accrete.store import keys
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
    found = newest_snapshot(STAGE, store, tmp_path)
    assert found is not None
    assert found.info.state.position == 5


def test_what_is_no_snapshot_is_passed_over(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x80\x04 a pickle")
    key = keys.snapshot_key(STAGE, 3, sha256_of_file(path), path.stat().st_size)
    store.upload(key, path)
    store.write_note(f"{keys.snapshot_prefix(STAGE)}notes.txt", b"")
    assert newest_snapshot(STAGE, store, tmp_path) is None
