"""How a TrainJob stands, from the object that the Kubernetes API has of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from accrete.train_job import NODE

Phase = Literal["waiting", "running", "complete", "failed", "going"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJobState:
    """Where a job is on its way."""

    phase: Phase
    """`waiting` for room or to be let on, `running` on all nodes, done either way, or `going`: told
    to end, but not gone yet."""
    text: str
    """The same for people, with the reason that Kubernetes gives."""


def state_of(job: Mapping[str, Any]) -> TrainJobState:
    """Return how a job stands.

    Args:
        job: as the API has it; a job that nobody has taken up yet has no status.
    """
    if job["metadata"].get("deletionTimestamp"):
        return TrainJobState(phase="going", text="is told to end")
    status = job.get("status") or {}
    conditions = {
        condition["type"]: condition
        for condition in status.get("conditions") or []
        if condition["status"] == "True"
    }
    if "Failed" in conditions:
        return TrainJobState(phase="failed", text=f"failed: {_reason(conditions['Failed'])}")
    if "Complete" in conditions:
        return TrainJobState(phase="complete", text="is complete")
    if "Suspended" in conditions:
        reason = _reason(conditions["Suspended"])
        return TrainJobState(phase="waiting", text=f"is suspended: {reason}")
    return _state_of_nodes(status.get("jobsStatus"), job["spec"]["trainer"]["numNodes"])


def _state_of_nodes(jobs: list[dict[str, Any]] | None, num_nodes: int) -> TrainJobState:
    """Return how a job stands whose conditions say nothing. One child job has all nodes."""
    if not jobs:
        text = "was not taken up: is the controller of Kubeflow Trainer running?"
        return TrainJobState(phase="waiting", text=text)
    nodes = [job for job in jobs if job["name"] == NODE]
    if nodes and all(job["ready"] or job["succeeded"] for job in nodes):
        return TrainJobState(phase="running", text=f"runs on {num_nodes} nodes")
    return TrainJobState(
        phase="waiting",
        text=f"waits for {num_nodes} nodes: there is no room, or an image or a Secret is missing",
    )


def _reason(condition: Mapping[str, Any]) -> str:
    message = " ".join(str(condition.get("message") or "").split())
    return ": ".join(part for part in (str(condition.get("reason") or ""), message) if part)
