"""How a run stands on Kubeflow, asked once and quickly, beside what the object store says of it."""

import time
from dataclasses import dataclass
from typing import Any

from accrete.errors import PipelineError
from accrete.monitoring.status import RunState
from accrete.runners.kubeflow._address import parse_endpoint
from accrete.runners.kubeflow._background import Background
from accrete.runners.kubeflow._hearing import CLOCKS_DIFFER, is_at_work_now, is_of_run
from accrete.runners.kubeflow._lookout import SAID_AFTER_S, Look, Looker, unknown_wait
from accrete.runners.kubeflow.access import Access
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.runs import ENDED, KfpRun

_QUICKLY_S = 8.0
_WORDS = {"SUCCEEDED": "done", "SKIPPED": "done", "CANCELING": "canceled", "CANCELED": "canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the newest run of a name stands on Kubeflow."""

    run: KfpRun
    """As the API has it."""
    address: str
    """Its page."""
    waiting: tuple[str, ...]
    """Why its steps wait, a line each."""
    remark: str = ""
    """Why the cluster was not asked, where its user would want to know."""
    is_canceled: bool = False
    """Whether it was told to end: Kubeflow may say `FAILED` of it all the same."""
    is_gone: bool = False
    """Whether the cluster has nothing of it any more, though Kubeflow says that it goes on."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "run_id": self.run.run_id,
            "state": self.run.state,
            "address": self.address,
            "waiting": list(self.waiting),
        }


def standing_of(endpoint: str, access: Access, name: str) -> Standing | None:
    """Return how the newest run of a name stands, None where Kubeflow knows none.

    Raises:
        ConfigError: the endpoint or a credential cannot be used.
        PipelineError: it does not say, or not within seconds.
    """
    end = time.monotonic() + _QUICKLY_S
    try:
        kubeflow, run = Background(lambda: _newest(endpoint, access, name)).result(_QUICKLY_S)
    except TimeoutError:
        raise PipelineError(
            f"Kubeflow Pipelines at {parse_endpoint(endpoint).base} does not answer within "
            f"{_QUICKLY_S:.0f} s"
        ) from None
    if run is None:
        return None
    waiting, look = [], Look()
    if run.state not in ENDED or run.state == "FAILED":
        look = Looker(kubeflow, run.run_id).look(end - time.monotonic())
        waiting = [each.line for each in look.waiting]
        age_s = run.age_s
        if not look.is_told and run.state == "PENDING" and (age_s or 0.0) > SAID_AFTER_S:
            waiting = [unknown_wait(run, age_s or 0.0, kubeflow.namespace)]
    is_canceled = run.state != "SUCCEEDED" and (run.was_canceled or look.is_terminated)
    return Standing(
        run=run,
        address=kubeflow.page_of(run.run_id),
        waiting=() if is_canceled else tuple(waiting),
        remark=look.remark,
        is_canceled=is_canceled,
        is_gone=run.state not in ENDED and look.is_gone,
    )


def _newest(endpoint: str, access: Access, name: str) -> tuple[Kubeflow, KfpRun | None]:
    kubeflow = Kubeflow(endpoint, access, patience_s=0)
    return kubeflow, next(iter(kubeflow.runs_named(name)), None)


def merged_state(state: RunState | None, standing: Standing) -> str:
    """Return how a run stands in one word: of what the store and Kubeflow say, the newer.

    Args:
        state: by the store; None: it knows no such run.
        standing: of its newest run on Kubeflow.
    """
    run = standing.run
    documents = [each for each in state.documents if is_of_run(each, run)] if state else []
    if state and is_outlived(state, run):
        return state.state
    if run.state in _WORDS:
        word = _WORDS[run.state]
        return state.state if word == "done" and state and documents else word
    if standing.is_canceled or run.state == "FAILED":
        return "canceled" if standing.is_canceled else "failed"
    if any(is_at_work_now(each) for each in documents):
        return "running"
    return _of_one_at_rest(standing, bool(documents))


def _of_one_at_rest(standing: Standing, has_begun: bool) -> str:
    """Return how a run stands that has not ended, and of which no step is heard of."""
    if standing.is_gone:
        return "deleted"
    if standing.waiting:
        return "waiting"
    return "pending" if standing.run.state == "PENDING" or not has_begun else "running"


def is_outlived(state: RunState, run: KfpRun) -> bool:
    """Return whether steps were heard of after a run ended: they are of a later one, elsewhere."""
    ended = run.finished_at
    return (
        run.state in ENDED
        and ended is not None
        and any(each.updated_at > ended + CLOCKS_DIFFER for each in state.documents)
    )
