"""Work beside this process, in a fork: its results, its errors, its end."""

import subprocess
import sys

import pytest

from accrete.core.processes import available_cpus

CALLS = """
import os, signal, sys
from accrete.core.processes import call_side_by_side

def work(number):
    if os.getpid() != parent and how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 3 and how == "raises":
        raise ValueError(f"{number}")
    return number, os.getpid() != parent

how, parent = sys.argv[1], os.getpid()
try:
    print(call_side_by_side([lambda n=n: work(n) for n in range(5)]))
except ValueError as error:
    print("ValueError", error)
"""


def what_calls_print(how: str) -> str:
    command = [sys.executable, "-c", CALLS, how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(available_cpus() < 2, reason="one CPU: nothing runs side by side")
def test_half_of_what_is_called_side_by_side_runs_in_a_fork() -> None:
    assert what_calls_print("well") == str([(n, n % 2 == 1) for n in range(5)])


def test_what_raises_in_the_fork_raises_here() -> None:
    assert what_calls_print("raises") == "ValueError 3"


def test_what_a_killed_fork_owes_is_done_here() -> None:
    assert what_calls_print("killed") == str([(n, False) for n in range(5)])
