"""What local runs hand to a task: the form of a Kubeflow backend, so that its faults show here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

from conftest import HANGS_S
from kfp import compiler, dsl
from kfp.dsl import Artifact, Input, Metrics, Model, Output

from accrete.local_runner import with_interpreter


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


def run_locally(pipeline: Any, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a pipeline as `accrete run` does."""
    compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    (folder / "arguments.json").write_text("{}")
    places = [str(folder / name) for name in ("pipeline.yaml", "arguments.json", "artifacts")]
    return subprocess.run(
        [sys.executable, "-m", "accrete.local_runner", *places],
        capture_output=True, text=True, timeout=HANGS_S, check=False,
    )  # fmt: skip


def test_a_task_is_told_of_its_inputs_what_a_backend_tells_it(tmp_path: Path) -> None:
    done = run_locally(looks, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
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
    assert '"schemaTitle": "system.Model"' in done.stdout  # of the output
    handed = done.stdout.split("Got executor_input:")[2]
    inputs = handed[: handed.index('"outputs"')]
    assert "schemaTitle" not in inputs
    assert '"cell"' not in inputs  # left out
    assert '"memory": ""' in inputs  # given, if only what it is anyway


def test_an_optional_artifact_fails_here_as_it_does_on_a_backend(tmp_path: Path) -> None:
    done = run_locally(grows, tmp_path)
    assert done.returncode != 0
    assert "TypeError: Cannot instantiate typing.Union" in done.stdout


def test_an_optional_artifact_that_is_left_out_is_none_on_both(tmp_path: Path) -> None:
    done = run_locally(begins, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "grown from None" in done.stdout


def test_the_interpreter_may_lie_in_a_folder_with_a_blank(tmp_path: Path) -> None:
    (tmp_path / "ä b").mkdir()
    interpreter = tmp_path / "ä b" / "python3.11"
    interpreter.symlink_to(sys.executable)
    script = 'python3 -c "import sys; print(sys.executable, sys.argv[1])" "$@"'
    command = with_interpreter(["sh", "-ec", script, "sh", "/opt/python3/data"], str(interpreter))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{interpreter} /opt/python3/data\n"
