"""A step's own process: it has others train, and starts them again when they are killed.

What fails for good (bad data, a loss that diverges, a configuration) is not tried again: it would
fail again. A process that a signal ends, or that lacks memory, goes on from the last snapshot, as
often as it gets further, else a few times. After an OOM kill images get less memory, down to a
floor; where they lie changes no result.
"""

import os
import signal
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from accrete.catalog.manifests import StageManifest
from accrete.catalog.step_documents import StepFailure
from accrete.core.disk import disk_full_named
from accrete.core.processes import count_oom_kills, process_limit_named
from accrete.core.settings import place_among_nodes, training_restarts
from accrete.core.units import format_bytes
from accrete.errors import PreemptedError, ProcessLimitError, StepFailedError
from accrete.monitoring.journal import print_line
from accrete.steps._passing import was_told_to_end
from accrete.steps._peer_folder import ENV_TMPDIR, Death, Outcome, Work, temporary_folder
from accrete.steps._peer_launch import Termination, launch_alone, launch_peers
from accrete.steps.frame import MARK_BYTES, Attempt, failures_in_journal, tell_of_restart
from accrete.steps.lone_process import num_processes
from accrete.steps.training_task import (
    TrainingTask,
    data_memory_bytes,
    is_finished,
    train_stages,
)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
"""Before a process is started again: each time that it got no further twice the one before."""

_LEAST_MEMORY_BYTES = 32 << 20
"""For images; with less they would be read in batches too small to be of use."""

_MEMORY_SIGNALS = (signal.SIGKILL, signal.SIGBUS)
"""What may end a process for want of memory: the kernel's OOM killer, or a full `/dev/shm`."""


def train_task(task: TrainingTask, attempt: Attempt) -> StageManifest | None:
    """Train a task's stages in a process, or in one a GPU, and on several nodes.

    Returns:
        The last stage; on another node than the first, None.

    Raises:
        ConfigError: more processes are asked for than there are GPUs.
        StepFailedError: with message and exit code of the process that failed, or of the last of
            those that were killed.
        AccreteError: what this process failed by, where it trains itself.
    """
    node, num_nodes = place_among_nodes()
    with failures_in_journal(attempt) if node == 0 else nullcontext():
        if num_nodes == 1 and is_finished(task, attempt.store_uri):
            return train_stages(task, attempt)
        # The other nodes would not know of it: a TrainJob starts all of its nodes again.
        most = training_restarts() if num_nodes == 1 else 0
        size = num_processes() if training_restarts() == 0 else None
        if size == num_nodes == 1:
            return train_stages(task, attempt)
        with temporary_folder("accrete-marks-") as folder:
            marks = folder / "marks"
            with disk_full_named(folder, ENV_TMPDIR):
                marks.write_text(" " * MARK_BYTES)
            attempt = replace(attempt, marks=str(marks), supervisor=os.getpid())
            supervisor = _Supervisor(Work(task, attempt), most, size)
            return supervisor.trained()


@dataclass(frozen=True, slots=True)
class _Kill:
    """Why training has to be started again."""

    words: str
    """What happened."""
    signum: int
    """What ended it; 0: no signal that is known."""
    num_oom_kills: int | None
    """Processes that the kernel killed meanwhile for want of memory; None: it does not say."""
    lacks_memory: bool
    """Whether that is the reason, or may be."""
    lacks_processes: bool = False
    """Whether no further process or thread could be started."""

    def __str__(self) -> str:
        if not self.num_oom_kills:
            return self.words
        kills = "OOM kill" if self.num_oom_kills == 1 else "OOM kills"
        return f"{self.words} ({self.num_oom_kills} {kills} in its memory group)"

    @property
    def exit_code(self) -> int:
        """As a shell has it of a process that a signal ended: who reads it knows a kill by it."""
        return 128 + (self.signum or signal.SIGKILL)

    @property
    def advice(self) -> str:
        """What to do where it keeps happening."""
        if self.lacks_memory:
            sure = "" if self.num_oom_kills else "was there too little memory? "
            return f"{sure}give the step more memory, or less to the data with --data-memory"
        if self.lacks_processes:
            return "raise it, or have less run beside"
        if self.signum == signal.SIGKILL:
            return "something on the node killed it: the node's log says more"
        if self.signum == signal.SIGABRT:
            return "the log above says more: a library may abort for want of memory, too"
        return "the log above, or the node's, says more"


