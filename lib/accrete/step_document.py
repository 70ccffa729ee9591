"""What a step says of itself for programs: the document's shape, checked where it is read."""

from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import Any

from accrete.errors import IntegrityError

_TEXTS = ("step", "attempt", "state", "started_at", "updated_at")
_PROGRESS = {
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
    for name in _TEXTS:
        if not isinstance(data.get(name), str):
            return f"{name} is no text"
    if not all(_is_time(data[name]) for name in ("started_at", "updated_at")):
        return "a time is none"
    results = data.get("results")
    if not isinstance(results, list) or not all(_is_result(result) for result in results):
        return "results are no list of texts"
    if not isinstance(data.get("error", 0), str | None):
        return "error is no text"
    if not isinstance(data.get("exit_code"), int):
        return "exit_code is no number"
    progress = data.get("progress", 0)
    return None if progress is None or _is_progress(progress) else "progress is none"


def _is_result(data: Any) -> bool:
    return isinstance(data, Mapping) and isinstance(data.get("text"), str)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
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
