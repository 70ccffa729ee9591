"""Processes: CPUs and memory that a pod may use, and children that end with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import HANGS_S

from accrete.core.processes import (
    Flag,
    available_cpus,
    available_memory_bytes,
    is_running,
    share_cpus_well,
)


@pytest.mark.parametrize(
    ("content", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)]
)
def test_a_cgroup_quota_limits_the_cpus(tmp_path: Path, content: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert available_cpus(tmp_path) == (expected or len(os.sched_getaffinity(0)))


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == len(os.sched_getaffinity(0))


def write_memory(cgroup: Path, limit: str, used: str, cached: int = 0) -> None:
    """Write the files of a cgroup (v2) that say what memory it has."""
    (cgroup / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 7\n")
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{used}\n")


def test_a_cgroup_limits_the_memory_to_what_it_has_left(tmp_path: Path) -> None:
    write_memory(tmp_path, "5000000", "1000000")
    assert available_memory_bytes(tmp_path) == 4_000_000


def test_cached_files_are_no_memory_lost(tmp_path: Path) -> None:
    write_memory(tmp_path, "5000000", "4000000", cached=3_000_000)
    assert available_memory_bytes(tmp_path) == 4_000_000


def test_a_cgroup_that_is_full_has_no_memory_left(tmp_path: Path) -> None:
    write_memory(tmp_path, "5000000", "5000001")
    assert available_memory_bytes(tmp_path) == 0


def machine_bytes() -> int:
    """Return the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("limit", ["max", str(1 << 60)])
def test_a_cgroup_without_a_limit_has_the_machine_s_memory(tmp_path: Path, limit: str) -> None:
    write_memory(tmp_path, limit, "1000000")
    assert 1_000_000 < available_memory_bytes(tmp_path) < machine_bytes()


def test_without_a_cgroup_the_machine_s_memory_counts(tmp_path: Path) -> None:
    assert 1_000_000 < available_memory_bytes(tmp_path) < machine_bytes()


@pytest.mark.parametrize("among", [1, 2, 1000])
def test_processes_share_the_cpus_and_each_has_one_at_least(
    monkeypatch: pytest.MonkeyPatch, among: int
) -> None:
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # for monkeypatch to put back what was there
        monkeypatch.delenv(name)
    share_cpus_well(among)
    assert os.environ["OMP_NUM_THREADS"] == str(max(1, available_cpus() // among))
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


def test_cpus_that_the_user_gave_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    share_cpus_well(2)
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_child_ends_when_its_parent_is_killed() -> None:
    child = """
import os, time
from accrete.core.processes import die_with_parent
die_with_parent(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert is_running(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + HANGS_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)


@pytest.mark.parametrize(("loaded", "looks"), [("json", False), ("torch", True)])
def test_only_with_torch_a_process_looks_for_garbage_in_the_end(loaded: str, looks: bool) -> None:
    program = f"""
import atexit, gc, sys
from accrete.core.processes import leave_quickly
atexit.register(lambda: print(gc.get_freeze_count() == 0))  # after what is registered later
leave_quickly()
sys.modules["{loaded}"] = sys
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(looks)


def test_a_flag_tells_whether_it_is_set() -> None:
    flag = Flag()
    assert not flag.is_set()
    assert not flag.wait(0.01)
    flag.set()
    assert flag.is_set()
    assert flag.wait(600)
    flag.clear()
    assert not flag.is_set()


FLOODED = """
import signal, sys, time
from accrete.core.processes import Flag

came, over = Flag(), time.monotonic() + 0.5
signal.signal(signal.SIGTERM, lambda *_: came.set())
print("ready", flush=True)
while time.monotonic() < over:
    came.wait(0.0001)
    came.clear()
print("done", flush=True)
"""


def test_signals_that_come_close_together_set_a_flag_and_stop_nothing() -> None:
    """An Event in its place stops for good within some thousand signals."""
    process = subprocess.Popen(
        [sys.executable, "-c", FLOODED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + HANGS_S
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGTERM)
        time.sleep(0)
    process.kill()
    out, err = process.communicate()
    assert (out, err) == ("done\n", "")
