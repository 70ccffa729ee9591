"""What a message means that Kubernetes or Argo has of a pod that failed, or was never made.

Pure. Argo (4.0.5, inferFailedReason) hands on the kubelet's message without its reason, or writes
`CONTAINER: REASON (exit code N): WORDS` itself; what a container says there may be anything, and so
may what a policy says: such words decide nothing. The kubelet's and the controllers' messages are
known by how they begin.
"""

import re
from typing import Literal

Loss = Literal["lost", "away", "late", "refused"]
"""`lost`: its node, its kubelet or Kubernetes took the pod. `away`: Kubernetes' API, or what it
asks, did not answer. `late`: it took too long. `refused`: it would be again."""

_ENDED = re.compile(r"(?:([\w.-]+): )?(\w*) ?\(exit code (-?\d+)\)(.*)", re.DOTALL)
_UNKNOWN = ("Unknown", "ContainerStatusUnknown")
"""Reasons of a container whose node restarted, or was lost."""
_LOST_CODES = (137, 143, 255)
"""Killed, told to end, and what a restarted node says of what it ran."""
_OF_ARGO = ("init", "wait")
"""Containers that Argo has beside a step."""
_EXECUTOR_CODE = 64

_BEFORE = r"^(?:[A-Z][\w./-]*: )?(?:pod was rejected: |pod (?=pod |node |the node |predicate ))?"
"""A reason, and what the kubelet puts before its own words: it differs by version."""
GOOD_REASONS_TO_REJECT = ("AppArmor", "SysctlForbidden", "PodOSNotSupported")
"""Of a pod that no node of this kind will take."""
_AWAY = re.compile(
    r"failed calling webhook|etcdserver|too many requests|connection (refused|reset|lost)"
    r"|i/o timeout|tls handshake|unable to handle|deadline ?exceeded|client rate limiter"
    r"|requested timeout|timed out|unexpected eof|no route to host|network is unreachable"
    r"|object has been modified|no such host",
    re.IGNORECASE,
)
_PATTERNS: tuple[tuple[Loss, str], ...] = (
    (
        "late",
        r"^(deadlineexceeded: )?(step exceeded its deadline"
        r"|pod was active on the node longer than the specified deadline)",
    ),
    (
        "refused",
        r"^pod was rejected: .*(apparmor|sysctl|seccomp|operating system|label doesn't match)",
    ),
    (
        "lost",
        rf"{_BEFORE}("
        r"the node (was low on resource|had condition)"
        r"|node \S+ which was running pod \S+ is unresponsive"
        r"|pod was (rejected|evicted|terminated in response to)"
        r"|pod ephemeral local storage usage exceeds|container \S+ exceeded its local ephemeral"
        r"|usage of emptydir volume|preempted (in order|by)|node didn't have enough resource"
        r"|predicate \w+ failed|allocate failed|resources cannot be allocated"
        r"|pod failed: |pod failed before |can't find failed message for pod"
        r"|taint manager|eviction api|[\w-]+: preempting|podgc: |pod deleted"
        r"|(backoff would exceed )?max duration limit)",
    ),
    # A policy's own words may be any: they come before what follows.
    ("refused", r"denied (the )?request\b|violates podsecurity"),
    ("away", _AWAY.pattern),
    ("refused", r"is forbidden|serviceaccount|^pod \"[^\"]*\" is invalid|^admission webhook"),
)
_LOSSES = [(loss, re.compile(pattern, re.IGNORECASE)) for loss, pattern in _PATTERNS]
_BEFORE_START = re.compile(r"pod failed before \S+ container starts due to (\w+)", re.IGNORECASE)


def loss_of(message: str) -> Loss | None:
    """Return what a message of a pod that failed, or was never made, tells; None: nothing.

    Args:
        message: the kubelet's, a controller's, Argo's or the API's, whole.
    """
    if ended_of(message) is not None:
        return None
    return next((loss for loss, pattern in _LOSSES if pattern.search(message)), None)


def ended_of(message: str) -> tuple[str, Loss | None] | None:
    """Return reason and loss of a container that ended, as Argo has it; None: of something else."""
    found = _ENDED.match(message)
    if found is None:
        return None
    container, reason, code, words = found.groups()
    return reason, loss_of_container(container or "", reason, int(code), words)


def loss_of_container(container: str, reason: str, code: int, words: str) -> Loss | None:
    """Return what a container tells that ended: by its code, and by its words if it is Argo's.

    Args:
        container: its name; empty: not known.
        reason: the kubelet's.
        code: it ended with.
        words: its own.
    """
    if reason in _UNKNOWN or code in _LOST_CODES:
        return "lost"
    is_of_argo = container in _OF_ARGO or (code == _EXECUTOR_CODE and not container)
    return "away" if is_of_argo and _AWAY.search(words) else None


def before_start(message: str) -> str:
    """Return the reason that a container waited for when its pod failed; empty: another message."""
    found = _BEFORE_START.match(message)
    return found[1] if found else ""
