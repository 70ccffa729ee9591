"""Runs a compiled pipeline in a process of its own.

So that KFP's output goes to the run's log and one signal ends all of it. Where it can be forked, it
need not import KFP again.
"""

import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import IO, Any

from accrete.core.processes import can_fork, die_with_parent, ignore_language
from accrete.runners._backend_form import BackendForm


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerRequest:
    """What is to be run."""

    pipeline: str
    """Path of the IR YAML."""
    arguments: dict[str, str]
    """The pipeline's."""
    artifacts: str
    """Folder for artifacts."""
    trains: bool = True
    """Whether a stage is to be trained, as far as is known; changes how quick it is."""
    containers: dict[str, Any] | None = None
    """What containers are run with; None: the steps are processes."""


def run_pipeline(request: RunnerRequest) -> None:
    """Run a compiled pipeline with KFP's subprocess runner, or with its Docker runner.

    Raises:
        RuntimeError: a task failed.
    """
    from kfp import components, local

    if request.containers is None:
        runner = local.SubprocessRunner(use_venv=False)
        _fork_steps(trains=request.trains)
    else:
        from accrete.runners._containers import docker_runner

        runner = docker_runner(request.containers)
    _quote_the_interpreter()
    _hand_over_as_a_backend_does()
    local.init(runner=runner, pipeline_root=request.artifacts, raise_on_error=True)
    components.load_component_from_file(request.pipeline)(**request.arguments)


def _fork_steps(*, trains: bool) -> None:
    """Have KFP's subprocess runner fork the steps instead of starting each from nothing."""
    from kfp.local import subprocess_task_handler

    from accrete.runners.step_forks import StepForks

    forks = StepForks(subprocess_task_handler.run_local_subprocess, trains=trains)
    subprocess_task_handler.run_local_subprocess = forks.run


def _quote_the_interpreter() -> None:
    """Let this environment lie in a folder whose name holds a blank.

    KFP writes the interpreter's path for `python3` in a step's shell script as it is, and in the
    step's arguments, too, where a path may hold that word.
    """
    from kfp.local import subprocess_task_handler

    subprocess_task_handler.replace_python_executable = with_interpreter


def with_interpreter(command: list[str], path: str) -> list[str]:
    """Return a step's command with another interpreter in its shell scripts for `python3`."""
    return [
        part.replace("python3", shlex.quote(path)) if before in ("-c", "-ec") else part
        for before, part in pairwise(["", *command])
    ]


def _hand_over_as_a_backend_does() -> None:
    """Have the tasks get what they would on a cluster, so that what fails there fails here.

    kfp.local has no setting for it. What it makes here goes into the task's command, nowhere else.
    """
    from kfp.local import executor_input_utils

    construct = executor_input_utils.construct_executor_input
    to_dict = executor_input_utils.executor_input_to_dict
    form = BackendForm()

    def construct_executor_input(*, arguments: dict[str, Any], **more: Any) -> Any:
        made = construct(arguments=arguments, **more)
        for name in set(made.inputs.parameter_values) - set(arguments):
            del made.inputs.parameter_values[name]  # the function has its default itself
        return made

    def executor_input_to_dict(executor_input: Any, component_spec: Any) -> dict[str, Any]:
        return form.of(to_dict(executor_input, component_spec))

    executor_input_utils.construct_executor_input = construct_executor_input
    executor_input_utils.executor_input_to_dict = executor_input_to_dict


def _end_group(_signum: int, _frame: FrameType | None) -> None:
    """End the steps, which are in this process group, and then this process."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    sys.exit(143)


def start_runner(
    request: RunnerRequest, log: Path, environment: Mapping[str, str], lock: IO[str]
) -> BaseProcess:
    """Start the runner, in a process group of its own.

    Args:
        request: what to run.
        log: gets all output.
        environment: all of the runner's.
        lock: an open file whose lock is the caller's alone.
    """
    forks = can_fork()
    context: BaseContext = multiprocessing.get_context("fork" if forks else "spawn")
    process = context.Process(  # type: ignore[attr-defined]
        target=_be_runner,
        args=(request, log, dict(environment), os.getpid(), lock if forks else None),
    )
    process.start()
    with suppress(OSError):  # whichever of the two is first
        os.setpgid(process.pid, process.pid)
    started: BaseProcess = process
    return started


def _be_runner(
    request: RunnerRequest,
    log: Path,
    environment: Mapping[str, str],
    parent: int,
    lock: IO[str] | None,
) -> None:
    with suppress(OSError):
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _end_group)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if lock is not None:
        lock.close()
    with Path(os.devnull).open("rb") as nothing, log.open("wb") as output:
        for descriptor, file in ((0, nothing), (1, output), (2, output)):
            os.dup2(file.fileno(), descriptor)
    # What the caller has in their place, a test's capture say, is not for here.
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, os.fdopen(descriptor, "w", buffering=1, closefd=False))
    die_with_parent(parent)
    os.environ.clear()
    os.environ.update(environment)
    ignore_language()
    try:
        run_pipeline(request)
    except RuntimeError as error:
        sys.exit(str(error))
