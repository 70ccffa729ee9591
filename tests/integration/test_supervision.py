"""A step whose training is killed starts it again, where that helps, and says so.

What trains is a stand-in here, in the real step's real child processes, which real signals and the
kernel's own OOM killer end; with real training the fault bench does the same.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import HANGS_S
from digits import digits_run
from processes import processes_with
from supervised import Supervised
from watched_steps import Steps

from accrete.catalog.catalog import Catalog
from accrete.catalog.step_documents import step_documents
from accrete.monitoring.status import log_texts, run_states, status_text


@pytest.fixture
def steps(catalog: Catalog, tmp_path: Path) -> Steps:
    return Steps(catalog, tmp_path)


def test_a_crash_loop_ends_after_some_tries_with_the_signal_s_name(steps: Steps) -> None:
    step = Supervised(steps, "os.kill(os.getpid(), signal.SIGSEGV)", ACCRETE_RESTARTS="2")
    code, line, out = step.ended()
    assert code == 128 + signal.SIGSEGV
    assert "was ended by SIGSEGV, 3 times without getting any further: the log above" in line
    assert len(step.calls) == 3
    restarts = [line for line in out.splitlines() if "started again in" in line]
    assert len(restarts) == 2
    assert "(restart 2 of at most 2 without getting further)" in restarts[1]
    assert "memory" not in line + "".join(restarts)  # it has nothing to do with it
    ((_, log),) = log_texts(steps.catalog.store, "watched", None)
    assert restarts[0] in log.splitlines()  # one log of one attempt
    assert step.document().restarts in (1, 2)  # the third may have died before it could say


def test_training_that_gets_further_is_started_again_more_often(steps: Steps) -> None:
    body = """
if number == 5:
    raise IntegrityError("for good")
context.journal.say(f"this is try {number}")
context.kept(1, number)
os.kill(os.getpid(), signal.SIGKILL)
"""
    step = Supervised(steps, body, ACCRETE_RESTARTS="1")
    code, line, out = step.ended()
    assert (code, line) == (4, "accrete: error: for good")
    assert len(step.calls) == 5
    assert out.count("(restart 1 of at most 1 without getting further)") == 4
    assert "OOM" not in out
    document = step.document()
    assert document.restarts == 4
    (state,) = run_states(steps.catalog.store, "watched")
    assert "stage-0001 failed: for good" in status_text(state)


@pytest.mark.slow
def test_getting_to_the_same_place_again_is_no_progress(steps: Steps) -> None:
    body = "context.kept(1, 7)\nos.kill(os.getpid(), signal.SIGABRT)"
    step = Supervised(steps, body, ACCRETE_RESTARTS="2")
    code, line, _ = step.ended()
    assert code == 128 + signal.SIGABRT
    assert "was ended by SIGABRT, 3 times without getting any further: the log above says" in line
    assert "for want of memory" in line
    assert len(step.calls) == 3


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ('raise IntegrityError("for good")', 4, "for good"),
        pytest.param('raise ValueError("a bug")', 1, "ValueError: a bug", marks=pytest.mark.slow),
    ],
)
def test_what_fails_for_good_is_not_tried_again(
    body: str, code: int, words: str, steps: Steps
) -> None:
    step = Supervised(steps, body)
    if words.startswith("ValueError"):  # a bug shows where it is
        _, err = step.process.communicate(timeout=HANGS_S)
        assert err.startswith("Traceback")
        assert err.splitlines()[-1] == f"accrete: error: {words}"
        assert step.process.returncode == code
    else:
        assert step.ended()[:2] == (code, f"accrete: error: {words}")
    assert len(step.calls) == 1
    assert step.document().restarts == 0


@pytest.mark.slow
def test_without_restarts_a_killed_process_fails_the_step_at_once(steps: Steps) -> None:
    step = Supervised(steps, "os.kill(os.getpid(), signal.SIGKILL)", ACCRETE_RESTARTS="0")
    out, err = step.process.communicate(timeout=HANGS_S)
    assert step.calls == [step.process.pid]
    assert (step.process.returncode, out, err) == (-signal.SIGKILL, "", "")


@pytest.mark.slow
def test_wrong_number_of_restarts_is_refused(steps: Steps) -> None:
    code, line, _ = Supervised(steps, "pass", ACCRETE_RESTARTS="some").ended()
    assert code == 2
    assert "ACCRETE_RESTARTS is 'some': give a number from 0 to 100" in line


@pytest.mark.parametrize(
    "failure",
    [
        'raise WorkerLostError("a process that reads images was killed")',
        pytest.param("raise MemoryError", marks=pytest.mark.slow),
        pytest.param("raise OSError(12, 'Cannot allocate memory')", marks=pytest.mark.slow),
        pytest.param("os.kill(os.getpid(), signal.SIGBUS)", marks=pytest.mark.slow),
    ],
)
def test_want_of_memory_leaves_less_to_the_images(failure: str, steps: Steps) -> None:
    body = f"""
