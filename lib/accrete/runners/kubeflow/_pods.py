"""Why a pod does not work, from its status and its events.

Reasons are those of Kubernetes' kubelet, scheduler and node controllers.
"""

from datetime import datetime, timedelta
from typing import Any

from accrete.errors import one_line
from accrete.runners.kubeflow._advice import (
    CONFIG_REASONS,
    IMAGE,
    IMAGE_REASONS,
    config_words,
    missing_hint,
    no_node,
)
from accrete.runners.kubeflow._losses import (
    GOOD_REASONS_TO_REJECT,
    loss_of,
    loss_of_container,
)
from accrete.runners.kubeflow._objects import Object, at, every, newest_first, said

_LOST_BY_EVENT = {"NodeNotReady", "TaintManagerEviction", "Preempted", "Evicted", "NodeLost"}
_OF_CONTAINERS = {
    *("FailedScheduling", "FailedToRetrieveImagePullSecret", "BackOff", "Failed", "Unhealthy"),
}
"""Events of what the pod's own status says, or will."""
_SLOW = timedelta(minutes=1)
_STEP = "main"
"""Argo's name of the container that is the step."""


def why_pod_waits(
    pod: Object, events: list[Object], now: datetime | None
) -> tuple[str, str] | None:
    """Return kind and words of why a pod does not work, None where it does.

    Args:
        pod: as the Kubernetes API has it.
        events: of it.
        now: to tell what takes long; None: that is not told.
    """
    status = at(pod, "status")
    phase, statuses = status.get("phase"), _container_statuses(status)
    if phase == "Succeeded":
        return None
    memory = _out_of_memory(pod, statuses)
    if phase == "Failed":
        return memory or _disrupted(pod) or _failed(status, statuses)
    found = _disrupted(pod) or _lost(pod, events) or memory
    if found is not None or phase == "Running":
        return found
    return _unscheduled(status, events) or _unstarted(statuses, events) or _slow(pod, now)


def _on_node(pod: Object) -> str:
    node = at(pod, "spec").get("nodeName")
    return f" (node {node})" if node else ""


def _disrupted(pod: Object) -> tuple[str, str] | None:
    for condition in every(at(pod, "status"), "conditions"):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            words = said(condition.get("reason"), condition.get("message"))
            return "lost", f"loses its pod{_on_node(pod)}: {words}"
    return None


def _lost(pod: Object, events: list[Object]) -> tuple[str, str] | None:
    metadata, status, on = at(pod, "metadata"), at(pod, "status"), _on_node(pod)
    if status.get("reason") == "NodeLost" or status.get("phase") == "Unknown":
        return "lost", f"has a pod on a node that is lost{on}: {said(*_reason_of(status))}"
    is_ready = any(
        each.get("type") == "Ready" and each.get("status") == "True"
        for each in every(status, "conditions")
    )
    for event in [] if is_ready else newest_first(events):
        if event.get("reason") in _LOST_BY_EVENT:
            words = said(event.get("reason"), event.get("message"))
            return "lost", f"has a pod whose node is lost, or takes it away{on}: {words}"
        if event.get("reason") in ("Started", "Scheduled"):
            break  # what was before it is over
    if metadata.get("deletionTimestamp") and status.get("phase") in ("Pending", "Running"):
        since = metadata["deletionTimestamp"]
        return "lost", f"has a pod that is being deleted{on} since {since}"
    return None


def _slow(pod: Object, now: datetime | None) -> tuple[str, str] | None:
    """Return what is said of a pod that nobody says anything about."""
    created = str(at(pod, "metadata").get("creationTimestamp"))
    try:
        age = now - datetime.fromisoformat(created) if now else timedelta()
    except (ValueError, TypeError):
        return None
    if age < _SLOW:
        return None
    return "start", f"has a pod that does not start since {created}{_on_node(pod)}"


def _out_of_memory(pod: Object, statuses: list[Object]) -> tuple[str, str] | None:
    for each in statuses:
        for state in ("state", "lastState"):
            ended = at(at(each, state), "terminated")
            if ended.get("reason") == "OOMKilled":
                limit = _limit(pod, str(each.get("name")))
                of = f" of {limit}" if limit else ""
                return "memory", (
                    f"was killed for its memory (OOMKilled, container {each.get('name')}): it took "
                    f"all{of}; give more with --memory"
                )
    return None


