"""Steps of a local run as forks of the runner, which imports once what they all need.

A step is still a process of its own, with its environment, output and exit code; KFP's executor
runs in it as it does in a container. It only need not import torch again, which takes seconds.
"""

import logging
import multiprocessing
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from accrete.core.processes import can_fork, die_with_parent, keep_compiled_code, share_cpus_well
from accrete.core.settings import cache_path

STEP_MODULES = (
    "kfp.dsl.executor_main",
    *("accrete.steps.prepare", "accrete.steps.train", "accrete.steps.report"),
    "accrete.data.prepare",
)
"""What the first step imports, which prepares the data set."""

TRAINING_MODULES = (
    "accrete.stages.run",
    "accrete.training.distributed",
    "accrete.training.image_source",
)
"""What steps that train import: torch is among it."""

REPORT_MODULES = ("accrete.reports.run_report", "accrete.reports.run_page")
"""What the last step imports."""

_COMMAND = re.compile(
    r'program_path=\$\(mktemp -d\)\s+printf "%s" "\$0" > "\$program_path/ephemeral_component\.py"'
    r"\s+_KFP_RUNTIME=true (?P<python>.+) -m kfp\.dsl\.executor_main\s+--component_module_path\s+"
    r'"\$program_path/ephemeral_component\.py"\s+"\$@"\s*'
)
"""The shell's part of a lightweight component's command: write the source, run the executor."""

RunCommand = Callable[[list[str], dict[str, str] | None], int]
"""Runs a command with more environment, prints its output and returns its exit code."""


@dataclass(frozen=True, slots=True)
class StepCommand:
    """What a component's command runs."""

    source: str
    """The component's Python."""
    arguments: tuple[str, ...]
    """Of KFP's executor."""


def parse_command(command: Sequence[str], python: str = sys.executable) -> StepCommand | None:
    """Return the step of a lightweight component's command; None: it is another command.

    Args:
        command: as KFP's subprocess runner has it.
        python: the interpreter that it must name.
    """
    if len(command) < 4 or list(command[:2]) != ["sh", "-ec"]:
        return None
    found = _COMMAND.fullmatch(command[2])
    if found is None or found["python"] != shlex.quote(python):
        return None
    return StepCommand(source=command[3], arguments=tuple(command[4:]))


class StepForks:
    """Runs steps as forks of this process."""

    def __init__(self, otherwise: RunCommand, *, trains: bool) -> None:
        """Import what every step needs.

        Args:
            otherwise: runs commands that are no step, and all of them where nothing can be forked.
            trains: whether a stage is to be trained, as far as is known.
        """
        self._otherwise = otherwise
        self._later = [*(TRAINING_MODULES if trains else ()), *REPORT_MODULES]
        root = logging.getLogger()  # as a new process has it: kfp.local changes it for itself
        self._logging = (root.level, tuple(root.handlers))
        share_cpus_well()
        keep_compiled_code(cache_path() / "compiled")
        for name in STEP_MODULES:
            import_module(name)

    def run(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """Run a task's command, print its output, return its exit code."""
        step = parse_command(full_command)
        if step is None or not can_fork():
            return self._otherwise(full_command, env_vars)
        read_end, write_end = os.pipe()
        process = multiprocessing.get_context("fork").Process(
            target=_run,
            args=(step, env_vars or {}, (read_end, write_end), os.getpid(), self._logging),
        )
        process.start()
        os.close(write_end)
        with os.fdopen(read_end, errors="replace") as output:
            while self._later:  # in the time that the first step takes
                _import_whole(self._later.pop(0))
            for line in output:
                print(line, end="")  # noqa: T201
        process.join()
        code = process.exitcode
        assert code is not None
        return code


def _import_whole(name: str) -> None:
    """Import a module; a signal comes after it: a library in C that begins may abort at one."""
    signums = (signal.SIGTERM, signal.SIGINT)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signums)
    try:
        import_module(name)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(
    step: StepCommand,
    env_vars: Mapping[str, str],
    pipe: tuple[int, int],
    parent: int,
    root_logging: tuple[int, tuple[logging.Handler, ...]],
) -> None:
    """Be the step's process."""
    read_end, write_end = pipe
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    os.close(read_end)
    os.dup2(write_end, 1)
    os.dup2(write_end, 2)
    os.close(write_end)
    die_with_parent(parent)
    os.environ.update(env_vars)
    os.environ["_KFP_RUNTIME"] = "true"
    root = logging.getLogger()
    root.setLevel(root_logging[0])
    root.handlers[:] = root_logging[1]
    from kfp.dsl import executor_main

    with TemporaryDirectory(prefix="accrete-step-") as folder:
        path = Path(folder) / "ephemeral_component.py"
        path.write_text(step.source)
        sys.argv = [str(executor_main.__file__), "--component_module_path", str(path)]
        sys.argv += step.arguments
        executor_main.executor_main()