class _Supervisor:
    """Has a step's stages trained, again and again where that helps."""

    def __init__(self, work: Work, most: int, size: int | None) -> None:
        """Begin.

        Args:
            work: for the processes.
            most: times in a row that they are started again without getting further.
            size: how many; None: one of them will find out.
        """
        self._work, self._most, self._size = work, most, size
        self._node, self._num_nodes = place_among_nodes()
        self._termination = Termination()
        self._memory_bytes = data_memory_bytes(work.task)

    def trained(self) -> StageManifest | None:
        """Return the last stage; on another node than the first, None.

        Raises:
            StepFailedError: it failed for good, was told to end, or was killed too often.
        """
        num_tries, reached = 0, self._marks()
        with self._termination.heeded():
            while True:
                before = count_oom_kills()
                ended = self._launched()
                if isinstance(ended, Outcome) and not self._may_go_on(ended):
                    if ended.failure:
                        raise ended.failure.as_error()
                    return ended.manifest
                kill = _kill_of(ended, before, count_oom_kills())
                num_tries = 1 if self._marks() != reached else num_tries + 1
                reached = self._marks()
                if num_tries > self._most:
                    raise self._given_up(kill, ended, num_tries)
                is_told_of = isinstance(ended, Outcome) and kill.signum == signal.SIGTERM
                self._prepare_again(kill, num_tries, is_told_of=is_told_of)

    def _may_go_on(self, ended: Outcome) -> bool:
        """Return whether another try may help."""
        if ended.lacks_memory or ended.lacks_processes:
            return True
        # By whom, is not known: not by this step, which was not told. What it had done it saved.
        is_alone = bool(self._most) and not self._termination.came.is_set()
        return ended.failure is not None and was_told_to_end(ended.failure) and is_alone

    def _launched(self) -> Outcome | Death:
        try:
            with process_limit_named():
                return self._launch()
        except (OSError, ProcessLimitError) as error:
            outcome = Outcome.of(error)
            if not outcome.lacks_memory and not outcome.lacks_processes:
                raise
            return outcome

    def _launch(self) -> Outcome | Death:
        if self._size is None:
            ended = launch_alone(self._work, self._termination)
            if not isinstance(ended, Outcome) or ended.num_processes is None:
                return ended
            self._size = ended.num_processes
        ranks = range(self._node * self._size, (self._node + 1) * self._size)
        num_ranks = self._size * self._num_nodes
        return launch_peers(self._work, ranks, num_ranks, self._termination)

    def _marks(self) -> str:
        return Path(self._work.attempt.marks).read_text().strip()

    def _given_up(self, kill: _Kill, ended: Outcome | Death, num_tries: int) -> StepFailedError:
        if isinstance(ended, Outcome) and ended.failure and num_tries == 1:
            return StepFailedError(ended.failure.error, kill.exit_code)
        times = f", {num_tries} times without getting any further" if num_tries > 1 else ""
        return StepFailedError(f"{kill}{times}: {kill.advice}", kill.exit_code)

    def _prepare_again(self, kill: _Kill, num_tries: int, *, is_told_of: bool) -> None:
        """Lower the memory where that was short, say what happened, and wait a while.

        Raises:
            StepFailedError: told to end meanwhile.
        """
        less = ""
        lowered = max(self._memory_bytes // 2, min(self._memory_bytes, _LEAST_MEMORY_BYTES))
        if kill.lacks_memory and lowered < self._memory_bytes:
            less = (
                f", with {format_bytes(lowered)} instead of {format_bytes(self._memory_bytes)} "
                "of memory for images"
            )
            self._memory_bytes = lowered
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (num_tries - 1))
        line = print_line(
            f"{kill}: started again in {pause_s:.0f} s, from the last snapshot{less} "
            f"(restart {num_tries} of at most {self._most} without getting further)"
        )
        task, attempt = self._work.task, self._work.attempt
        if less:
            task = replace(task, data_memory=str(lowered))
        self._work = Work(task, replace(attempt, restarts=(*attempt.restarts, line)))
        if is_told_of:
            tell_of_restart(self._work.attempt)
        if self._termination.came.wait(pause_s):
            raise StepFailure(
                "told to end while its training, which was killed, was to be started again: "
                "another attempt goes on from the last snapshot",
                PreemptedError.exit_code,
            ).as_error()


def _kill_of(ended: Outcome | Death, before: int | None, after: int | None) -> _Kill:
    num_oom_kills = None if before is None or after is None else max(0, after - before)
    if isinstance(ended, Outcome):
        assert ended.failure is not None
        if was_told_to_end(ended.failure):
            words = "the training process was told to end, and its step was not"
            return _Kill(words, signal.SIGTERM, num_oom_kills, lacks_memory=False)
        return _Kill(
            ended.failure.error,
            0,
            num_oom_kills,
            lacks_memory=ended.lacks_memory,
            lacks_processes=ended.lacks_processes,
        )
    is_suspected = ended.signum in _MEMORY_SIGNALS and num_oom_kills is None
    return _Kill(
        ended.words,
        ended.signum,
        num_oom_kills,
        lacks_memory=ended.lacks_memory
        or bool(num_oom_kills)
        or is_suspected
        or ended.signum == signal.SIGBUS,
    )
