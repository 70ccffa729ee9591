"""A step that is told to end before its work has begun: one line, code 75, a word where it can."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

import pytest
from conftest import HANGS_S
from digits import digits_run
from watched_steps import Steps

from accrete.catalog.catalog import Catalog
from accrete.catalog.step_documents import step_documents

TRAIN = "from accrete.steps.train import train_step; train_step(**{arguments!r})"
LINE = "accrete: error: told to end before the step was done: another attempt goes on from what is"


@pytest.fixture
def steps(catalog: Catalog, tmp_path: Path) -> Steps:
    return Steps(catalog, tmp_path)


def started(command: list[str], env: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


FIRST = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]


@pytest.mark.parametrize("place", ["below another process", "the first of a container"])
def test_a_training_step_that_has_not_begun_says_that_it_was_told_to_end(
    place: str, steps: Steps
) -> None:
    """A first process has no default for SIGTERM: without a handler nothing would come of it."""
    is_first = place != "below another process"
    if is_first and not (
        shutil.which(FIRST[0])
        and subprocess.run([*FIRST, "true"], capture_output=True, check=False).returncode == 0
    ):
        pytest.skip("no process can be the first of a namespace here")
    arguments = steps.written(digits_run(10))
    plan = Path(arguments["plan_path"])
    plan.unlink()
    os.mkfifo(plan)  # it waits there for somebody who writes
    command = [sys.executable, "-c", TRAIN.format(arguments=arguments)]
    process = started([*FIRST, *command] if is_first else command, steps.env)
    writer = os.open(plan, os.O_WRONLY)  # returns once it does
    (step,) = children_of(process.pid) if is_first else [process.pid]
    os.kill(step, signal.SIGTERM)
    _, err = process.communicate(timeout=HANGS_S)
    os.close(writer)
    assert err.startswith(LINE)
    assert len(err.splitlines()) == 1
    assert process.returncode == 75
    (document,) = step_documents(steps.catalog.store, "watched")
    assert document.failure is not None
    assert (document.state, document.failure.exit_code) == ("failed", 75)


@contextmanager
def silent_server() -> Iterator[tuple[str, Callable[[], object]]]:
    """Serve what takes requests and answers none; yield its URL, and what waits for one."""
    with create_server(("127.0.0.1", 0)) as server:
        taken = []
        yield f"http://127.0.0.1:{server.getsockname()[1]}", lambda: taken.append(server.accept())
        for connection, _ in taken:
            connection.close()


@pytest.mark.parametrize("step", ["prepare", "node"])
def test_a_step_that_waits_for_a_silent_store_is_told_to_end(step: str, steps: Steps) -> None:
    with silent_server() as (url, wait_for_request):
        if step == "prepare":
            process = steps.prepare(digits_run(10), ACCRETE_S3_ENDPOINT=url)
        else:
            env = steps.env | {"ACCRETE_S3_ENDPOINT": url, "ACCRETE_STORE": "s3://bucket"}
            command = [sys.executable, "-m", "accrete.node_step", "watched", "1"]
            process = started(command, env)
        wait_for_request()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=HANGS_S)
    *before, last = (err or out).splitlines()
    assert last.startswith(LINE)
    # The same, as the journal has it, of which a silent store gets none.
    assert [line.partition(" ")[2] for line in before] in ([], [last.removeprefix("accrete: ")])
    assert process.returncode == 75
