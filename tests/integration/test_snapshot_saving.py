"""Where a snapshot goes, what it says of the time before it, and a node's disk that has no room."""

import dataclasses
import errno
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from digits import SOURCE, digits_run, stage_context

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import DatasetManifest
from accrete.config.run import ModelConfig
from accrete.data.prepare import prepare_dataset
from accrete.errors import DiskFullError
from accrete.models.networks import build_model
from accrete.stages import run as stage
from accrete.stages.local_snapshots import LocalSnapshots, with_room
from accrete.stages.observer import StageObserver
from accrete.stages.run import run_stage
from accrete.stages.snapshots import Pace, SnapshotWatcher, newest_snapshot
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.training.loop import HistoryPoint, TrainState
from accrete.training.optimizer import Sgd

STAGE, OTHER = "a" * 64, "b" * 64
SLEPT_S = 0.3


@pytest.fixture
def dataset(catalog: Catalog, tmp_path: Path) -> DatasetManifest:
    plan = digits_run().plan
    return prepare_dataset(
        SOURCE, plan, catalog, tmp_path / "work", lambda _: lambda _: None
    ).manifest


@pytest.fixture
def spec(dataset: DatasetManifest) -> StageSpec:
    return stage_chain(digits_run(10, budget_epochs=6.0), dataset)[0]


@pytest.mark.slow
def test_the_time_of_attempts_before_counts_in_a_stage_s_own(
    spec: StageSpec, dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    """Its speed was that of the last few steps alone, over all the images."""

    slept: list[None] = []

    def interrupt(steps: int, _loss: float) -> None:
        if not slept:
            slept.append(time.sleep(SLEPT_S))
        if steps > 20 and catalog.store.list_keys(keys.snapshot_prefix(spec.digest)):
            raise KeyboardInterrupt

    context = dataclasses.replace(stage_context(catalog, cache), snapshot_interval_s=0.0)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_stage(spec, dataset, dataclasses.replace(context, progress=interrupt))
    first_s = time.monotonic() - began
    snapshot = newest_snapshot(spec.digest, catalog.store, cache)
    assert snapshot is not None
    before_s = snapshot.info.state.train_s
    assert SLEPT_S <= before_s <= first_s
    began = time.monotonic()
    manifest = run_stage(spec, dataset, context).manifest
    assert before_s < manifest.times.train_s < before_s + time.monotonic() - began
    seen = manifest.result.images_seen
    assert manifest.result.images_per_s == pytest.approx(seen / manifest.times.train_s)


def leave(cache: NodeCache, stage: str) -> Path:
    """Leave a file as of a snapshot of a stage on this node's disk."""
    path = cache.work_path / "part"
    path.write_bytes(b"x")
    return LocalSnapshots(stage, cache).take(path, keys.snapshot_key(stage, 7, "c" * 64, 1))


class Disk:
    """Has room for some work once few enough files are left."""

    def __init__(self, most_files: int, *files: Path) -> None:
        self.most_files, self.files, self.tries = most_files, files, 0

    def __call__(self) -> str:
        self.tries += 1
        if sum(file.exists() for file in self.files) > self.most_files:
            raise OSError(errno.ENOSPC, "No space left on device")
        return "done"


def test_snapshots_give_room_to_what_would_not_fit(cache: NodeCache) -> None:
    files = leave(cache, STAGE), leave(cache, OTHER)
    disk = Disk(1, *files)
    assert (with_room(disk, cache, keep=STAGE), disk.tries) == ("done", 2)
    assert [file.exists() for file in files] == [True, False]
    disk = Disk(0, *files)
    with pytest.raises(DiskFullError, match="no space left on the disk of"):
        with_room(disk, cache, keep=STAGE)  # nothing else can go
    assert disk.tries == 1
    assert with_room(disk, cache) == "done"


def test_a_stage_whose_outputs_do_not_fit_beside_snapshots_is_published(
    spec: StageSpec,
    dataset: DatasetManifest,
    catalog: Catalog,
    cache: NodeCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk(0, leave(cache, spec.digest), leave(cache, OTHER))
    push = stage.push_outputs

    def pushed(*arguments: object, **options: object) -> object:
        disk()
        return push(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "push_outputs", pushed)
    context = dataclasses.replace(stage_context(catalog, cache), snapshot_interval_s=1e4)
    assert run_stage(spec, dataset, context).manifest.digest == spec.digest
    assert disk.tries == 2


@pytest.mark.parametrize("ends_well", [True, False])
def test_where_no_snapshot_can_be_kept_it_is_stored_all_the_same(
    ends_well: bool, spec: StageSpec, store: ObjectStore, cache: NodeCache
) -> None:
    (cache.work_path.parent / keys.snapshot_prefix().rstrip("/")).write_text("in the way")
    kept: list[int] = []
    notices: list[str] = []
    observer = StageObserver()
    observer.snapshot_kept = kept.append  # type: ignore[method-assign]
    watcher = SnapshotWatcher(
        STAGE, store, cache, pace=Pace(0.0), progress=lambda _done, _loss: None,
        observer=observer, notice=notices.append,
    )  # fmt: skip
    model = build_model(ModelConfig(name="small"), channels=1, num_classes=2, seed=0)
    with watcher.watching(model, Sgd([], spec.schedule)):
        watcher.take_state(TrainState(position=1))
        if ends_well:
            watcher.finish(TrainState(position=2))
    snapshot = newest_snapshot(STAGE, store, cache)
    assert snapshot is not None
    assert snapshot.info.state.position == 1
    assert (kept, notices) == ([], [])
    assert [path.name for path in cache.work_path.iterdir()] == []


def test_a_snapshot_is_of_the_moment_it_was_taken_however_late_it_is_written(
    spec: StageSpec, store: ObjectStore, cache: NodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = SnapshotWatcher(
        STAGE, store, cache, pace=Pace(0.0), progress=lambda _done, _loss: None,
        observer=StageObserver(), notice=lambda _: None,
    )  # fmt: skip
    goes_on, save = Event(), watcher._save

    def late(snapshot: Any) -> None:
        assert goes_on.wait(30)
        save(snapshot)

    monkeypatch.setattr(watcher, "_save", late)
    model = build_model(ModelConfig(name="small"), channels=1, num_classes=2, seed=0)
    state = TrainState(position=9, round_top1s=[0.5])
    with watcher.watching(model, Sgd([], spec.schedule)):
        watcher.take_state(state)
        state.position += 1
        state.round_top1s.append(0.6)
        state.history.append(HistoryPoint(step=10, epoch=1.0, lr=0.1, loss=2.0))
        goes_on.set()
    snapshot = newest_snapshot(STAGE, store, cache)
    assert snapshot is not None
    taken = snapshot.info.state
    assert (taken.position, taken.round_top1s, taken.history) == (9, [0.5], [])
