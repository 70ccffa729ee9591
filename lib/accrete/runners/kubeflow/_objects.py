"""Kubernetes' objects as JSON, which others wrote: what is not of the right form is not there."""

from collections.abc import Mapping
from typing import Any

from accrete.errors import one_line

Object = Mapping[str, Any]

_MAX_WORDS = 400


def at(value: Any, name: str) -> Object:
    """Return an object's field that is an object, an empty one where it is none."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def every(value: Object, name: str) -> list[Object]:
    """Return the objects of a field that is a list."""
    found = value.get(name)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def said(reason: Any, message: Any) -> str:
    """Return an object's reason and message as one line."""
    words = one_line(str(message)) if message else ""
    if reason and not words.startswith(str(reason)):
        words = f"{reason}: {words}" if words else str(reason)
    words = words.rstrip(". ")
    return words if len(words) <= _MAX_WORDS else f"{words[: _MAX_WORDS - 1]}…"


def newest_first(events: list[Object]) -> list[Object]:
    """Return events by when they were last seen."""

    def when(event: Object) -> str:
        series = at(event, "series").get("lastObservedTime")
        times = (series, event.get("lastTimestamp"), event.get("eventTime"))
        created = at(event, "metadata").get("creationTimestamp")
        return next((str(time) for time in (*times, created) if time), "")

    return sorted(events, key=when, reverse=True)
