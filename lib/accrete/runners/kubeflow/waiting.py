"""Why a run's steps wait, or were lost, in words: from pods, their events and Argo's workflow.

Pure: the objects as JSON in, lines out. The words of each line are the object's own. Reasons are
those of Kubernetes' kubelet, scheduler and controllers; the messages of Argo's nodes those that it
makes of them (4.0.5: recorded workflows have them).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from accrete.runners.kubeflow._argo import HAS_NO_POD, argo_words, argo_words_of_all, step_of
from accrete.runners.kubeflow._objects import Object, at
from accrete.runners.kubeflow._pods import why_pod_waits

_NODE_NAME = "workflows.argoproj.io/node-name"
_JOB_NAME = "jobset.sigs.k8s.io/jobset-name"
_JOB_INDEX = "batch.kubernetes.io/job-completion-index"
"""Labels that JobSet and Kubernetes give a TrainJob's pods."""
_VOLATILE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[hms]))+\b|x\d+|\b[0-9a-f]{12,}\b")
"""How long something takes, how often it was tried, and ids that are new each time."""
_COUNTS = re.compile(r"\.? preemption:[^;]*|\d+")
"""Of nodes and what is used: they change as the rest of the cluster works."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why one step waits, or what was lost of it."""

    step: str
    """In words, such as `train-stage-2` or `the driver of prepare`."""
    kind: str
    """`image`, `config`, `node`, `volume`, `quota`, `refused`, `lost`, `away` (the API of the
    cluster was), `late` (it took too long), `error` (of its own), `failed` (of which no more is
    said), `memory`, `start`, `argo`."""
    words: str
    """What it waits for or lost, with the object's own message, and what to do."""

    @property
    def line(self) -> str:
        """The whole, for a terminal."""
        return f"{self.step} {self.words}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same while nothing changes: times and counts in the words do not count."""
        words = "" if self.kind == "image" else _VOLATILE.sub("", self.words)
        if self.kind in ("node", "quota"):
            words = _COUNTS.sub("", words)
        return self.step, self.kind, words


def waiting_of(
    pods: Iterable[Object],
    events: Iterable[Object],
    workflow: Object | None,
    now: datetime | None = None,
) -> list[Waiting]:
    """Return why the steps of a run wait; each step once, by its newest pod where it has one.

    Args:
        pods: of the run, as the Kubernetes API has them.
        events: of these pods.
        workflow: Argo's; None: it cannot be read.
        now: to tell what takes long, with a time zone; None: that is not told.
    """
    of_pod: dict[str, list[Object]] = {}
    for event in events:
        name = at(event, "involvedObject").get("name") or at(event, "regarding").get("name")
        of_pod.setdefault(str(name), []).append(event)
    newest, found = newest_of_steps(pods), {}
    for step, pod in newest.items():
        metadata = at(pod, "metadata")
        own = [
            each
            for each in of_pod.get(str(metadata.get("name")), [])
            if _is_of(each, metadata.get("uid"))
        ]
        why = why_pod_waits(pod, own, now)
        if why is not None:
            found[step] = Waiting(step, *why)
    for step, kind, words in argo_words(workflow or {}):
        # A pod knows better, and one that runs has nothing to wait for; but it may be an older one,
        # or have failed without a word.
        pod_of_step = newest.get(step)
        is_mute = (
            pod_of_step is not None
            and at(pod_of_step, "status").get("phase") == "Failed"
            and (step not in found or found[step].kind == "failed")
        )
        if pod_of_step is None or is_mute or kind in HAS_NO_POD:
            found[step] = Waiting(step, kind, words)
    if not found:
        found = {each[0]: Waiting(*each) for each in argo_words_of_all(workflow or {})}
    return list(found.values())


def newest_of_steps(pods: Iterable[Object]) -> dict[str, Object]:
    """Return the newest pod of each step, the oldest of them first."""
    newest: dict[str, Object] = {}
    for pod in sorted(pods, key=_created):
        newest.pop(_step_of_pod(pod), None)
        newest[_step_of_pod(pod)] = pod
    return newest


def _is_of(event: Object, uid: object) -> bool:
    """Return whether an event is of a pod, not of one of its name before it."""
    of = at(event, "involvedObject").get("uid") or at(event, "regarding").get("uid")
    return not of or not uid or of == uid


class Sayings:
    """Says what is new, once, and again when it changes."""

    def __init__(self) -> None:
        """Nothing was said."""
        self._said: set[tuple[str, str, str]] = set()

    def fresh(self, waiting: list[Waiting]) -> list[str]:
        """Return the lines that were not said yet."""
        lines = [each.line for each in waiting if each.key not in self._said]
        self._said = {each.key for each in waiting}
        return lines


def _step_of_pod(pod: Object) -> str:
    metadata = at(pod, "metadata")
    node_name = at(metadata, "annotations").get(_NODE_NAME)
    if node_name:
        return step_of(str(node_name))
    job, index = (at(metadata, "labels").get(name) for name in (_JOB_NAME, _JOB_INDEX))
    return f"node {index} of TrainJob {job}" if job and index else f"pod {metadata.get('name')}"


def _created(pod: Object) -> str:
    return str(at(pod, "metadata").get("creationTimestamp") or "")
