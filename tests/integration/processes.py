"""The processes of this machine that belong to a test, and what they were called with."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path

from accrete.store.object_store import ObjectStore


def processes_with(marker: str) -> list[int]:
    """Return the processes whose environment holds a marker."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another's
            if marker.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def command_line(pid: int) -> bytes:
    """Return what a process was called with; empty where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def wait_for_a_snapshot(store: ObjectStore, *training: "subprocess.Popen[str]") -> None:
    """Wait until a store has a snapshot, or fail with what a process said that ended before."""
    while not store.list_keys("snapshots/"):
        for process in training:
            if process.poll() is not None:
                out, err = process.communicate()
                raise AssertionError(f"no snapshot: code {process.returncode}\n{out}\n{err}")
        time.sleep(0.1)
