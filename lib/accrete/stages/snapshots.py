"""Snapshots of a stage in training: saved now and then, found again after a kill.

A composer: joins store and training. The training loop only asks whether a snapshot is due; the
tensors are copied then, and written and uploaded in a thread. A snapshot's key names its size and
SHA-256, so a damaged or half-written one is passed over; the newest whole one counts.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from torch import Tensor

from accrete.catalog.manifests import FORMAT
from accrete.core.disk import disk_full_named
from accrete.core.hashing import sha256_of_file
from accrete.core.processes import ending
from accrete.core.validation import check_sha256
from accrete.errors import AccreteError, IntegrityError, ObjectMissingError, PreemptedError
from accrete.models.checkpoint import Checkpoint, load_described, save_checkpoint
from accrete.models.networks import Classifier
from accrete.stages.observer import StageObserver
from accrete.stages.snapshot_listing import listed_snapshots
from accrete.store import keys
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.training.loop import TrainState
from accrete.training.optimizer import Sgd, momentum_of

Progress = Callable[[int, float], None]
"""Called now and then with optimizer steps done in the stage and the mean loss since last time."""


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


class SnapshotWatcher:
    """Watches a stage's training and saves its state: every so often, and when told to end."""

    def __init__(
        self,
        stage: str,
        store: ObjectStore,
        work_path: Path,
        *,
        interval_s: float,
        progress: Progress,
        observer: StageObserver,
        notice: Callable[[str], None],
    ) -> None:
        """Watch one attempt at a stage.

        Args:
            stage: its identity.
            store: where snapshots go.
            work_path: folder for the files on their way.
            interval_s: seconds between snapshots, at least; the next waits for the last.
            progress: told of optimizer steps and loss.
            observer: told of snapshots.
            notice: told what the user should know.
        """
        self._stage, self._store, self._work_path = stage, store.in_background(), work_path
        self._interval_s = interval_s
        self.progress, self.notice, self._observer = progress, notice, observer
        self._due = time.monotonic() + interval_s
        self._upload: Thread | None = None
        self._told_to_end = False
        self._saved_position = -1
        self._model: Classifier | None = None
        self._optimizer: Sgd | None = None

    @contextmanager
    def watching(self, model: Classifier, optimizer: Sgd) -> Iterator[None]:
        """Save this model and optimizer while the block runs; SIGTERM saves once more and ends it.

        Raises:
            PreemptedError: SIGTERM came.
        """
        self._model, self._optimizer = model, optimizer
        previous = signal.getsignal(signal.SIGTERM)
        with suppress(ValueError):  # not in the main thread: no signal comes here
            signal.signal(signal.SIGTERM, self._end_soon)
        try:
            yield
        finally:
            with suppress(ValueError):
                signal.signal(signal.SIGTERM, previous)
            if self._upload is not None:
                self._store.release()
                self._upload.join()

    def _end_soon(self, _signum: int, _frame: object) -> None:
        self._told_to_end = True
        ending().set()  # a snapshot on its way to a store that is away waits no more

    def wants_state(self) -> bool:
        """Return whether a snapshot is due and the last one is on its way no more."""
        if self._told_to_end:
            return True
        if time.monotonic() < self._due:
            return False
        return self._upload is None or not self._upload.is_alive()

    def take_state(self, state: TrainState) -> None:
        """Copy the state and send it off; if told to end, wait until it is stored, then end.

        Raises:
            PreemptedError: told to end; says from which optimizer step another attempt goes on.
        """
        assert self._model is not None
        assert self._optimizer is not None
        if self._upload is not None:
            self._upload.join()
        info = SnapshotInfo(
            format=FORMAT, stage=self._stage, state=replace(state, history=list(state.history))
        )
        weights = _copied(self._model.state_dict())
        momentum = _copied(momentum_of(self._model, self._optimizer))
        self._upload = Thread(target=self._save, args=(weights, momentum, info))
        self._upload.start()
        self._due = time.monotonic() + self._interval_s
        if self._told_to_end:
            self._upload.join()
            saved = self._saved_position == state.position
            raise PreemptedError(
                f"told to end after step {state.position:,} of the stage: another attempt goes on "
                + ("from there" if saved else "from the snapshot before, this one was not stored")
            )

    def _save(
        self, weights: dict[str, Tensor], momentum: dict[str, Tensor], info: SnapshotInfo
    ) -> None:
        """Store a snapshot, then delete those before it; a store that fails costs no training.

        Nor does a disk without room for it.
        """
        started = time.monotonic()
        position = info.state.position
        try:
            with (
                disk_full_named(self._work_path),
                TemporaryDirectory(dir=self._work_path, prefix="snapshot-") as folder,
            ):
                path = Path(folder) / "snapshot.safetensors"
                save_checkpoint(path, weights, momentum, info)
                num_bytes = path.stat().st_size
                key = keys.snapshot_key(self._stage, position, sha256_of_file(path), num_bytes)
                self._store.upload(key, path)
        except AccreteError as error:
            self._observer.snapshot_failed()
            self.notice(f"the snapshot after step {position:,} was not stored: {error}")
            return
        self._saved_position = position
        self._observer.snapshot_stored(num_bytes, time.monotonic() - started)
        with suppress(AccreteError):
            for other, older in listed_snapshots(self._store, self._stage):
                if older < position:
                    self._store.delete(other)


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

    def take_state(self, state: TrainState) -> None:
        """Never called."""
        raise AssertionError(f"nobody asked for the state at {state.position}")


def newest_snapshot(
    stage: str, store: ObjectStore, work_path: Path
) -> Checkpoint[SnapshotInfo] | None:
    """Return the snapshot of a stage that is furthest and whole, None where there is none."""
    for key, _ in sorted(listed_snapshots(store, stage), key=lambda found: found[1], reverse=True):
        parsed = keys.parse_snapshot_key(key)
        assert parsed is not None
        position, num_bytes, sha256 = parsed
        with TemporaryDirectory(dir=work_path, prefix="snapshot-") as folder:
            path = Path(folder) / "snapshot.safetensors"
            try:
                store.pull_file(ObjectRef(sha256=sha256, num_bytes=num_bytes), path, key)
                snapshot = load_snapshot(path)
            except (IntegrityError, ObjectMissingError):
                continue  # damaged, or another attempt has just deleted it
            if (snapshot.info.stage, snapshot.info.state.position) == (stage, position):
                return snapshot
    return None


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU that later optimizer steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
