"""What local runs hand to a task: the form of a Kubeflow backend, so that its faults show here."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Optional
from unittest.mock import patch

import pytest
from conftest import HANGS_S
from kfp import compiler, dsl
from kfp.dsl import Artifact, Input, Metrics, Model, Output

from accrete.core.processes import is_running
from accrete.runners.local_process import RunnerRequest, start_runner, with_interpreter


@dsl.component(base_image="python", install_kfp_package=False)
def train(model: Output[Model], metrics: Output[Metrics]):
    from pathlib import Path

    Path(model.path).write_text("weights")
    model.metadata.update({"stage": 1, "top1": 1.0, "loss": 0.5, "digest": "abc"})
    metrics.log_metric("top1", 1.0)


@dsl.component(base_image="python", install_kfp_package=False)
def look(  # noqa: PLR0917  KFP names its arguments
    parent: Input[Model],
    seen: Output[Artifact],
    stages: list,
    share: float,
    config: dict,
    cell: str = "none",
    memory: str = "",
):
    import json
    from pathlib import Path

    assert isinstance(parent, Model)
    assert Path(parent.path).read_text() == "weights"
    assert not Path(seen.path).exists()
    numbers = json.dumps([stages, share, config], sort_keys=True)
    facts = {"name": parent.name, "metadata": parent.metadata, "cell": cell, "numbers": numbers}
    Path(seen.path).write_text(json.dumps(facts))


@dsl.component(base_image="python", install_kfp_package=False)
def grow_if_there(parent: Optional[Input[Model]] = None):  # noqa: UP045  KFP reads this form only
    print("grown from", parent and parent.path)  # noqa: T201


@dsl.pipeline(name="looks")
def looks(stages: list = [1, 2]):  # noqa: B006  KFP takes the default from here
    parent = train().outputs["model"]
    config = {"epochs": 6.0, "rates": [0.1, 1e300]}
    look(parent=parent, stages=stages, share=2.0, config=config, memory="")


@dsl.pipeline(name="grows")
def grows():
    grow_if_there(parent=train().outputs["model"])


@dsl.pipeline(name="begins")
def begins():
    grow_if_there()


def started(pipeline: Any, folder: Path, **arguments: str) -> BaseProcess:
    """Start a pipeline as `accrete run` does."""
    compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    request = RunnerRequest(
        pipeline=str(folder / "pipeline.yaml"),
        arguments=arguments,
        artifacts=str(folder / "artifacts"),
        trains=False,
    )
    (folder / "lock").touch()
    with (folder / "lock").open("a") as lock, patch.object(logging.getLogger(), "handlers", []):
        return start_runner(request, folder / "run.log", os.environ, lock)  # no pytest's handlers


def run_locally(pipeline: Any, folder: Path, **arguments: str) -> tuple[int, str]:
    """Run a pipeline; return exit code and output."""
    runner = started(pipeline, folder, **arguments)
    runner.join(HANGS_S)
    output = (folder / "run.log").read_text()
    assert runner.exitcode is not None, output
    return runner.exitcode, output


def test_a_task_is_told_of_its_inputs_what_a_backend_tells_it(tmp_path: Path) -> None:
    code, output = run_locally(looks, tmp_path)
    assert code == 0, output
    (path,) = tmp_path.glob("artifacts/**/seen")
    seen = json.loads(path.read_text())
    assert seen["name"] == "1"
    assert seen["metadata"] == {
        "stage": 1,
        "top1": 1,
        "loss": 0.5,
        "digest": "abc",
        "display_name": "model",
        "store_session_info": '{"Provider":"local","Params":{}}',
    }
    assert seen["numbers"] == '[[1, 2], 2, {"epochs": 6, "rates": [0.1, 1e+300]}]'
    assert seen["cell"] == "none"
    assert '"schemaTitle": "system.Model"' in output  # of the output
    handed = output.split("Got executor_input:")[2]
    inputs = handed[: handed.index('"outputs"')]
    assert "schemaTitle" not in inputs
    assert '"cell"' not in inputs  # left out
    assert '"memory": ""' in inputs  # given, if only what it is anyway


def test_an_optional_artifact_fails_here_as_it_does_on_a_backend(tmp_path: Path) -> None:
    code, output = run_locally(grows, tmp_path)
    assert code != 0
    assert "TypeError: Cannot instantiate typing.Union" in output


def test_an_optional_artifact_that_is_left_out_is_none_on_both(tmp_path: Path) -> None:
    code, output = run_locally(begins, tmp_path)
    assert code == 0, output
    assert "grown from None" in output


@dsl.component(base_image="python", install_kfp_package=False)
def end(how: str):
    import os
    import signal
    import sys

    print(f"in {os.getpid()}, group {os.getpgid(0)}, {os.environ.get('SAID')}, {sys.argv[0]}")  # noqa: T201
    sys.stderr.write("to stderr\n")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if how == "exit":
        sys.exit(5)
    if how == "raise":
        raise ValueError("on purpose")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


@dsl.pipeline(name="ends")
def ends(how: str):
    first = end(how="well").set_env_variable("SAID", "first")
    end(how=how).after(first)


@pytest.mark.parametrize(
    ("how", "is_threaded"),
    [
        ("kill", False),
        *(pytest.param(how, False, marks=pytest.mark.slow) for how in ("well", "exit", "raise")),
        *(
            pytest.param(how, True, marks=pytest.mark.slow)
            for how in ("well", "exit", "kill", "raise")
        ),
    ],
)
def test_each_step_is_a_process_of_its_own_however_it_ends(
    tmp_path: Path, how: str, *, is_threaded: bool
) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    if is_threaded:  # then the runner is not forked: it starts from nothing
        thread.start()
    try:
        code, output = run_locally(ends, tmp_path, how=how)
    finally:
        done.set()
    assert (code == 0) == (how == "well"), output
    said = re.findall(r"in (\d+), group (\d+), (\w+), (.+)", output)
    assert [word for _, _, word, _ in said] == ["first", "None"]
    assert len({pid for pid, _, _, _ in said}) == 2
    assert {group for _, group, _, _ in said} not in ({pid} for pid, _, _, _ in said)
    assert len({group for _, group, _, _ in said}) == 1
    assert all(path.endswith("executor_main.py") for _, _, _, path in said)
    assert output.count("to stderr") == 2
    assert ("ValueError: on purpose" in output) == (how == "raise")


def test_a_step_that_is_told_to_end_ends_with_the_run(tmp_path: Path) -> None:
    @dsl.component(base_image="python", install_kfp_package=False)
    def wait(place: str):
        import os
        import time
        from pathlib import Path

        (Path(place) / "step").write_text(str(os.getpid()))
        time.sleep(600)

    @dsl.pipeline(name="waits")
    def waits(place: str):
        wait(place=place)

    runner = started(waits, tmp_path, place=str(tmp_path))
    deadline = time.monotonic() + HANGS_S
    while not (tmp_path / "step").exists() or not (tmp_path / "step").read_text():
        assert time.monotonic() < deadline
        assert runner.is_alive(), (tmp_path / "run.log").read_text()
        time.sleep(0.05)
    step = int((tmp_path / "step").read_text())
    runner.terminate()
    runner.join(HANGS_S)
    assert runner.exitcode == 143
    assert not is_running(step)


def test_the_interpreter_may_lie_in_a_folder_with_a_blank(tmp_path: Path) -> None:
    (tmp_path / "ä b").mkdir()
    interpreter = tmp_path / "ä b" / "python3.11"
    interpreter.symlink_to(sys.executable)
    script = 'python3 -c "import sys; print(sys.executable, sys.argv[1])" "$@"'
    command = with_interpreter(["sh", "-ec", script, "sh", "/opt/python3/data"], str(interpreter))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{interpreter} /opt/python3/data\n"
