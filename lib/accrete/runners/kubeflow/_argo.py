"""What Argo says of a workflow's nodes that are pods, or could not become one, and of the whole.

Messages are those of Argo's controller and, where no pod could be made, the Kubernetes API's own.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping

from accrete.runners.kubeflow._advice import (
    CONFIG_REASONS,
    IMAGE,
    IMAGE_REASONS,
    config_words,
    no_node,
    quota_words,
)
from accrete.runners.kubeflow._losses import before_start, ended_of, loss_of
from accrete.runners.kubeflow._objects import Object, at, said

HAS_NO_POD = ("quota", "refused", "away")
"""Kinds of what a pod was refused for: none of this attempt is there."""
_ATTEMPT = re.compile(r"\(\d+\)$")
_BEGINNING = {"ContainerCreating", "PodInitializing"}
_OF_CHILDREN = ("child ", "no more retries", "omitted")
"""How messages begin that only say that another node has one."""
_THE_RUN = "the run"
_MAX_NODES_BYTES = 64 * 1024 * 1024

Words = tuple[str, str, str]
"""Step, kind and words."""


def step_of(node_name: str) -> str:
    """Return which step an Argo node is of, from its full name.

    Args:
        node_name: such as `run-x7(0).root(0).train-stage-2(0).executor(0)`.
    """
    parts = [_ATTEMPT.sub("", part) for part in node_name.split(".")]
    if len(parts) > 1 and parts[-1] == "executor":
        parts.pop()
    name = parts[-1]
    if name.endswith("-driver"):
        of = name.removesuffix("-driver")
        return "the driver of the run" if of == "root" else f"the driver of {of}"
    return name


def argo_words(workflow: Object) -> Iterator[Words]:
    """Yield what Argo says of the nodes that are pods, or could not become one."""
    newest: dict[str, Object] = {}
    for node in sorted(_nodes(workflow, "Pod"), key=lambda node: str(node.get("startedAt"))):
        newest[step_of(str(node.get("name")))] = node
    for step, node in newest.items():
        words, phase = said(None, node.get("message")), node.get("phase")
        if not node.get("message") or phase not in ("Pending", "Running", "Failed", "Error"):
            continue
        begins = words.partition(":")[0]
        if begins in _BEGINNING:
            continue
        yield step, *_node_words(words, begins, phase in ("Failed", "Error"))


def argo_words_of_all(workflow: Object) -> list[Words]:
    """Return what Argo says of what is more than one pod: a part of the run, or the whole."""
    by_message: dict[str, str] = {}
    for node in _nodes(workflow, ""):
        words, name = said(None, node.get("message")), str(node.get("name"))
        is_own = words and not words.lower().startswith(_OF_CHILDREN)
        if node.get("phase") in ("Failed", "Error") and is_own:
            # What is around a part that failed says the same.
            by_message[words] = max(by_message.get(words, ""), name, key=len)
    if by_message:
        found = {}
        for words, name in by_message.items():
            step = step_of(name)
            is_whole = "." not in name or step == "root"
            found[_THE_RUN if is_whole else step] = words
        return [
            (step, loss_of(words) or "argo", f"failed: {words}") for step, words in found.items()
        ]
    status = at(workflow, "status")
    words, phase = said(None, status.get("message")), status.get("phase")
    if not words or phase in ("Running", "Succeeded") or words.lower().startswith(_OF_CHILDREN):
        return []
    if phase in ("Failed", "Error"):
        return [(_THE_RUN, loss_of(words) or "argo", f"failed: {words}")]
    return [(_THE_RUN, "argo", f"waits: {words}")]


def _nodes(workflow: Object, kind: str) -> list[Object]:
    """Return a workflow's nodes that are pods, or all that are not."""
    nodes = [n for n in _nodes_of(at(workflow, "status")).values() if isinstance(n, Mapping)]
    return [node for node in nodes if (node.get("type") == "Pod") == (kind == "Pod")]


def _node_words(words: str, begins: str, has_failed: bool) -> tuple[str, str]:
    """Return kind and words of an Argo node's message."""
    ended = ended_of(words)
    if ended is not None:
        reason, loss = ended
        if reason == "OOMKilled":
            return "memory", f"was killed for its memory: {words}; give more with --memory"
        return loss or "failed", f"has a pod that failed: {words}"
    if begins in ("Unschedulable", "SchedulingGated") or "nodes are available" in words.lower():
        return no_node(words)
    reason = before_start(words) or begins
    if reason in CONFIG_REASONS:
        return "config", config_words(words)
    if reason in IMAGE_REASONS:
        return "image", f"waits for its image, which cannot be pulled: {words}; {IMAGE}"
    return quota_words(words) or _judged(words, has_failed)


def _judged(words: str, has_failed: bool) -> tuple[str, str]:
    low, loss = words.lower(), loss_of(words)
    if "operation cannot be fulfilled on" in low and not has_failed:
        return "start", f"has no pod yet: {words}; that passes by itself"
    if loss in HAS_NO_POD:
        return loss, f"gets no pod: {words}"
    if has_failed:
        begin = {"lost": "lost its pod", "late": "was stopped"}.get(loss or "")
        return loss or "failed", f"{begin or 'has a pod that failed'}: {words}"
    return "start", f"{'waits' if low.startswith('waiting') else 'cannot start'}: {words}"


def has_nodes(workflow: Object | None) -> bool:
    """Return whether Argo has begun with a workflow, or says why not: it can say why steps wait."""
    status = at(workflow, "status")
    return bool(_nodes_of(status)) or bool(status.get("message"))


def is_terminated(workflow: Object | None) -> bool:
    """Return whether Kubeflow was told to end a run: it gives its workflow no time at all.

    The run itself ends as `FAILED` then (2.17.0: TerminateWorkflow, ReportWorkflowResource).
    """
    spec = at(workflow, "spec")
    return spec.get("activeDeadlineSeconds") == 0 or spec.get("shutdown") in ("Terminate", "Stop")


def _nodes_of(status: Object) -> Object:
    """Return the nodes of a workflow; Argo compresses them where they are large."""
    packed = status.get("compressedNodes")
    if not isinstance(packed, str) or not packed:
        return at(status, "nodes")
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        nodes = json.loads(unpacker.decompress(base64.b64decode(packed), _MAX_NODES_BYTES))
    except (ValueError, zlib.error, RecursionError):
        return {}
    return nodes if isinstance(nodes, Mapping) else {}
