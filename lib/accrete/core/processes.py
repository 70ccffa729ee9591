"""Processes that do not outlive what needs them, share the CPUs well, work side by side (Linux)."""

import atexit
import ctypes
import errno
import gc
import locale
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from accrete.errors import ProcessLimitError

_PR_SET_PDEATHSIG = 1

_LOOK_S = 0.05
"""How often who waits for a flag looks."""


class TerminatedError(BaseException):  # no library may take it for a failure of its own
    """SIGTERM came: unwind like Ctrl-C, so that steps and store end with this process.

    Like a KeyboardInterrupt it may carry what to tell the user in place of the usual words.
    """


class Flag:
    """Tells all threads that something came, and may be set by the handler of a signal.

    An Event may not: setting it takes a lock, which what the handler interrupts may hold, such as a
    wait for it in the same thread, or the handler of a signal just before.
    """

    def __init__(self) -> None:
        """Begin unset."""
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, from anywhere."""
        self._is_set = True

    def clear(self) -> None:
        """Have it unset again."""
        self._is_set = False

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, so many seconds at most; return whether it is."""
        deadline = time.monotonic() + timeout_s
        while not self._is_set and (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(left_s, _LOOK_S))
        return self._is_set


@cache
def ending() -> Flag:
    """Return what is set once this process was told to end: no thread waits for anything then."""
    return Flag()


def die_with_parent(parent_pid: int, signum: int = signal.SIGTERM) -> None:
    """Have the kernel signal this process when its parent ends, even by SIGKILL.

    Args:
        parent_pid: the parent that was meant; if it is gone already, this process ends now.
        signum: the signal to get.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum)
    except (OSError, AttributeError):
        return  # not Linux: a child may then outlive a killed parent
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signum)


@contextmanager
def process_limit_named() -> Iterator[None]:
    """Say of a process or thread that cannot be started what is short.

    Raises:
        ProcessLimitError: one could not be, in the block.
    """
    try:
        yield
    except (BlockingIOError, RuntimeError) as error:
        is_fork_s = getattr(error, "strerror", None) == os.strerror(errno.EAGAIN)
        if not is_fork_s and "can't start new thread" not in str(error):
            raise
        raise ProcessLimitError(
            "no further process or thread could be started: the limit of the pod (pids), or of "
            "its user (`ulimit -u`), is reached"
        ) from None


def can_fork() -> bool:
    """Return whether this process can go on as two: what another thread holds would stay held."""
    return sys.platform == "linux" and threading.active_count() == 1


def has_one_thread() -> bool:
    """Return whether this process has one thread, those of libraries included (Linux).

    A library's threads are not there in a fork, and some libraries would wait for them (libgomp's).
    """
    return can_fork() and len(list(Path("/proc/self/task").iterdir())) == 1


def end_as_by_sigterm(_signum: int, _frame: object) -> None:
    """Take a signal, such as SIGINT, for SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


def die_before_parent() -> None:
    """Have the kernel, where memory is short, rather kill this process than the one above it."""
    path = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        path.write_text(str(min(1000, int(path.read_text()) + 100)))


def count_oom_kills(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Return how many processes of this one's memory group were killed for want of memory.

    Args:
        groups: where control groups are mounted, of version 2 or 1.
        own: this process's groups, as the kernel lists them.

    Returns:
        The kernel's count, those below the group included (v2); None: it cannot be read.
    """
    for folder in _memory_groups(groups, own):
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError, KeyError, ValueError):
                return int(_fields(folder / name, separator=" ")["oom_kill"])
    return None


def memory_group_that_dies_whole(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Path | None:
    """Return this process's memory group where the kernel, short of memory, kills all of it.

    The kubelet has it so for containers under version 2, from Kubernetes 1.28 on.
    """
    for folder in _memory_groups(groups, own):
        with suppress(OSError, ValueError):
            if int((folder / "memory.oom.group").read_text()) == 1:
                return folder
    return None


@dataclass(frozen=True, slots=True)
class GroupMemory:
    """What a memory group (v2) takes."""

    limit_bytes: int
    """What it may."""
    held_bytes: int
    """What the kernel cannot take back: without cached files."""


def group_memory(group: Path) -> GroupMemory | None:
    """Return what a memory group takes; None: it has no limit, or does not say."""
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        found = _fields(group / "memory.stat", separator=" ")
        names = ("inactive_file", "active_file", "slab_reclaimable")
        cached = sum(int(found.get(name, "0")) for name in names)
    except (OSError, ValueError):
        return None
    return GroupMemory(limit_bytes=limit, held_bytes=max(0, used - cached))


def _memory_groups(groups: Path, own: Path) -> Iterator[Path]:
    """Yield the folders that may be this process's memory group's, most likely first."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") or not controllers:
            root = groups / "memory" if controllers else groups
            # A container may see its own group as the root, and be told the path of the node's.
            yield from (root / path.lstrip("/"), root)


