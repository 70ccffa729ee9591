"""How runs and their stages stand, in words and as JSON, from the steps' journals in the store."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from accrete.catalog.manifests import StageManifest
from accrete.catalog.records import find_record, run_names
from accrete.catalog.step_documents import SILENT_AFTER_S, StepDocument, step_documents
from accrete.config.run import check_run_name
from accrete.core.units import format_clock, format_percent
from accrete.errors import RunNotFoundError
from accrete.monitoring.journal import progress_line
from accrete.store import keys
from accrete.store.object_store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """How one run stands."""

    name: str
    """The run."""
    state: str
    """`done`, `failed`, `running` or `stopped`; of one that Kubeflow knows of also `pending`,
    `waiting`, `canceled` or `deleted`."""
    num_stages: int | None
    """Stages of its plan; None before its data set is prepared."""
    documents: list[StepDocument]
    """Journal of each step that has begun."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "name": self.name,
            "state": self.state,
            "num_stages": self.num_stages,
            "steps": [document.as_json() for document in self.documents],
        }


def run_states(store: ObjectStore, name: str | None) -> list[RunState]:
    """Return the state of one run, or of all.

    Raises:
        RunNotFoundError: no run has this name.
    """
    names = run_names(store) if name is None else [check_run_name(name)]
    return [_run_state(store, each) for each in names]


def _run_state(store: ObjectStore, name: str) -> RunState:
    documents = step_documents(store, name)
    record = find_record(store, name)
    return RunState(
        name=name,
        state=_state(documents),
        num_stages=len(record.stages) if record else None,
        documents=documents,
    )


def _state(documents: list[StepDocument]) -> str:
    """Return the run's state; the step that was heard of last decides."""
    last = _heard_of_last(documents)
    if last.state == "failed":
        return "failed"
    if last.state == "done" and last.step == keys.report_step_name():
        return "done"
    return "running" if _silence_s(last) < SILENT_AFTER_S else "stopped"


def _heard_of_last(documents: list[StepDocument]) -> StepDocument:
    return max(documents, key=lambda document: document.updated_at)


def _silence_s(document: StepDocument) -> float:
    return (datetime.now(UTC) - document.updated_at).total_seconds()


def list_text(states: list[RunState]) -> str:
    """Return a line a run."""
    if not states:
        return "no runs yet: `accrete run` starts one"
    width = max(len(state.name) for state in states)
    return "\n".join(
        f"{state.name:<{width}}  {state.state:<8} {_last_words(state)}" for state in states
    )


def status_text(state: RunState) -> str:
    """Return what each step of a run came to, or how far it is."""
    lines = [f"{state.name}: {state.state}"]
    for document in state.documents:
        lines += [f"  {result.text}" for result in document.results]
        if document.failure:
            lines.append(f"  {document.step} failed: {document.failure.error}")
        elif document.state == "running":
            lines.append(f"  {_running_text(document)}")
    return "\n".join(lines)


def _running_text(document: StepDocument) -> str:
    progress = document.progress
    text = progress_line(progress) if progress else f"{document.step} has begun"
    if document.restarts:
        times = "once" if document.restarts == 1 else f"{document.restarts} times"
        text += f"  (its training was killed and started again {times})"
    silence = _silence_s(document)
    return text if silence < SILENT_AFTER_S else f"{text}  (silent for {format_clock(silence)})"


def _last_words(state: RunState) -> str:
    last = _heard_of_last(state.documents)
    if last.failure:
        return last.failure.error
    texts = [r.text for d in state.documents for r in d.results if r.stage is not None]
    return texts[-1] if texts else ""


def log_texts(store: ObjectStore, name: str, step: str | None) -> list[tuple[str, str]]:
    """Return key and text of each attempt's log, in order.

    Raises:
        RunNotFoundError: no such run, or no such step of it.
    """
    prefix = keys.log_prefix(check_run_name(name)) + (f"{step}/" if step else "")
    found = store.list_keys(prefix)
    if not found:
        what = f"step {step!r} of run {name!r}" if step else f"run {name!r}"
        raise RunNotFoundError(f"no log of {what} in {store.address}: see `accrete status`")
    texts = [(key, store.read_note(key)) for key in sorted(found)]
    return [(key, _printable(data)) for key, data in texts if data is not None]


def _printable(log: bytes) -> str:
    """Return a log as a terminal may have it: without what would move its cursor."""
    text = log.decode(errors="replace")
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def stage_text(title: str, manifest: StageManifest, *, reused: bool) -> str:
    """Return what a stage came to as one line."""
    result, times = manifest.result, manifest.times
    parts = [
        f"{title}: {len(manifest.class_names)} classes",
        f"top-1 {format_percent(result.top1)}",
        f"(old {format_percent(result.top1_old)}, new {format_percent(result.top1_new)})",
    ]
    if reused:
        return "  ".join([*parts, "reused"])
    speed = f"{result.images_per_s:,.0f}/s, {manifest.precision or manifest.schedule.precision}"
    work = f"{result.images_seen:,} images in {times.train_s:.1f} s ({speed})"
    return "  ".join([*parts, work])
