"""What a step says of itself for programs: the document's shape, checked where it is read."""

from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import Any

from accrete.errors import IntegrityError

_TEXTS = ("step", "attempt", "state", "started_at", "updated_at")
_PROGRESS: dict[str, Any] = {
    "title": str,
    "done": (int, float),
    "total": (int, float),
    "unit": str,
    "rate": (int, float),
    "left_s": (int, float, NoneType),
    "detail": str,
}
_MAX_NUMBER = 1e15


def checked_document(data: Any, place: str) -> dict[str, Any]:
    """Return a step's document, decoded, if a journal can have written it.

    Raises:
        IntegrityError: it lacks something, or holds something else; names what.
    """
    wrong = _what_is_wrong(data)
    if wrong is not None:
        raise IntegrityError(
            f"{place} is no step's document ({wrong}): it was changed; delete it and run again"
        )
    assert isinstance(data, dict)
    return data


def _what_is_wrong(data: Any) -> str | None:
    if not isinstance(data, Mapping):
        return "it is no object"
    is_right = {
        **{name: isinstance(data.get(name), str) for name in _TEXTS},
        "started_at": _is_time(data.get("started_at")),
        "updated_at": _is_time(data.get("updated_at")),
        "results": _are_results(data.get("results")),
        "error": isinstance(data.get("error", 0), str | None),
        "exit_code": isinstance(data.get("exit_code"), int),
        "progress": data.get("progress", 0) is None or _is_progress(data.get("progress")),
    }
    return next((f"{name} is missing or wrong" for name, ok in is_right.items() if not ok), None)


def _are_results(data: Any) -> bool:
    return isinstance(data, list) and all(
        isinstance(result, Mapping) and isinstance(result.get("text"), str) for result in data
    )


def _is_time(text: Any) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _is_progress(data: Any) -> bool:
    if not isinstance(data, Mapping) or data.keys() != _PROGRESS.keys():
        return False
    for name, kinds in _PROGRESS.items():
        value = data[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            return False
        if isinstance(value, int | float) and not 0 <= value <= _MAX_NUMBER:
            return False
    return True
