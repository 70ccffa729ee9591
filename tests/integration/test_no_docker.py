"""`--runner docker` where it cannot work: one line, before any step."""

import pytest
from conftest import Cli


def test_an_engine_that_does_not_answer_is_named(cli: Cli) -> None:
    pytest.importorskip("docker", reason="the package docker is not installed")
    done = cli("run", "--gpus", "0", "--runner", "docker", DOCKER_HOST="tcp://127.0.0.1:1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "accrete: error: the Docker engine cannot be reached" in done.stderr
