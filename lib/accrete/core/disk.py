"""A disk that is full, as an error that says which and how much room it has."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accrete.core.environment import ENV_CACHE
from accrete.core.units import format_bytes
from accrete.errors import DiskFullError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Libraries that are not Python's own put the number into the text (safetensors, Arrow).
_IN_TEXT = re.compile(r"\b(?:os error|errno) (\d+)\b")


@contextmanager
def disk_full_named(folder: Path, variable: str = ENV_CACHE) -> Iterator[None]:
    """Say of a disk that fills up in a block which one it is.

    Args:
        folder: on the disk that the block writes to.
        variable: of the environment, which says where such a folder is.

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
        free, size = (format_bytes(n * stat.f_frsize) for n in (stat.f_bavail, stat.f_blocks))
        raise DiskFullError(
            f"no space left on the disk of {folder} ({free} of {size} are free): make room "
            f"there, or set {variable} to a folder on a larger one"
        ) from error
