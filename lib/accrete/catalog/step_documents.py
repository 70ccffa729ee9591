"""What a run's steps say of themselves in the store: documents, checked where they are read."""

from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import Any

from accrete.core.untrusted import parse_json
from accrete.errors import IntegrityError, RunNotFoundError
from accrete.store import keys
from accrete.store.object_store import ObjectStore

UPLOAD_INTERVAL_S = 10.0
"""How often a step that runs stores its document and its log."""

SILENT_AFTER_S = 60
"""A step that runs and has stored nothing for this long was stopped."""

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


def parse_document(data: bytes, place: str) -> dict[str, Any]:
    """Return a step's document from its stored bytes.

    Raises:
        IntegrityError: it is none.
    """
    return checked_document(parse_json(data, place), place)


def step_documents(store: ObjectStore, name: str) -> list[dict[str, Any]]:
    """Return the journal of each step that has begun, in step order.

    Raises:
        RunNotFoundError: the store knows no such run.
    """
    found = store.list_keys(keys.step_prefix(name))
    if not found:
        raise RunNotFoundError(
            f"no run {name!r} in {store.address}: `accrete status` lists the runs"
        )
    notes = [(key, store.read_note(key)) for key in sorted(found)]
    return [parse_document(data, store.uri(key)) for key, data in notes if data is not None]


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
