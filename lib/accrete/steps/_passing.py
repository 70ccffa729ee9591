"""Which failures may pass by themselves, or with less memory, so that training is started again."""

import errno
from pathlib import Path

from accrete.catalog.step_documents import StepFailure
from accrete.errors import PreemptedError, ProcessLimitError, WorkerLostError


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error is one of too little memory of the host, so that less may do."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # What torch raises where its allocator for the CPU gets none.
    is_torch_s = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return isinstance(error, (MemoryError, WorkerLostError)) or is_torch_s


def lacks_processes(error: BaseException) -> bool:
    """Return whether an error is one of too few processes or threads; others may end meanwhile."""
    return isinstance(error, ProcessLimitError)


def was_told_to_end(failure: StepFailure) -> bool:
    """Return whether it is that of a process that was told to end."""
    return failure.exit_code == PreemptedError.exit_code


def is_alive(pid: int) -> bool:
    """Return whether a process runs, rather than having ended and nobody having asked how."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
