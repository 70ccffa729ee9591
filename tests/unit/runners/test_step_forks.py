"""Which commands are steps that can be forked."""

import shlex
import sys

import pytest
from kfp import compiler, dsl, local
from kfp.local import subprocess_task_handler

from accrete.runners.local_process import with_interpreter
from accrete.runners.step_forks import StepCommand, StepForks, parse_command

PYTHON = shlex.quote(sys.executable)  # this environment may lie in a folder with a blank
SCRIPT = """program_path=$(mktemp -d)

printf "%s" "$0" > "$program_path/ephemeral_component.py"
_KFP_RUNTIME=true {python} -m kfp.dsl.executor_main --component_module_path \
 "$program_path/ephemeral_component.py" "$@"
""".replace("\\\n", "")
ARGUMENTS = ("--executor_input", "{}", "--function_to_execute", "prepare")


def test_a_lightweight_component_is_a_step() -> None:
    script = SCRIPT.format(python=PYTHON)
    command = ["sh", "-ec", script, "def prepare(): ...", *ARGUMENTS]
    assert parse_command(command) == StepCommand(source="def prepare(): ...", arguments=ARGUMENTS)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["sh", "-ec"],
        ["sh", "-ec", "echo"],
        ["bash", "-ec", SCRIPT.format(python=PYTHON), "source"],
        ["sh", "-c", SCRIPT.format(python=PYTHON), "source"],
        ["sh", "-ec", SCRIPT.format(python="/usr/bin/another"), "source"],
        ["sh", "-ec", "pip install x\n" + SCRIPT.format(python=PYTHON), "source"],
        ["sh", "-ec", SCRIPT.format(python=PYTHON) + "rm -r x", "source"],
    ],
)
def test_any_other_command_is_not(command: list[str]) -> None:
    assert parse_command(command) is None


def test_it_is_the_command_that_kfp_s_own_runner_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    seen: list[list[str]] = []

    def run(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        seen.append(full_command)
        return 0

    @dsl.component(base_image="python", install_kfp_package=False)
    def say(text: str):
        print(text)  # noqa: T201

    @dsl.pipeline(name="says")
    def says():
        say(text="hello")

    compiler.Compiler().compile(says, f"{tmp_path}/pipeline.yaml")
    monkeypatch.setattr(subprocess_task_handler, "run_local_subprocess", run)
    # As a local run does, which quotes the interpreter.
    monkeypatch.setattr(subprocess_task_handler, "replace_python_executable", with_interpreter)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    says()
    (command,) = seen
    step = parse_command(command)
    assert step is not None
    assert "def say(text: str)" in step.source
    assert step.arguments[::2] == ("--executor_input", "--function_to_execute")


def test_a_command_that_is_no_step_is_run_as_before() -> None:
    asked: list[tuple[list[str], dict[str, str] | None]] = []

    def otherwise(command: list[str], env_vars: dict[str, str] | None) -> int:
        asked.append((command, env_vars))
        return 7

    forks = StepForks(otherwise, trains=False)
    assert forks.run(["echo", "x"], {"A": "b"}) == 7
    assert asked == [(["echo", "x"], {"A": "b"})]
