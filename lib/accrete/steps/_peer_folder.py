"""What a step's own process and those that it has train leave for each other: files of a folder.

A process that is killed leaves nothing: then there is its exit code alone.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import IO

from accrete.catalog.manifests import StageManifest
from accrete.catalog.step_documents import StepFailure
from accrete.core.disk import disk_full_named
from accrete.core.serialization import from_json, to_json
from accrete.errors import DiskFullError
from accrete.steps._passing import lacks_memory, lacks_processes
from accrete.steps.frame import Attempt
from accrete.steps.training_task import TrainingTask

_HEAD_BYTES = 16
"""Of an outcome's file: the length of what follows; blank until all of that is there."""

_ROOM_BYTES = 16384
"""For an outcome, beside what is as long as the work."""

ENV_TMPDIR = "TMPDIR"
"""Where temporary files go, by Python's own rule."""


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a folder for a block.

    Raises:
        DiskFullError: there is no room for one.
    """
    try:
        root = Path(gettempdir())
    except FileNotFoundError as error:  # it tried to write a file in each
        raise DiskFullError(
            f"no folder takes temporary files ({error.strerror or error}): make room there, or set "
            f"{ENV_TMPDIR} to a folder on a disk that has some"
        ) from None
    with disk_full_named(root, ENV_TMPDIR):
        made = TemporaryDirectory(prefix=prefix, dir=root)
    with made as name:
        yield Path(name)


@dataclass(frozen=True, slots=True)
class Work:
    """What each of the processes is told."""

    task: TrainingTask
    """What they train."""
    attempt: Attempt
    """Whose journal the first of them keeps."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one of the processes ended; neither: the first was done before it."""

    manifest: StageManifest | None = None
    """Of the last stage."""
    failure: StepFailure | None = None
    """What it failed by."""
    may_follow: bool = False
    """Whether it may have failed only because another one did: told to end, or cut off."""
    lacks_memory: bool = False
    """Whether it failed for want of the host's memory, and may do with less."""
    lacks_processes: bool = False
    """Whether it failed for want of processes or threads."""
    num_processes: int | None = None
    """How many are to train on each node, from one that was to train alone and did not."""

    @classmethod
    def of(cls, error: BaseException, *, may_follow: bool = False) -> "Outcome":
        """Return that a process failed by this."""
        return cls(
            failure=StepFailure.of(error),
            may_follow=may_follow,
            lacks_memory=lacks_memory(error),
            lacks_processes=lacks_processes(error),
        )


@dataclass(frozen=True, slots=True)
class Death:
    """A training process that ended without a word."""

    words: str
    """Which, and how."""
    signum: int
    """The signal that ended it; 0: none is known."""
    lacks_memory: bool = False
    """Whether it was ended for want of memory, as far as is known."""


class PeerFolder:
    """What the processes of one node share beside the store."""

    def __init__(self, path: Path) -> None:
        """Use a folder, which the step's own process made."""
        self.path = path

    def write_work(self, work: Work, ranks: Sequence[int] = (0,)) -> None:
        """Leave what is to be done, and room for how each process ends: the disk may fill up.

        Raises:
            DiskFullError: there is no room for that.
        """
        data = json.dumps(to_json(work))  # a stage's manifest names the same classes
        with disk_full_named(self.path, ENV_TMPDIR):
            (self.path / "work.json").write_text(data)
            for rank in ranks:
                self._outcome(rank).write_bytes(b" " * (_HEAD_BYTES + len(data) + _ROOM_BYTES))

    def read_work(self) -> Work:
        """Return what is to be done."""
        return from_json(Work, json.loads((self.path / "work.json").read_bytes()), "the work")

    def leave(self, rank: int, outcome: Outcome) -> None:
        """Leave how a process ended, whole or not at all.

        Where that takes more than there is room for, that is what the step is told.
        """
        try:
            with disk_full_named(self.path, ENV_TMPDIR):
                self._write(rank, outcome)
        except DiskFullError as error:
            self._write(rank, Outcome.of(error))

    def _write(self, rank: int, outcome: Outcome) -> None:
        data = json.dumps(to_json(outcome)).encode()
        with self._outcome(rank).open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), data, _HEAD_BYTES)
            os.pwrite(file.fileno(), str(len(data)).encode(), 0)  # last, since it makes it valid

    def has_ended(self, rank: int) -> bool:
        """Return whether a process has left how it ended."""
        return self._read(rank) is not None

    def outcomes(self, ranks: Sequence[int]) -> list[Outcome]:
        """Return how processes ended, those that left a word."""
        found = {rank: self._read(rank) for rank in ranks}
        return [
            from_json(Outcome, json.loads(data), f"outcome of process {rank}")
            for rank, data in found.items()
            if data is not None
        ]

    def _read(self, rank: int) -> bytes | None:
        try:
            data = self._outcome(rank).read_bytes()
        except FileNotFoundError:  # the step has ended, and took it away
            return None
        size = data[:_HEAD_BYTES].strip()
        return data[_HEAD_BYTES : _HEAD_BYTES + int(size)] if size else None

    def leave_codes(self, codes: Sequence[int]) -> None:
        """Leave the exit codes of processes that failed; below 0 a signal's number."""
        with suppress(OSError):  # a full disk; they are but a hint
            (self.path / "codes.json").write_text(json.dumps(list(codes)))

    def codes(self) -> list[int]:
        """Return those that were left."""
        with suppress(FileNotFoundError, ValueError):  # or cut short: torchrun was killed, too
            codes: list[int] = json.loads((self.path / "codes.json").read_bytes())
            return codes
        return []

    def sign_in(self, rank: int) -> IO[str]:
        """Return what a process keeps open as long as it lives."""
        file = (self.path / f"process-{rank}").open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(str(os.getpid()))
        file.flush()
        return file

    def wait_for_all(self, patience_s: float) -> None:
        """Wait for the processes to end, then kill those that have not."""
        deadline = time.monotonic() + patience_s
        for path in self.path.glob("process-*"):
            while _is_open(path) and time.monotonic() < deadline:
                time.sleep(0.1)
            if _is_open(path):
                with suppress(ProcessLookupError):
                    os.kill(int(path.read_text()), signal.SIGKILL)

    def _outcome(self, rank: int) -> Path:
        return self.path / f"outcome-{rank}.json"


def _is_open(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
