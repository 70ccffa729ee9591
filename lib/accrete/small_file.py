"""Small files that a user names: lists and settings, read whole, but never without end."""

import stat
from pathlib import Path

MAX_BYTES = 64 << 20
"""A list of a million class names is under 64 MB."""


def read_small_file(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        ValueError: it cannot be read, is no regular file or over 64 MiB; says why in a few words.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ValueError("it is a folder")
        if not stat.S_ISREG(mode):
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is over {MAX_BYTES:,} bytes")
    return data
