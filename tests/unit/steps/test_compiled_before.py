"""What pipelines and TrainJobs that were made before there were packages name is still there."""

import subprocess
import sys

import pytest

NAMED = (
    "from accrete.steps import prepare_step",
    "from accrete.steps import train_step",
    "from accrete.steps import report_step",
    "from accrete.steps import sweep_report_step",
    "from accrete.train_steps import headline",
    "from accrete.train_job_step import train_job_step",
)


@pytest.mark.parametrize("line", NAMED)
def test_import_in_a_compiled_component_works(line: str) -> None:
    names: dict[str, object] = {}
    exec(line, names)  # noqa: S102  as KFP's executor does
    assert callable(names[line.rpartition(" ")[2]])


def test_a_step_that_there_never_was_is_told_as_python_does() -> None:
    with pytest.raises(ImportError, match="cannot import name 'eat_step'"):
        exec("from accrete.steps import eat_step", {})  # noqa: S102


def test_a_train_job_s_command_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "accrete.node_step", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "name of the run" in done.stdout
