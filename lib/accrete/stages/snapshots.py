"""Snapshots of a stage in training: saved now and then, found again after a kill.

A composer: joins store and training. The training loop only asks whether a snapshot is due; the
tensors are copied then, and written to this node's disk and uploaded in a thread. A snapshot's key
names its size and SHA-256, so a damaged or half-written one is passed over; the newest whole one
counts, of the store's and this node's.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from uuid import uuid4

from torch import Tensor

from accrete.catalog.manifests import FORMAT
from accrete.core.disk import disk_full_named
from accrete.core.hashing import sha256_of_file
from accrete.core.processes import ending
from accrete.core.validation import check_sha256
from accrete.errors import (
    AccreteError,
    IntegrityError,
    ObjectMissingError,
    PreemptedError,
    StoreError,
)
from accrete.models.checkpoint import Checkpoint, load_described, save_checkpoint
from accrete.models.networks import Classifier
from accrete.stages.local_snapshots import LocalSnapshots
from accrete.stages.observer import StageObserver
from accrete.stages.snapshot_listing import listed_snapshots
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.training.loop import TrainState
from accrete.training.optimizer import Sgd, momentum_of

Progress = Callable[[int, float], None]
"""Called now and then with optimizer steps done in the stage and the mean loss since last time."""


_FRESH_SHARE = 2 / 3
"""Of the interval: a snapshot of which more is left is fresh enough when training is done."""

_MOST_SHARE = 0.005
"""Part of the time that snapshots oftener than asked for may take from training."""

_MOST_BYTES_PER_S = 2.7e6
"""What they may write: a snapshot of VGG-19 with momentum, 160 MB, a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo:
    """What a snapshot of a stage in training says of itself."""

    format: int
    """FORMAT."""
    stage: str
    """Identity of the stage."""
    state: TrainState
    """How far it is."""

    def __post_init__(self) -> None:
        check_sha256("stage", self.stage)


def load_snapshot(path: Path) -> Checkpoint[SnapshotInfo]:
    """Read a snapshot whose hash was checked when it was fetched.

    Raises:
        IntegrityError: the file is no snapshot of this format.
    """
    return load_described(path, SnapshotInfo)


class Pace:
    """How often a stage is saved: as often as may be asked, or oftener where that costs little."""

    def __init__(self, most_s: float, least_s: float | None = None) -> None:
        """Begin with the shortest interval: what is dear shows with the first snapshot.

        Args:
            most_s: seconds between snapshots.
            least_s: where they cost little; None: always the same.
        """
        self._most_s = most_s
        self._least_s = most_s if least_s is None else min(least_s, most_s)
        self.interval_s = self._least_s
        """Seconds to the next one."""

    def cost(self, num_bytes: int, seconds: float) -> None:
        """Learn of a snapshot: its size, and the time that it may have taken from training."""
        dear_s = max(seconds / _MOST_SHARE, num_bytes / _MOST_BYTES_PER_S)
        self.interval_s = min(self._most_s, max(self._least_s, dear_s))


