"""What a run's steps say of themselves in the store: documents, checked where they are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from accrete.core.serialization import from_json, to_json
from accrete.core.untrusted import parse_json
from accrete.core.validation import check_range
from accrete.errors import (
    AccreteError,
    InputError,
    IntegrityError,
    RunNotFoundError,
    StepFailedError,
    printable,
)
from accrete.store import keys
from accrete.store.object_store import ObjectStore

UPLOAD_INTERVAL_S = 10.0
"""How often a step that runs stores its document and its log."""

SILENT_AFTER_S = 60
"""A step that runs and has stored nothing for this long was stopped."""

_MAX_NUMBER = 1e15

StepState = Literal["running", "done", "failed"]
_STATES: dict[str, StepState] = {"running": "running", "done": "done", "failed": "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the part is that a step is at."""

    title: str
    """The part."""
    done: int
    """Of total, in unit."""
    total: int
    """In unit."""
    unit: str
    """What is counted, such as `images`."""
    rate: float
    """Units a second."""
    left_s: float | None
    """Seconds that the rest takes at this rate; None while the rate is 0."""
    detail: str
    """Anything else worth a glance, such as the loss; may be empty."""

    def __post_init__(self) -> None:
        for name in ("done", "total", "rate", "left_s"):
            check_range(name, getattr(self, name) or 0, 0, _MAX_NUMBER)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a part of a step came to."""

    text: str
    """One line."""
    facts: Mapping[str, Any]
    """JSON values by name; which, each kind of step chooses."""

    @property
    def stage(self) -> int | None:
        """Index of the stage that it is of; None: of no stage."""
        stage = self.facts.get("stage")
        return stage if isinstance(stage, int) else None

    @property
    def reused(self) -> bool:
        """Whether it was there already."""
        return bool(self.facts.get("reused"))


@dataclass(frozen=True, slots=True)
class StepFailure:
    """Why a step failed; as JSON, what one process leaves for another of it."""

    error: str
    """Rule, value, place, next step."""
    exit_code: int
    """Of the step's process; errors.py has what they mean."""

    @classmethod
    def of(cls, error: BaseException) -> "StepFailure":
        """Return what an exception says; one that is not for users keeps its type's name."""
        if isinstance(error, AccreteError):
            return cls(_lines(str(error)), error.exit_code)
        return cls(_lines(f"{type(error).__name__}: {error}"), 1)

    def as_error(self) -> StepFailedError:
        """Return it to be raised."""
        return StepFailedError(self.error, self.exit_code or 1)


def _lines(text: str) -> str:
    """Return a text whose lines a document can hold."""
    return "\n".join(printable(line) for line in text.split("\n"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDocument:
    """How far one attempt at a step is, or what it came to."""

    step: str
    """Its name, from `keys`."""
    attempt: str
    """Which attempt."""
    state: StepState
    """As far as its process could say."""
    started_at: datetime
    """With a time zone."""
    updated_at: datetime
    """When it was last heard of; with a time zone."""
    results: tuple[StepResult, ...] = ()
    """Of its parts that are done, in order."""
    progress: Progress | None = None
    """Of the part that it is at; None between parts."""
    failure: StepFailure | None = None
    """Why it failed; None: it did not."""
    restarts: int = 0
    """How often its training was killed and started again."""

    def as_json(self) -> dict[str, Any]:
        """Return its stored fields."""
        failed = to_json(self.failure) if self.failure else {"error": None, "exit_code": 0}
        return {
            "step": self.step,
            "attempt": self.attempt,
            "state": self.state,
            "started_at": self.started_at.isoformat(timespec="milliseconds"),
            "updated_at": self.updated_at.isoformat(timespec="milliseconds"),
            "results": [{"text": result.text, **result.facts} for result in self.results],
            "progress": to_json(self.progress),
            **({"restarts": self.restarts} if self.restarts else {}),
            **failed,
        }


def parse_document(data: bytes, place: str) -> StepDocument:
    """Return a step's document from its stored bytes; fields of another version are passed over.

    Raises:
        IntegrityError: it is none: names what it lacks, or what is something else.
    """
    decoded = parse_json(data, place)
    if not isinstance(decoded, Mapping):
        raise _no_document(place, "it is no object")
    decoded = {"restarts": 0, **decoded}  # where there were none it is not said
    found = {}
    for name, read in _FIELDS.items():
        try:
            found[name] = read(decoded[name])
        except (KeyError, TypeError, ValueError, InputError):
            raise _no_document(place, f"{name} is missing or wrong") from None
    error, exit_code = found.pop("error"), found.pop("exit_code")
    return StepDocument(**found, failure=None if error is None else StepFailure(error, exit_code))


def step_documents(store: ObjectStore, name: str) -> list[StepDocument]:
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


def _no_document(place: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"{place} is no step's document ({what}): it was changed; delete it and run again"
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _error(value: Any) -> str | None:
    return None if value is None else _text(value)


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _count(value: Any) -> int:
    check_range("count", number := _number(value), 0, _MAX_NUMBER)
    return number


def _state(value: Any) -> StepState:
    return _STATES[value]


def _time(value: Any) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError
    return found


def _results(value: Any) -> tuple[StepResult, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise TypeError
    facts = [dict(each) for each in value]
    return tuple(StepResult(_text(each.pop("text")), each) for each in facts)


def _progress(value: Any) -> Progress | None:
    return None if value is None else from_json(Progress, value, "progress")


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "step": _text,
    "attempt": _text,
    "state": _state,
    "started_at": _time,
    "updated_at": _time,
    "results": _results,
    "error": _error,
    "exit_code": _number,
    "restarts": _count,
    "progress": _progress,
}
