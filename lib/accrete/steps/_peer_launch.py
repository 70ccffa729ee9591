"""How a step's own process has others train: one alone, or several under torchrun, on many nodes.

Where several nodes train together, each runs this, and torchrun finds the others by itself.

Torchrun says only that a process failed; what failed, and what the step came to, the processes
leave in files of a folder that they share.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from accrete.catalog.step_documents import StepFailure
from accrete.core.processes import (
    Flag,
    ending,
    has_one_thread,
    memory_group_that_dies_whole,
    share_cpus_well,
)
from accrete.errors import PreemptedError
from accrete.steps._memory_guard import MemoryGuard, kill_group
from accrete.steps._peer_folder import Death, Outcome, PeerFolder, Work, temporary_folder
from accrete.steps.lone_process import ENDING_SIGNALS, train_alone

_SAVING_S = 30.0
"""How long processes that were told to end may take to save what they have done."""

_PREEMPTED = "told to end before the step was done: another attempt goes on from what is stored"


class Termination:
    """SIGTERM to the step's own process: noted, and handed on at once to the one that trains.

    So is SIGINT, as SIGTERM.
    """

    def __init__(self) -> None:
        """Note nothing yet."""
        self.came = Flag()
        self._pid: int | None = None  # of who is to be told, until it was

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take SIGTERM, or Ctrl-C, while the block runs."""
        previous = {signum: signal.getsignal(signum) for signum in ENDING_SIGNALS}
        with suppress(ValueError):  # not in the main thread: no signal comes here
            for signum in previous:
                signal.signal(signum, self._hand_on)
        try:
            yield
        finally:
            with suppress(ValueError):
                for signum, handler in previous.items():
                    signal.signal(signum, handler)

    @contextmanager
    def handed_to(self, pid: int) -> Iterator[None]:
        """Hand it to this child while the block waits for it; end the child where that fails."""
        self._pid = pid
        if self.came.is_set():
            self._terminate()
        try:
            yield
        finally:
            self._pid = None

    def _hand_on(self, _signum: int, _frame: FrameType | None) -> None:
        self._terminate()
        self.came.set()
        ending().set()

    def _terminate(self) -> None:
        """Tell the child, once: a second SIGTERM would cut short what the first has it save."""
        pid, self._pid = self._pid, None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def launch_alone(work: Work, termination: Termination) -> Outcome | Death:
    """Have one process train, and return how it ended."""
    guard = MemoryGuard(memory_group_that_dies_whole())
    with temporary_folder("accrete-training-") as path:
        folder = PeerFolder(path)
        folder.write_work(work)
        if has_one_thread():
            code = _forked(folder, work, termination, guard)
        else:
            code = _started(folder, termination, guard)
        outcomes = folder.outcomes([0])
    if outcomes:
        return outcomes[0]
    if termination.came.is_set():
        return _preempted()
    if guard.words is not None:
        return Death(guard.words, signal.SIGKILL, lacks_memory=True)
    return Death(f"the training process {_how(code)}", max(0, -code))


def _forked(folder: PeerFolder, work: Work, termination: Termination, guard: MemoryGuard) -> int:
    """Train in a fork, which has imported already what this process has; return its code."""
    process = multiprocessing.get_context("fork").Process(
        target=_be_fork, args=(folder, work, os.getpid())
    )
    # Until the fork has a handler of its own: it would take this process's for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    assert process.pid is not None
    with (
        termination.handed_to(process.pid),
        _ended(process.terminate, process.kill, process.join),
        guard.watching(process.pid),
    ):
        process.join()
    kill_group(process.pid)  # processes that read images look for their parent every few seconds
    assert process.exitcode is not None
    return process.exitcode


def _be_fork(folder: PeerFolder, work: Work, parent: int) -> None:
    sys.exit(train_alone(folder, work, parent))


def _started(folder: PeerFolder, termination: Termination, guard: MemoryGuard) -> int:
    """Train in a new interpreter: another thread of this process could hold a fork up."""
    command = [sys.executable, "-m", "accrete.steps.lone_process", str(folder.path)]
    command.append(str(os.getpid()))
    process = subprocess.Popen(command, process_group=0)
    code = _code_of(process, termination, guard)
    kill_group(process.pid)
    return code


def _code_of(
    process: "subprocess.Popen[bytes]", termination: Termination, guard: MemoryGuard
) -> int:
    with (
        termination.handed_to(process.pid),
        _ended(process.terminate, process.kill, process.wait),
        guard.watching(process.pid),
    ):
        return process.wait()


@contextmanager
def _ended(
    terminate: Callable[[], None], kill: Callable[[], None], wait: Callable[[float], object]
) -> Iterator[None]:
    """Where the block is left by an error, such as Ctrl-C, have the process save and end."""
    try:
        yield
    except BaseException:
        terminate()
        with suppress(subprocess.TimeoutExpired):
            wait(_SAVING_S)
        kill()
        raise