class SnapshotWatcher:
    """Watches a stage's training and saves its state: every so often, and when told to end."""

    def __init__(
        self,
        stage: str,
        store: ObjectStore,
        cache: NodeCache,
        *,
        pace: Pace,
        progress: Progress,
        observer: StageObserver,
        notice: Callable[[str], None],
    ) -> None:
        """Watch one attempt at a stage.

        Args:
            stage: its identity.
            store: where snapshots go.
            cache: of this node, which keeps the newest, too.
            pace: how often; a snapshot waits until the last one is written.
            progress: told of optimizer steps and loss.
            observer: told of snapshots.
            notice: told what the user should know.
        """
        self._stage, self._store, self._work_path = stage, store.in_background(), cache.work_path
        self._local = LocalSnapshots(stage, cache)
        self._pace = pace
        self.progress, self.notice, self._observer = progress, notice, observer
        self._due = time.monotonic() + pace.interval_s
        self._writer: Thread | None = None
        self._upload: Thread | None = None
        self._is_writing = self._told_to_end = self._is_trained = False
        self._uploading: Path | None = None
        self._saved_position = -1
        self._began = time.monotonic()
        self._model: Classifier | None = None
        self._optimizer: Sgd | None = None

    @contextmanager
    def watching(self, model: Classifier, optimizer: Sgd) -> Iterator[None]:
        """Save this model and optimizer while the block runs; SIGTERM saves once more and ends it.

        Raises:
            PreemptedError: SIGTERM came.
        """
        self._model, self._optimizer = model, optimizer
        self._began = time.monotonic()
        previous = signal.getsignal(signal.SIGTERM)
        with suppress(ValueError):  # not in the main thread: no signal comes here
            signal.signal(signal.SIGTERM, self._end_soon)
        try:
            yield
            self._is_trained = True
        finally:
            with suppress(ValueError):
                signal.signal(signal.SIGTERM, previous)
            self._store.release()
            self._join(self._writer, self._upload)

    def _end_soon(self, _signum: int, _frame: object) -> None:
        self._told_to_end = True
        ending().set()  # a snapshot on its way to a store that is away waits no more

    def wants_state(self) -> bool:
        """Return whether a snapshot is due and the last one is written."""
        if self._told_to_end:
            return True
        return time.monotonic() >= self._due and not self._is_writing

    def finish(self, state: TrainState) -> None:
        """Keep the state after the last step on this node's disk, unless the last one is fresh.

        What comes then, evaluating and publishing, may be killed, too.
        """
        if time.monotonic() >= self._due - _FRESH_SHARE * self._pace.interval_s:
            self._join(self._writer)
            kept = self._keep(self._copy(state))
            if kept is not None and not self._is_here(kept[1]):
                kept[1].unlink(missing_ok=True)

    def take_state(self, state: TrainState) -> None:
        """Copy the state and send it off; if told to end, wait until it is stored, then end.

        While the snapshot before is still on its way to the store, this one goes to the disk alone.

        Raises:
            PreemptedError: told to end; says from which optimizer step another attempt goes on.
        """
        snapshot = self._copy(state)
        if self._told_to_end:
            self._end(snapshot)
        self._is_writing = True
        if self._upload is not None and self._upload.is_alive():
            self._writer = Thread(target=self._keep, args=(snapshot,))
            self._writer.start()
        else:
            self._upload = Thread(target=self._save, args=(snapshot,))
            self._upload.start()
        self._due = time.monotonic() + self._pace.interval_s

    def _copy(self, state: TrainState) -> "_Snapshot":
        assert self._model is not None
        assert self._optimizer is not None
        began = time.monotonic()
        return _Snapshot(
            info=SnapshotInfo(
                format=FORMAT,
                stage=self._stage,
                state=replace(
                    state,
                    history=list(state.history),
                    round_top1s=list(state.round_top1s),
                    train_s=state.train_s + began - self._began,
                ),
            ),
            weights=_copied(self._model.state_dict()),
            momentum=_copied(momentum_of(self._model, self._optimizer)),
            began=began,
            stood_s=time.monotonic() - began,
        )

    def _end(self, snapshot: "_Snapshot") -> None:
        """Save: first where it takes a moment, since there may be no more; then in the store.

        Raises:
            PreemptedError: that is done, as far as it could be.
        """
        position = snapshot.info.state.position
        kept = self._keep(snapshot)
        self._join(self._writer, self._upload)
        if kept is not None:
            self._store_kept(snapshot, *kept)
        words = "from the snapshot before, this one was not stored"
        if self._saved_position == position:
            words = "from there"
        elif kept is not None and self._is_here(kept[1]):
            words = "from there on this node, else from the snapshot before, which is in the store"
        raise PreemptedError(
            f"told to end after step {position:,} of the stage: another attempt goes on {words}"
        )

    def _save(self, snapshot: "_Snapshot") -> None:
        """Write a snapshot and upload it; a store that fails costs no training, nor a full disk."""
        kept = self._keep(snapshot)
        if kept is not None:
            self._store_kept(snapshot, *kept)

    def _keep(self, snapshot: "_Snapshot") -> tuple[str, Path] | None:
        """Write a snapshot to this node's disk; return its key and file, None where that fails.

        The file is among this node's snapshots, or where these cannot be, in the working folder.
        """
        position, began = snapshot.info.state.position, time.monotonic()
        try:
            with (
                disk_full_named(self._work_path),
                TemporaryDirectory(dir=self._work_path, prefix="snapshot-") as folder,
            ):
                path = Path(folder) / "snapshot.safetensors"
                save_checkpoint(path, snapshot.weights, snapshot.momentum, snapshot.info)
                num_bytes = path.stat().st_size
                key = keys.snapshot_key(self._stage, position, sha256_of_file(path), num_bytes)
                try:
                    path = self._local.take(path, key)
                except OSError:  # no folder can be made there: what is stored counts alone
                    path = path.replace(self._work_path / f"snapshot-{uuid4().hex}")
        except (AccreteError, OSError) as error:
            self._failed(position, error)
            return None
        finally:
            self._is_writing = False
        if self._is_here(path):
            self._observer.snapshot_kept(position)
        self._local.delete(before=position, keep=self._uploading)
        self._pace.cost(num_bytes, snapshot.stood_s + time.monotonic() - began)
        return key, path

    def _store_kept(self, snapshot: "_Snapshot", key: str, path: Path) -> None:
        """Upload a snapshot, then delete those before it."""
        position = snapshot.info.state.position
        self._uploading = path
        try:
            num_bytes = path.stat().st_size
            self._store.upload(key, path)
        except (AccreteError, OSError) as error:  # or an attempt that is done has deleted it
            self._failed(position, error)
            return
        finally:
            self._uploading = None
            if not self._is_here(path):
                path.unlink(missing_ok=True)
        self._saved_position = position
        self._observer.snapshot_stored(num_bytes, time.monotonic() - snapshot.began)
        with suppress(AccreteError):
            for other, older in listed_snapshots(self._store, self._stage):
                if older < position:
                    self._store.delete(other)

    def _failed(self, position: int, error: Exception) -> None:
        if self._is_trained and isinstance(error, StoreError) and error.may_pass:
            return  # the store is still away, and the stage needs its snapshots no more
        self._observer.snapshot_failed()
        self.notice(f"the snapshot after step {position:,} was not stored: {error}")

    def _is_here(self, path: Path) -> bool:
        """Return whether a written snapshot is among this node's, where the next attempt looks."""
        return path.parent != self._work_path

    @staticmethod
    def _join(*threads: Thread | None) -> None:
        for thread in threads:
            if thread is not None:
                thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """What is to be saved, copied."""

    info: SnapshotInfo
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]
    began: float
    stood_s: float
    """For which training stood still."""


