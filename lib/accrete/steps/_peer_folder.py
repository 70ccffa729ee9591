"""What a step's own process and those that it has train leave for each other: files of a folder.

A process that is killed leaves nothing: then there is its exit code alone.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from accrete.catalog.manifests import StageManifest
from accrete.catalog.step_documents import StepFailure
from accrete.core.serialization import from_json, to_json
from accrete.steps._passing import lacks_memory, lacks_processes
from accrete.steps.frame import Attempt
from accrete.steps.training_task import TrainingTask


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

    def write_work(self, work: Work) -> None:
        """Leave what is to be done."""
        (self.path / "work.json").write_text(json.dumps(to_json(work)))

    def read_work(self) -> Work:
        """Return what is to be done."""
        return from_json(Work, json.loads((self.path / "work.json").read_bytes()), "the work")

    def leave(self, rank: int, outcome: Outcome) -> None:
        """Leave how a process ended, whole or not at all."""
        part = self.path / f"{rank}.part"
        part.write_text(json.dumps(to_json(outcome)))
        part.replace(self._outcome(rank))

    def has_ended(self, rank: int) -> bool:
        """Return whether a process has left how it ended."""
        return self._outcome(rank).exists()

    def outcomes(self, ranks: Sequence[int]) -> list[Outcome]:
        """Return how processes ended, those that left a word."""
        paths = [self._outcome(rank) for rank in ranks if self.has_ended(rank)]
        return [from_json(Outcome, json.loads(path.read_bytes()), path.name) for path in paths]

    def leave_codes(self, codes: Sequence[int]) -> None:
        """Leave the exit codes of processes that failed; below 0 a signal's number."""
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
