"""JSON from outside: what cannot be written again as JSON, or would fill the memory, is refused."""

import json
import re
from typing import Any

from accrete.digest import canonical_json

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