context.journal.say(f"has: {{data_memory_bytes(task)}}")
{failure}
"""
    step = Supervised(steps, body, data_memory="100Mi", ACCRETE_RESTARTS="3")
    code, line, out = step.ended() if "BUS" in failure else (*_with_traceback(step),)
    assert code == 128 + (signal.SIGBUS if "BUS" in failure else signal.SIGKILL)
    assert "give the step more memory, or less to the data with --data-memory" in line
    told = [int(line.rpartition(" ")[2]) for line in out.splitlines() if " has: " in line]
    assert told == [100 << 20, 50 << 20, 32 << 20, 32 << 20]  # no less than that
    assert "with 50.0 MiB instead of 100.0 MiB of memory for images" in out
    assert "with 32.0 MiB instead of 50.0 MiB of memory for images" in out


def _with_traceback(step: Supervised) -> tuple[int, str, str]:
    out, err = step.process.communicate(timeout=HANGS_S)
    return step.process.returncode, err.splitlines()[-1], out


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_sigterm_passes_through_at_once(signum: signal.Signals, steps: Steps) -> None:
    step = Supervised(steps, "time.sleep(600)")
    step.wait_for_calls(1)
    began = time.monotonic()
    step.process.send_signal(signum)
    step.process.send_signal(signum)  # a second one cuts nothing short
    code, line, _ = step.ended()
    assert time.monotonic() - began < 60
    assert code == 75
    assert "told to end before the step was done" in line
    assert step.document().restarts == 0


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_to_the_training_process_alone_is_no_end_of_the_step(
    signum: signal.Signals, steps: Steps
) -> None:
    step = Supervised(steps, 'time.sleep(600 if number == 1 else 0)\nraise IntegrityError("bad")')
    step.wait_for_calls(1)
    os.kill(step.calls[0], signum)
    code, line, out = step.ended()
    assert (code, line) == (4, "accrete: error: bad")
    assert len(step.calls) == 2
    words = "the training process was told to end, and its step was not: started again in"
    assert out.count(words) == 1


@pytest.mark.parametrize(
    "failure",
    [
        "raise MemoryError",
        pytest.param("os.kill(os.getpid(), signal.SIGTERM)", marks=pytest.mark.slow),
    ],
)
def test_a_step_that_is_to_start_again_has_not_failed(failure: str, steps: Steps) -> None:
    step = Supervised(steps, f"{failure}\ntime.sleep(600)", pause_s=500)
    assert step.process.stdout is not None
    lines = []
    while not lines or "started again in" not in lines[-1]:
        lines.append(step.process.stdout.readline())
        assert lines[-1], step.process.communicate()
    time.sleep(0.3)
    document = step.document()
    assert (document.state, document.failure) == ("running", None)
    if "MemoryError" in failure:
        assert "MemoryError" not in "".join(lines[:-1])  # it is told once
    else:
        assert document.restarts == 1
    step.process.send_signal(signal.SIGTERM)
    _, err = step.process.communicate(timeout=HANGS_S)
    assert step.process.returncode == 75
    assert err.splitlines()[-1].startswith("accrete: error: told to end while its training")


@pytest.mark.slow
def test_sigterm_between_two_tries_ends_the_step(steps: Steps) -> None:
    step = Supervised(steps, "os.kill(os.getpid(), signal.SIGKILL)", pause_s=500)
    step.wait_for_calls(1)
    deadline = time.monotonic() + HANGS_S
    while Path(f"/proc/{step.calls[0]}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    step.process.send_signal(signal.SIGTERM)
    code, line, _ = step.ended()
    assert code == 75
    assert "told to end while its training, which was killed, was to be started again" in line
    assert len(step.calls) == 1


@pytest.mark.slow
def test_training_ends_with_the_step_s_own_process(steps: Steps) -> None:
    step = Supervised(steps, "time.sleep(600)")
    step.wait_for_calls(1)
    step.process.kill()
    step.process.communicate(timeout=HANGS_S)
    (child,) = step.calls
    deadline = time.monotonic() + HANGS_S
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()
    failure = step.document().failure
    assert failure is not None
    assert failure.exit_code == 75  # it had a moment to save


THREADED = """
import threading, time
from accrete.steps import _peer_launch
from accrete.steps.train import train_step

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
_peer_launch._forked = None  # it must not be used
train_step(**{arguments!r})
"""


@pytest.mark.slow
def test_a_step_with_another_thread_has_a_new_interpreter_train(
    steps: Steps, catalog: Catalog
) -> None:
    program = THREADED.format(arguments=steps.written(digits_run(10)))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=steps.env | {"ACCRETE_PROCESSES": "1", "ACCRETE_CACHE": "/dev/null/cache"},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_S,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("accrete: error: the node cache /dev/null/cache cannot be made")
    (document,) = step_documents(catalog.store, "watched")
    assert document.failure is not None
    assert line == f"accrete: error: {document.failure.error}"


ORPHANED = """
import os, signal, subprocess, threading, time
from accrete.steps import _peer_launch
from accrete.steps.train import train_step

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
start = subprocess.Popen

def start_and_die(command, **options):
    start(["sh", "-c", 'sleep 0.5; exec "$@"', "sh", *command], **options)
    os.kill(os.getpid(), signal.SIGKILL)

subprocess.Popen = start_and_die
train_step(**{arguments!r})
"""


@pytest.mark.slow
def test_a_training_process_whose_step_died_as_it_began_trains_nothing(
    steps: Steps, catalog: Catalog
) -> None:
    config = digits_run(10, budget_epochs=1.0)
    program = ORPHANED.format(arguments=steps.written(config))
    marker = f"ACCRETE_CACHE={steps.folder / 'cache'}"
    step = subprocess.run(
        [sys.executable, "-c", program],
        env=steps.env | {"ACCRETE_PROCESSES": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert step.returncode == -signal.SIGKILL
    deadline = time.monotonic() + HANGS_S
    while processes_with(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_with(marker)
    assert catalog.stage(steps.spec(config).digest) is None
