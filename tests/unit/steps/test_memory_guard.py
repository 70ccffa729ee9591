"""Training that nears the container's limit, by files as control groups of version 2 have them.

No group of version 2 with a limit could be had where this was written; what ends is a real process.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accrete.core.processes import (
    GroupMemory,
    count_oom_kills,
    group_memory,
    memory_group_that_dies_whole,
)
from accrete.steps._memory_guard import MemoryGuard

SLEEPER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def write_group(folder: Path, *, limit: str = "1000000000", used: int = 0, cached: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon 5\ninactive_file {cached // 2}\nactive_file {cached - cached // 2}\n"
    )
    (folder / "memory.oom.group").write_text("1\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\n")
    return folder


def test_files_that_are_cached_are_not_held(tmp_path: Path) -> None:
    group = write_group(tmp_path / "a", used=900_000_000, cached=400_000_001)
    assert group_memory(group) == GroupMemory(limit_bytes=10**9, held_bytes=499_999_999)
    assert group_memory(write_group(tmp_path / "b", limit="max")) is None
    assert group_memory(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("0::/", ""),  # in a container that sees its own group as the root
        ("0::/kubepods/pod1/c2", "kubepods/pod1/c2"),
        ("0::/kubepods/pod1/c2", ""),  # in one that is told the node's path
        ("0::/../c2", ""),
    ],
)
def test_the_group_of_version_2_is_found(lines: str, place: str, tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text(f"{lines}\n")
    group = write_group(tmp_path / "groups" / place)
    assert count_oom_kills(tmp_path / "groups", own) == 3
    found = memory_group_that_dies_whole(tmp_path / "groups", own)
    assert found is not None
    assert found.resolve() == group.resolve()
    (group / "memory.oom.group").write_text("0\n")
    assert memory_group_that_dies_whole(tmp_path / "groups", own) is None


def test_oom_kills_of_version_1_are_counted(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("9:name=systemd:/\n4:memory:/docker/ab\n0::/\n")
    assert count_oom_kills(tmp_path, own) is None
    folder = tmp_path / "memory" / "docker" / "ab"
    folder.mkdir(parents=True)
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert count_oom_kills(tmp_path, own) == 2
    assert count_oom_kills(tmp_path, tmp_path / "none") is None


def test_training_is_ended_before_the_container_is_with_all_below_it(tmp_path: Path) -> None:
    group = write_group(tmp_path, used=950_000_000, cached=50_000_000)
    guard = MemoryGuard(group)
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER], process_group=0, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, guard.watching(process.pid):
        child = int(process.stdout.readline())
        time.sleep(0.3)
        assert process.poll() is None  # it has some memory left
        (group / "memory.current").write_text(f"{1_020_000_000}\n")
        assert process.wait(60) == -signal.SIGKILL
    assert guard.words is not None
    assert "when the container held 925.1 MiB of its 953.7 MiB of memory" in guard.words
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2]:
            break  # nobody waits for it here
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{child}").exists()


def test_without_such_a_group_nobody_watches() -> None:
    guard = MemoryGuard(None)
    with guard.watching(os.getpid()):
        pass
    assert guard.words is None
