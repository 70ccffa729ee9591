"""What a run ended for: its own fault, somebody's wish, or what the cluster did to it.

Pure. A step that could say why it failed is believed; of one that could not, pods and Argo's
workflow say what became of it. The words are those of Kubernetes' kubelet and controllers, and of
Argo.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from accrete.catalog.step_documents import StepDocument, StepFailure
from accrete.errors import StoreError
from accrete.runners.kubeflow.runs import KfpRun
from accrete.runners.kubeflow.waiting import Waiting

_PASSING_CODES = (os.EX_TEMPFAIL, StoreError.exit_code)
"""Of a step that was told to end, or whose store was away: nothing is wrong with the run."""
_LEAST_SIGNAL = 128
"""Codes over it are a signal's (128 + 9: SIGKILL); also of a step whose training was killed."""
_STORE_SAYS_NO = re.compile(r"refuses access to|\bdoes not exist at\b")
"""How a step tells of a store that was there, and will say the same again (store/_errors.py)."""

_LASTING_KINDS = ("image", "config", "node", "volume", "late")
"""Kinds of what another try would meet again."""
_PASSING = re.compile(
    r"evict|preempt|node ?lost|node\b.{0,60}(not ready|unreachable|is lost|takes it away)"
    r"|\bshutdown\b|unknown \(exit code|exit code (137|143|255)\b|pod deleted|being deleted"
    r"|loses its pod|max duration limit|exceeded quota|insufficient quota|unexpectedadmissionerror"
    r"|outof(cpu|memory|pods)|containerstatusunknown|failed calling webhook|etcdserver"
    r"|too many requests|connection (refused|reset)|i/o timeout|tls handshake|unable to handle",
    re.IGNORECASE,
)
"""Of pods and workflows that were lost: by their node, its kubelet, Kubernetes' API or Argo."""
_LATE = re.compile(r"deadlineexceeded|exceeded its deadline|specified deadline", re.IGNORECASE)
_DRIVER = "the driver of "
"""How the name of a step begins that is Kubeflow's own: none of ours is in it."""

Cause = Literal["none", "canceled", "own", "infrastructure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a run came to, and why."""

    cause: Cause
    """`none`: it succeeded. `canceled`: somebody terminated it. `infrastructure`: the same run
    submitted again may well succeed. `own`: it would not, or that cannot be told."""
    words: str
    """Why, in a line; empty where nothing says it."""
    exit_code: int = 1
    """That of the step that failed, where it could say one."""


def ending_of(
    run: KfpRun,
    documents: Sequence[StepDocument],
    waiting: Sequence[Waiting],
    *,
    is_terminated: bool = False,
) -> Ending:
    """Return why a run ended.

    Args:
        run: that has ended, as Kubeflow has it.
        documents: what its steps said of themselves; those of this run alone.
        waiting: what pods and Argo say was lost of them.
        is_terminated: whether its workflow was told to end.
    """
    if run.state in ("SUCCEEDED", "SKIPPED"):
        return Ending(cause="none", words="")
    if run.was_canceled or is_terminated:
        return Ending(cause="canceled", words="it was terminated on Kubeflow")
    late = next((each for each in waiting if each.kind == "late" or _LATE.search(each.words)), None)
    failures = [each.failure for each in documents if each.failure]
    own = [each for each in failures if not _may_pass(each)]
    if late is not None and not own:  # the step itself can only say that it was told to end
        return Ending(cause="own", words=late.line)
    if failures:
        said = (own or failures)[-1]
        cause: Cause = "own" if own else "infrastructure"
        return Ending(cause=cause, words=said.error, exit_code=said.exit_code or 1)
    return _unsaid(run, documents, waiting)


def _unsaid(run: KfpRun, documents: Sequence[StepDocument], waiting: Sequence[Waiting]) -> Ending:
    """Return why a run ended of which no step could say it."""
    words = run.error or next((each.line for each in waiting), "")
    cut_off = [each.step for each in documents if each.state == "running"]
    if cut_off:
        words = words or f"step {cut_off[-1]} ended without a word"
        return Ending(cause="infrastructure", words=words)
    has_passed = any(map(_was_lost, waiting)) or bool(_PASSING.search(run.error))
    is_lasting = any(each.kind in _LASTING_KINDS for each in waiting)
    cause: Cause = "infrastructure" if has_passed and not is_lasting else "own"
    return Ending(cause=cause, words=words)


def _may_pass(failure: StepFailure) -> bool:
    code = failure.exit_code
    if code == StoreError.exit_code and _STORE_SAYS_NO.search(failure.error):
        return False
    return code in _PASSING_CODES or code < 0 or code > _LEAST_SIGNAL


def _was_lost(waiting: Waiting) -> bool:
    if waiting.kind in _LASTING_KINDS:
        return False
    is_of_kubeflow = waiting.step.startswith(_DRIVER) and waiting.kind in ("lost", "failed")
    return waiting.kind == "memory" or is_of_kubeflow or bool(_PASSING.search(waiting.words))
