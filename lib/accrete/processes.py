"""Child processes that do not outlive what needs them (Linux)."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


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


def is_running(pid: int) -> bool:
    """Return whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
