"""A disk that is full, as an error that says which and how much room it has."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accrete.errors import DiskFullError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Libraries that are not Python's own put the number into the text (safetensors, Arrow).
_IN_TEXT = re.compile(r"\b(?:os error|errno) (\d+)\b")


@contextmanager
def disk_full_named(folder: Path) -> Iterator[None]:
    """Say of a disk that fills up in a block which one it is.

    Args:
        folder: on the disk that the block writes to.

    Raises:
        DiskFullError: it is full.
    """
    try:
        yield
    except Exception as error:
        found = _IN_TEXT.search(str(error))
        number = getattr(error, "errno", None) or (int(found[1]) if found else 0)
        if number not in _FULL:
            raise
        stat = os.statvfs(folder)
        free, size = stat.f_bavail * stat.f_frsize / 1e6, stat.f_blocks * stat.f_frsize / 1e6
        raise DiskFullError(
            f"no space left on the disk of {folder} ({free:,.1f} of {size:,.1f} MB are free): make "
            "room there, or set ACCRETE_CACHE to a folder on a larger one"
        ) from error
