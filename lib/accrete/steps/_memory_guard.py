"""Ends training that nears the container's memory limit, where the kernel would end all of it.

Under Kubernetes the OOM killer takes every process of a container at once (`memory.oom.group`), so
nobody would be left to start training again with less. What takes memory faster than it is looked
at still ends so.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from accrete.core.processes import group_memory
from accrete.core.units import format_bytes

_LOOK_S = 0.05
_MOST_SHARE = 0.96
"""Of the limit. What is left must last until the next look; the kernel needs some of it, too."""


class MemoryGuard:
    """Watches a memory group while a process in it trains."""

    def __init__(self, group: Path | None) -> None:
        """Watch this group; None: none."""
        self._group = group
        self.words: str | None = None
        """Why it ended the process; None: it did not."""

    @contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """End this process and its group of processes where memory runs out during the block."""
        if self._group is None:
            yield
            return
        done = Event()
        thread = Thread(target=self._watch, args=(self._group, pid, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()  # or the next process could not be a fork of this one

    def _watch(self, group: Path, pid: int, done: Event) -> None:
        # The main thread hands them on, and waits where only a signal of its own wakes it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        while not done.wait(_LOOK_S):
            memory = group_memory(group)
            if memory is None or memory.held_bytes < _MOST_SHARE * memory.limit_bytes:
                continue
            self.words = (
                f"the training process was ended when the container held "
                f"{format_bytes(memory.held_bytes)} of its {format_bytes(memory.limit_bytes)} "
                "of memory, before the kernel ended all of it"
            )
            kill_group(pid)
            return


def kill_group(pid: int) -> None:
    """Kill a process that leads a group of processes, or what is left of its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
