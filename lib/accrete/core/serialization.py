"""Configuration dataclasses to JSON and back, with errors that name the field."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from accrete.errors import ConfigError, InputError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return dataclasses as dicts and tuples as lists, all the way down.

    Fields that a dataclass lists in ADDED_FIELDS are left out where they have their default: what
    was stored before there were such fields keeps its digest.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        added = getattr(type(value), "ADDED_FIELDS", ())
        return {
            f.name: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.name not in added or getattr(value, f.name) != f.default
        }
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def without_nones(value: Any) -> Any:
    """Return JSON without the fields that are null: KFP's parameters have none."""
    if isinstance(value, dict):
        return {key: without_nones(item) for key, item in value.items() if item is not None}
    return [without_nones(item) for item in value] if isinstance(value, list) else value


def from_json(cls: type[T], data: Any, place: str) -> T:
    """Build a dataclass from decoded JSON, checking names and types.

    Args:
        cls: a dataclass of dataclasses, tuples, lists, scalars or optional ones of these.
        data: decoded JSON; a whole float stands for an int, since KFP holds every number as one.
        place: where the data came from, for errors.

    Raises:
        ConfigError: a field is missing, unknown or of another type.
        InputError: as the dataclass itself refuses its values; the place is put before.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{place} is {_shown(data)}: it must be an object")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            raise ConfigError(f"{place} has an unknown field {name!r}")
    values = {}
    for name, field in known.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{place}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{place} lacks the field {name!r}")
    try:
        return cls(**values)
    except InputError as error:
        raise type(error)(f"{place}: {error}") from error


def _convert(hint: Any, value: Any, place: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        inner = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        return _convert(inner, value, place)
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{place} is {_shown(value)}: it must be a list")
        inner = typing.get_args(hint)[0]
        return origin(_convert(inner, item, f"{place}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, place)
    return _scalar(hint, value, place)


def _scalar(hint: Any, value: Any, place: str) -> Any:
    if hint is Any:
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint in (int, float) and _is_finite_number(value):
        if hint is float:
            return float(value)
        if value == int(value):
            return int(value)
    raise ConfigError(f"{place} is {_shown(value)}: it must be {hint.__name__}")


def _is_finite_number(value: Any) -> bool:
    """Return whether a value is a number that a double holds; booleans are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