def launch_peers(
    work: Work, ranks: range, num_ranks: int, termination: Termination
) -> Outcome | Death:
    """Have several processes train, on several nodes where there are more.

    Args:
        work: for each of them.
        ranks: of this node; every node must have as many.
        num_ranks: processes of all nodes.
        termination: which is handed on, so that the first process saves what it has done.

    Returns:
        How it ended; on another node than the first without a manifest.
    """
    share_cpus_well(among=len(ranks))
    with temporary_folder("accrete-peers-") as path:
        folder = PeerFolder(path)
        folder.write_work(work, ranks)
        command = [sys.executable, "-m", "accrete.steps.torchrun_process", str(os.getpid())]
        command.append(str(path))
        command += ["--nproc-per-node", str(len(ranks))]
        environment = dict(os.environ)
        is_alone = len(ranks) == num_ranks
        if is_alone:
            command.append("--standalone")
            # Gloo would take the address that the host name resolves to, which a pod may not have.
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        guard = MemoryGuard(memory_group_that_dies_whole())
        process = subprocess.Popen(command, env=environment, process_group=0)
        code = _code_of(process, termination, guard)
        if code < 0:  # it ended none of its processes, which the kernel told to end
            folder.wait_for_all(_SAVING_S)
        kill_group(process.pid)
        if guard.words is not None and is_alone:
            return Death(guard.words, signal.SIGKILL, lacks_memory=True)
        ended = _Ended(folder.outcomes(ranks), folder.codes(), code, len(ranks))
        if ranks[0] == 0 and (trained := ended.trained()) is not None:
            return trained
        is_told = termination.came.is_set()
        if (failed := ended.failed(is_told=is_told, is_alone=is_alone)) is not None:
            return failed
        if not code and ranks[0] > 0:
            return Outcome()
        return _preempted() if is_told else ended.death()


@dataclass(frozen=True, slots=True)
class _Ended:
    """How torchrun and the processes that it ran on this node ended."""

    outcomes: Sequence[Outcome]
    """Of those of the processes that left one."""
    codes: Sequence[int]
    """Exit codes of those that failed before torchrun ended the others; below 0 a signal's."""
    code: int
    """Torchrun's own."""
    num_processes: int
    """All of this node."""

    @property
    def own_failures(self) -> list[Outcome]:
        """What did not fail only because another one did, surest first."""
        own = [each for each in self.outcomes if each.failure and not each.may_follow]
        may = [each for each in self.outcomes if each.failure and each.may_follow]
        return [*own, *(each for each in may if each.lacks_memory)]

    def trained(self) -> Outcome | None:
        """Return that the stages are trained: what ended after that costs nothing."""
        if self.own_failures:
            return None
        return next((outcome for outcome in self.outcomes if outcome.manifest), None)

    def failed(self, *, is_told: bool, is_alone: bool) -> Outcome | None:
        """Return what the processes failed by; None: nothing, or they were killed.

        Args:
            is_told: whether this step was told to end.
            is_alone: whether no other node may have been.
        """
        own = self.own_failures
        if own:
            return own[0]
        # When one ends the others are told to end, or cut off in the middle of an exchange.
        # Torchrun left by a signal, or tells of one that was told to end before it told any.
        is_one_told = self.code > 128 or PreemptedError.exit_code in self.codes
        is_expected = is_told or is_one_told or not is_alone
        others = [each for each in self.outcomes if each.failure]
        others.sort(key=lambda each: (_code_in(each) == os.EX_TEMPFAIL) != is_expected)
        is_killed = self.code < 0 or min(self.codes, default=0) < 0
        is_killed |= is_alone and not is_one_told and len(self.outcomes) < self.num_processes
        if not others or (is_killed and not is_told):
            return None
        if (is_told or is_one_told) and _code_in(others[0]) != os.EX_TEMPFAIL:
            return _preempted()
        return others[0]

    def death(self) -> Death:
        """Return how they were killed."""
        of_all = f"of the {self.num_processes} processes of the step"
        if self.code < 0:
            words = f"torchrun, which ran the {self.num_processes} processes of the step, "
            return Death(words + _how(self.code), -self.code)
        killed = [code for code in self.codes if code < 0]
        if killed:
            how = _how(killed[0], "was" if len(killed) == 1 else "were")
            return Death(f"{len(killed)} {of_all} {how}", -killed[0])
        num_silent = self.num_processes - len(self.outcomes)
        some = f"{num_silent} {of_all}" if num_silent < self.num_processes else of_all[3:]
        return Death(f"{some} ended without a word (code {self.code})", 0)


def _code_in(outcome: Outcome) -> int:
    return outcome.failure.exit_code if outcome.failure else 0


def _how(code: int, verb: str = "was") -> str:
    """Return how a process without a word ended, by its exit code; below 0 a signal's number."""
    if code >= 0:
        return f"ended without a word (code {code})"
    with suppress(ValueError):  # a real-time signal has no name
        return f"{verb} ended by {signal.Signals(-code).name}"
    return f"{verb} ended by signal {-code}"


def _preempted() -> Outcome:
    return Outcome(failure=StepFailure(_PREEMPTED, PreemptedError.exit_code))
