"""What comes from outside, looked at before it is used: JSON, small files, what may be a pickle.

No pickle is ever loaded; the word for what a file is goes into the message that refuses it.
"""

import json
import re
import stat
from pathlib import Path
from typing import Any

from accrete.core.hashing import canonical_json
from accrete.errors import IntegrityError

MAX_VALUES = 4_000_000
"""Values in a text at most: a manifest of 100,000 classes has under a million."""

_SEPARATOR = re.compile(rb"[\[{,]")


def decode_json(data: bytes, *, max_values: int | None = MAX_VALUES) -> Any:
    """Return decoded JSON that `canonical_json` takes.

    Args:
        data: UTF-8.
        max_values: values in it at most, since each costs up to a hundred bytes of memory, and two
            in the text; None: any number.

    Raises:
        ValueError: no JSON, over the limit, a name twice in an object, nested too deeply, or a
            value that JSON does not have: NaN, an infinity, half of a surrogate pair.
    """
    if max_values is not None and _is_over(data, max_values):
        raise ValueError(f"over {max_values:,} values")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_without_doubles)
        canonical_json(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"not UTF-8 ({error.reason})") from None
    return value


def _is_over(data: bytes, max_values: int) -> bool:
    if len(data) <= max_values:
        return False
    return sum(1 for _ in _SEPARATOR.finditer(data)) > max_values


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{name[:60]!r} is there twice in an object")
    return found


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


HEAD_BYTES = 256
"""As many are enough to tell."""

_NEWEST_PROTOCOL = 5


def pickle_kind(head: bytes) -> str | None:
    """Return what kind of pickle a file is, None where it does not begin like one.

    Args:
        head: the first HEAD_BYTES bytes of the file, or all that it has.
    """
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= _NEWEST_PROTOCOL:
        return "a pickle"
    if head.startswith(b"PK\x03\x04") and b"data.pkl" in head[:HEAD_BYTES]:
        return "a pickle in a zip archive, as torch.save writes it"
    if head.startswith(b"\x93NUMPY"):
        return "a numpy array file, which may hold a pickle"
    if head.startswith(b"PK\x03\x04") and b".npy" in head[:HEAD_BYTES]:
        return "numpy array files in a zip archive, which may hold pickles"
    return None


def parse_json(data: bytes, place: str, *, max_values: int | None = MAX_VALUES) -> Any:
    """Return decoded JSON, of at most so many values.

    Raises:
        IntegrityError: it is none.
    """
    try:
        return decode_json(data, max_values=max_values)
    except ValueError as error:
        raise IntegrityError(
            f"{place} is not JSON ({error}): it was changed; delete it and run again"
        ) from error