def _limit(pod: Object, container: str) -> str | None:
    for each in every(at(pod, "spec"), "containers"):
        if each.get("name") == container:
            value = at(at(each, "resources"), "limits").get("memory")
            return str(value) if value else None
    return None


def _failed(status: Object, statuses: list[Object]) -> tuple[str, str] | None:
    reason, message = _reason_of(status)
    if reason or message:
        words, loss = said(reason, message), loss_of(str(message or ""))
        if reason == "DeadlineExceeded" or loss == "late":
            return "late", f"was stopped: {words}"
        if reason in GOOD_REASONS_TO_REJECT or loss == "refused":
            return "refused", f"is kept out by its node: {words}"
        return "lost", f"lost its pod: {words}"
    for each in sorted(statuses, key=lambda each: each.get("name") != _STEP):
        ended, name = at(at(each, "state"), "terminated"), str(each.get("name"))
        code = ended.get("exitCode")
        if code:
            why, told = str(ended.get("reason") or ""), ended.get("message")
            of = "" if name == _STEP else f"container {one_line(name)[:60]}, "
            loss = loss_of_container(name, why, int(code), str(told or ""))
            kind = loss or ("error" if told else "failed")
            words = said(why, told)
            return kind, f"has a pod that failed ({of}exit code {code}: {words})"
    return None


def _unscheduled(status: Object, events: list[Object]) -> tuple[str, str] | None:
    for condition in every(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = condition.get("message") or next(
                (e.get("message") for e in newest_first(events)
                 if e.get("reason") == "FailedScheduling"), None
            )  # fmt: skip
            return no_node(said(condition.get("reason"), message))
    for event in newest_first(events):
        if event.get("reason") == "FailedScheduling":
            return no_node(said(event.get("reason"), event.get("message")))
        if event.get("reason") == "Scheduled":
            break
    return None


def _unstarted(statuses: list[Object], events: list[Object]) -> tuple[str, str] | None:
    for each in statuses:
        waits = at(at(each, "state"), "waiting")
        reason, words = waits.get("reason"), said(waits.get("reason"), waits.get("message"))
        if reason in IMAGE_REASONS:
            return "image", _image_words(each, words, str(reason), events)
        if reason in CONFIG_REASONS:
            return "config", config_words(words)
        if reason == "CrashLoopBackOff":
            return "start", f"cannot start: {words}"
    return _unstarted_by_events(events)


def _unstarted_by_events(events: list[Object]) -> tuple[str, str] | None:
    for event in newest_first(events):
        reason, words = event.get("reason"), said(event.get("reason"), event.get("message"))
        if reason in _OF_CONTAINERS:
            continue
        if event.get("type") == "Warning":
            is_volume = "Mount" in str(reason) or "Volume" in str(reason)
            words += missing_hint(words)
            return ("volume", f"waits for a volume: {words}") if is_volume else (
                "start", f"cannot start: {words}"
            )  # fmt: skip
        if reason == "Pulling":
            return "start", f"fetches its image: {words}"
        if reason in ("Pulled", "Started"):
            break
    return None


def _image_words(container: Object, words: str, reason: str, events: list[Object]) -> str:
    for event in newest_first(events):
        if event.get("reason") == "Failed" and "pull image" in str(event.get("message")):
            words = said(reason, event.get("message"))
            break
    without = [e for e in events if e.get("reason") == "FailedToRetrieveImagePullSecret"]
    if without:
        words += f"; {said(None, without[-1].get('message'))}"
    return f"waits for its image {container.get('image')}, which cannot be pulled: {words}; {IMAGE}"


def _container_statuses(status: Object) -> list[Object]:
    return [
        each
        for name in ("initContainerStatuses", "containerStatuses")
        for each in every(status, name)
    ]


def _reason_of(status: Object) -> tuple[Any, Any]:
    return status.get("reason"), status.get("message")
