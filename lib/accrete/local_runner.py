"""Runs a compiled pipeline: `python -m accrete.local_runner PIPELINE ARGUMENTS ROOT [CONTAINERS]`.

A process of its own, so that KFP's output goes to the run's log and one signal ends all of it.
"""

import json
import os
import shlex
import signal
import sys
from itertools import pairwise
from types import FrameType
from typing import Any

from accrete.backend_form import BackendForm
from accrete.processes import die_with_parent, ignore_language


def run_pipeline(
    pipeline_path: str, arguments_path: str, root: str, containers_path: str | None = None
) -> None:
    """Run a compiled pipeline with KFP's subprocess runner, or with its Docker runner.

    Args:
        pipeline_path: IR YAML.
        arguments_path: JSON object of pipeline arguments.
        root: folder for artifacts.
        containers_path: JSON object of what containers are run with; None: the steps are processes.

    Raises:
        RuntimeError: a task failed.
    """
    from kfp import components, local

    with open(arguments_path) as file:  # noqa: PTH123  keeps start-up free of pathlib
        arguments = json.load(file)
    if containers_path is None:
        runner = local.SubprocessRunner(use_venv=False)
    else:
        from accrete.containers import docker_runner

        with open(containers_path) as file:  # noqa: PTH123
            runner = docker_runner(json.load(file))
    _quote_the_interpreter()
    _hand_over_as_a_backend_does()
    local.init(runner=runner, pipeline_root=root, raise_on_error=True)
    components.load_component_from_file(pipeline_path)(**arguments)


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


def main() -> None:
    """Run the pipeline of the command line."""
    signal.signal(signal.SIGTERM, _end_group)
    ignore_language()
    die_with_parent(os.getppid())
    try:
        run_pipeline(*sys.argv[1:])
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
