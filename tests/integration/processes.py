"""The processes of this machine that belong to a test, and what they were called with."""

from contextlib import suppress
from pathlib import Path


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
