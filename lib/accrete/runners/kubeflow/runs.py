"""Runs as Kubeflow Pipelines' API has them, checked where they are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
"""States of a run that is over. Source: RuntimeState of KFP's run.proto."""

_CANCELED = ("CANCELING", "CANCELED")
_ENDED_OTHERWISE = ("SUCCEEDED", "SKIPPED", "FAILED")

_NEVER = 1970
"""Year of what has not happened, as KFP's database has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KfpRun:
    """A run as the API has it."""

    run_id: str
    """Kubeflow's id."""
    name: str
    """Its display name; empty where the API does not say."""
    description: str
    """What was said of it when it was submitted."""
    state: str
    """In Kubeflow's words, such as `PENDING`."""
    error: str
    """Why it failed; empty where the API does not say."""
    created_at: datetime | None
    """With a time zone; None where the API does not say."""
    finished_at: datetime | None
    """With a time zone; None where it has not ended, or the API does not say."""
    waiting_tasks: tuple[str, ...]
    """Names of its tasks that have not begun."""
    was_canceled: bool = False
    """Whether it was told to end: a run that was terminated may end as `FAILED` all the same."""

    @property
    def age_s(self) -> float | None:
        """Seconds since it was created, by this machine's clock; None: the API does not say."""
        if self.created_at is None:
            return None
        return max(0.0, (datetime.now(UTC) - self.created_at).total_seconds())


def run_of(run: Mapping[str, Any]) -> KfpRun:
    """Return a run from its JSON; what is missing or of another form is left out."""
    error, details = run.get("error"), run.get("run_details")
    tasks = details.get("task_details") if isinstance(details, dict) else None
    waiting = [
        str(task.get("display_name"))
        for task in (tasks if isinstance(tasks, list) else [])
        if isinstance(task, dict) and task.get("state") == "PENDING"
    ]
    finished = _time_of(run.get("finished_at"))
    return KfpRun(
        run_id=str(run.get("run_id") or ""),
        name=str(run.get("display_name") or ""),
        description=str(run.get("description") or ""),
        state=_state_of(run.get("state")),
        error=str(error.get("message") or "") if isinstance(error, dict) else "",
        created_at=_time_of(run.get("created_at")),
        finished_at=finished if finished and finished.year > _NEVER else None,
        waiting_tasks=tuple(waiting),
        was_canceled=_was_canceled(_states_of(run)),
    )


def _was_canceled(states: list[str]) -> bool:
    """Return whether a run was told to end, and not begun anew since (a retry in the UI)."""
    last = next((state for state in reversed(states) if state not in _ENDED_OTHERWISE), "")
    return last in _CANCELED


def _states_of(run: Mapping[str, Any]) -> list[str]:
    """Return the states that a run had, and has."""
    history = run.get("state_history")
    before = history if isinstance(history, list) else []
    return [_state_of(each.get("state")) for each in (*before, run) if isinstance(each, Mapping)]


def _state_of(state: Any) -> str:
    known = isinstance(state, str) and state and state != "RUNTIME_STATE_UNSPECIFIED"
    return str(state) if known else "PENDING"


def _time_of(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