class NullSnapshotWatcher:
    """Watches nothing: for the processes of a stage that leave writing to the first one."""

    @contextmanager
    def watching(self, _model: Classifier, _optimizer: Sgd) -> Iterator[None]:
        """Leave SIGTERM to the first process, which still needs this one to finish its step."""
        previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def progress(self, done: int, loss: float) -> None:
        """Ignore it."""

    def notice(self, text: str) -> None:
        """Ignore it."""

    def wants_state(self) -> bool:
        """Return False."""
        return False

    def finish(self, state: TrainState) -> None:
        """Leave it to the first process."""

    def take_state(self, state: TrainState) -> None:
        """Never called."""
        raise AssertionError(f"nobody asked for the state at {state.position}")


def newest_snapshot(
    stage: str, store: ObjectStore, cache: NodeCache
) -> Checkpoint[SnapshotInfo] | None:
    """Return the snapshot of a stage that is furthest and whole, None where there is none.

    Args:
        stage: its identity.
        store: where its snapshots are.
        cache: of this node, which may have one that did not get there.
    """
    local = LocalSnapshots(stage, cache)
    found = [(position, True, key) for key, position in local.listed()]
    found += [(position, False, key) for key, position in listed_snapshots(store, stage)]
    for position, is_here, key in sorted(found, reverse=True):
        with TemporaryDirectory(dir=cache.work_path, prefix="snapshot-") as folder:
            path = local.whole(key) if is_here else Path(folder) / "snapshot.safetensors"
            if path is None:
                continue
            try:
                if not is_here:
                    store.pull_file(_ref_of(key), path, key)
                snapshot = load_snapshot(path)
            except (IntegrityError, ObjectMissingError, FileNotFoundError):
                continue  # damaged, or another attempt has just deleted it
            if (snapshot.info.stage, snapshot.info.state.position) == (stage, position):
                return snapshot
    return None


def _ref_of(key: str) -> ObjectRef:
    parsed = keys.parse_snapshot_key(key)
    assert parsed is not None
    _, num_bytes, sha256 = parsed
    return ObjectRef(sha256=sha256, num_bytes=num_bytes)


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU that later optimizer steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
