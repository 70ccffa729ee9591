"""Where a training task runs: in this process, or on several GPUs in one each, under torchrun.

Where several nodes train together, each runs this, and torchrun finds the others by itself.

Torchrun says only that a process failed; what failed, and what the step came to, the processes
leave in files of a folder that they share.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from types import FrameType
from typing import IO

from accrete.catalog.manifests import StageManifest
from accrete.catalog.step_documents import StepFailure
from accrete.core.processes import share_cpus_well
from accrete.core.serialization import from_json, to_json
from accrete.core.settings import place_among_nodes, training_processes
from accrete.errors import ConfigError, StepFailedError
from accrete.steps.frame import Attempt, failures_in_journal
from accrete.steps.training_task import TrainingTask, is_finished, train_stages

_SAVING_S = 30.0
"""How long the processes of a torchrun that was killed may take to save what they have done."""


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


def num_processes() -> int:
    """Return the processes to train with: one for each GPU, or as the environment says.

    Raises:
        ConfigError: it asks for more than there are GPUs.
    """
    wanted = training_processes()
    if wanted == 1:
        return 1
    import torch

    num_gpus = torch.cuda.device_count()
    if wanted is not None and num_gpus and wanted > num_gpus:
        raise ConfigError(f"{wanted} processes are asked for, but there are {num_gpus} GPUs")
    return wanted or max(1, num_gpus)


def train_task(task: TrainingTask, attempt: Attempt) -> StageManifest | None:
    """Train a task's stages by this process, or by one a GPU, and on several nodes.

    Returns:
        The last stage; on another node than the first, None.

    Raises:
        ConfigError: more processes are asked for than there are GPUs.
        StepFailedError: with message and exit code of the process that failed.
        AccreteError: what this process failed by, where it is the only one.
    """
    node, num_nodes = place_among_nodes()
    with failures_in_journal(attempt) if node == 0 else nullcontext():
        is_done = num_nodes == 1 and is_finished(task, attempt.store_uri)
        size = 1 if is_done else num_processes()
        if size * num_nodes > 1:
            ranks = range(node * size, (node + 1) * size)
            return _train_among_peers(Work(task, attempt), ranks, size * num_nodes)
    return train_stages(task, attempt)


def _train_among_peers(work: Work, ranks: range, num_ranks: int) -> StageManifest | None:
    """Train a step's stages in several processes, and on several nodes where there are more.

    Args:
        work: for each of them.
        ranks: of this node; every node must have as many.
        num_ranks: processes of all nodes.
    """
    share_cpus_well(among=len(ranks))
    with TemporaryDirectory(prefix="accrete-peers-") as name:
        folder = PeerFolder(Path(name))
        folder.write_work(work)
        command = [sys.executable, "-m", "torch.distributed.run"]
        command += ["--nproc-per-node", str(len(ranks))]
        environment = dict(os.environ)
        is_alone = len(ranks) == num_ranks
        if is_alone:
            command.append("--standalone")
            # Gloo would take the address that the host name resolves to, which a pod may not have.
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        command += ["--module", "accrete.steps.peer_process", name]
        process = subprocess.Popen(command, env=environment)
        with _passing_sigterm_to(process) as was_told:
            code = process.wait()
        if code < 0:  # it ended none of its processes, which the kernel told to end
            folder.wait_for_all(_SAVING_S)
        is_expected = was_told.is_set() or not is_alone
        return _result(folder.outcomes(ranks), ranks, code, is_expected=is_expected)


@contextmanager
def _passing_sigterm_to(process: subprocess.Popen[bytes]) -> Iterator[Event]:
    """Hand SIGTERM on, so that the first process saves what it has done; yield whether it came."""
    came = Event()

    def hand_on(_signum: int, _frame: FrameType | None) -> None:
        came.set()
        process.terminate()

    previous = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, previous)
        process.kill()
        process.wait()


def _result(
    outcomes: Sequence[Outcome], ranks: range, code: int, *, is_expected: bool
) -> StageManifest | None:
    """Return what the first process of all came to, if it is here, or raise what went wrong.

    Args:
        outcomes: of those of this node's processes that left one.
        ranks: of this node's processes.
        code: torchrun's; a signal's number below 0.
        is_expected: whether this step was told to end, or another node may have been.
    """
    own = [each.failure for each in outcomes if each.failure and not each.may_follow]
    others = [each.failure for each in outcomes if each.failure and each.may_follow]
    # When one ends the others are told to end, or cut off in the middle of an exchange.
    others.sort(key=lambda failure: (failure.exit_code == os.EX_TEMPFAIL) != is_expected)
    num_silent = len(ranks) - len(outcomes)
    is_killed = (code < 0 or num_silent > 0) and not is_expected
    if own or (others and not is_killed):
        raise [*own, *others][0].as_error()
    manifest = next((outcome.manifest for outcome in outcomes if outcome.manifest), None)
    if code or (manifest is None and ranks[0] == 0):
        raise StepFailedError(_without_a_word(num_silent, len(ranks), code))
    return manifest if ranks[0] == 0 else None


def _without_a_word(num_silent: int, num_processes: int, code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        who = f"torchrun, which ran the {num_processes} processes of the step, was ended by {name}"
    else:
        some = f"{num_silent} of " if num_silent < num_processes else ""
        who = f"{some}the {num_processes} processes of the step ended without a word (code {code})"
    return f"{who}: was there too little memory? The log above, or the node's, says more"
