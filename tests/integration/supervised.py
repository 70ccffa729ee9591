"""A training step in its real processes, whose training is a few lines of Python."""

import subprocess
import sys
import time
from pathlib import Path

from conftest import HANGS_S
from digits import digits_run
from watched_steps import Steps

from accrete.catalog.step_documents import StepDocument, step_documents

PROGRAM = """
import os, pathlib, signal, sys, time
from contextlib import suppress
from accrete.errors import IntegrityError, PreemptedError, WorkerLostError
from accrete.steps import _peer_launch, _supervision, lone_process
from accrete.steps.frame import run_attempt
from accrete.steps.train import train_step
from accrete.steps.training_task import data_memory_bytes

calls = pathlib.Path({folder!r}) / "calls"

def count():
    with calls.open("a") as file:
        file.write(f"{{os.getpid()}}\\n")
    return len(calls.read_text().splitlines())

def work(task, attempt, context):
    number = count()
{body}

lone_process.train_stages = _supervision.train_stages = lambda task, attempt: run_attempt(
    attempt, lambda context: work(task, attempt, context)
)
_supervision._FIRST_PAUSE_S = {pause}
if {group!r}:
    _peer_launch.memory_group_that_dies_whole = lambda: pathlib.Path({group!r})
try:
    train_step(**{arguments!r})
finally:
    assert "torch" not in sys.modules, "the step's own process imported torch"
"""


class Supervised:
    """A training step whose training is a few lines of Python."""

    def __init__(
        self,
        steps: Steps,
        body: str,
        *,
        pause_s: float = 0.02,
        data_memory: str = "",
        group: str = "",
        within: Path | None = None,
        **env: str,
    ) -> None:
        self.steps = steps
        arguments = steps.written(digits_run(10)) | {"data_memory": data_memory}
        program = PROGRAM.format(
            folder=str(steps.folder),
            body="\n".join(f"    {line}" for line in body.strip("\n").splitlines()),
            pause=pause_s,
            group=group,
            arguments=arguments,
        )
        entered = (
            ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(within / "cgroup.procs")]
            if within
            else []
        )
        self.process = subprocess.Popen(
            [*entered, sys.executable, "-c", program],
            env=steps.env | {"ACCRETE_PROCESSES": "1"} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def calls(self) -> list[int]:
        """The processes that trained, by id."""
        path = self.steps.folder / "calls"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for_calls(self, number: int) -> None:
        deadline = time.monotonic() + HANGS_S
        while len(self.calls) < number:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ended(self) -> tuple[int, str, str]:
        """Return exit code, the one line of the error, and what was printed before."""
        out, err = self.process.communicate(timeout=HANGS_S)
        assert "Traceback" not in err
        (line,) = err.splitlines()
        assert line.startswith("accrete: error: ")
        document = self.document()
        assert document.failure is not None
        assert line == f"accrete: error: {document.failure.error}"
        assert document.failure.exit_code == self.process.returncode
        assert not [pid for pid in self.calls if Path(f"/proc/{pid}").exists()]
        return self.process.returncode, line, out

    def document(self) -> StepDocument:
        (document,) = step_documents(self.steps.catalog.store, "watched")
        return document