def leave_quickly() -> None:
    """Have this process end without a last look for garbage in all that it imported.

    The look takes a quarter of a second after kfp, and the kernel takes the memory back anyway.
    Not with torch, whose Triton would then list everything that it finds alive, on standard error.
    """
    atexit.register(lambda: None if "torch" in sys.modules else gc.freeze())


def is_running(pid: int) -> bool:
    """Return whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def ignore_language() -> None:
    """Have C libraries tell capital letters as ASCII does, whatever the user's language.

    Call before kfp is imported. In Turkish the capital of i is another letter, and protobuf then
    finds none of a pipeline's fields that have an i after an underscore, so that nothing compiles.
    """
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return  # a system without it: the user's own has to do


def share_cpus_well(among: int = 1) -> None:
    """Have torch use the CPUs that this process may use, and wait without burning them.

    Call before torch is imported: its thread pool (libgomp) reads the environment once. By default
    it takes every core of the node, whatever the pod's limit, and its threads spin for a while at
    every barrier, which starves itself beside other busy processes: on two loaded cores `small` at
    32 px ran at 138 images/s, and at 2,570 with the short spin (once each, load not controlled).

    Args:
        among: processes that share the CPUs.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cpus() // among)))
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def keep_compiled_code(path: Path) -> None:
    """Have torch.compile keep what it makes in a folder, for later stages and attempts here.

    Call before torch is imported. The folder is trusted as the node's disk is: torch loads from it
    what it wrote there, and nothing in it ever comes from the object store.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(path))


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the CPUs that this process may use: its affinity, and its cgroup's quota (v2)."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))


def available_memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that this process may still take: its cgroup's (v2), the machine's.

    Cached files count as free, as the kubelet counts them: shards that were just pulled are such.
    """
    machine = _fields(Path("/proc/meminfo"), separator=":")
    free = int(machine["MemAvailable"].split()[0]) * 1024
    try:
        limit = int((cgroup / "memory.max").read_text())  # "max" where there is none
        used = int((cgroup / "memory.current").read_text())
        cached = int(_fields(cgroup / "memory.stat", separator=" ")["inactive_file"])
    except (OSError, ValueError, KeyError):
        return free
    return max(0, min(free, limit - used + cached))


def _fields(path: Path, separator: str) -> dict[str, str]:
    """Return the values of one of the kernel's lists of names and values."""
    lines = [line.partition(separator) for line in path.read_text().splitlines()]
    return {name: value.strip() for name, _, value in lines}


T = TypeVar("T")


def call_side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Return what functions return that need nothing of each other; half of them run in a fork.

    Args:
        works: what to call. Results are pickled. What raises in the fork is called here again.
    """
    if len(works) < 2 or available_cpus() < 2 or not can_fork():
        return [work() for work in works]
    others = works[1::2]
    receiver, sender = multiprocessing.Pipe(duplex=False)
    helper = multiprocessing.get_context("fork").Process(
        target=_send_results, args=(others, sender, os.getpid()), daemon=True
    )
    helper.start()
    sender.close()
    own = [work() for work in works[::2]]
    with receiver:
        try:
            theirs = receiver.recv()
        except (EOFError, OSError):  # nothing came, or a part
            theirs = [work() for work in others]
    helper.join()
    results = [*own, *theirs]
    results[::2], results[1::2] = own, theirs
    return results


def _send_results(works: Sequence[Callable[[], T]], sender: Connection, parent: int) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    die_with_parent(parent)
    try:
        results = [work() for work in works]
    except Exception:
        os._exit(1)  # the caller will see it, too
    sender.send(results)
