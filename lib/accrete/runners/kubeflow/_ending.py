"""What a run ended for: its own fault, somebody's wish, or what the cluster did to it.

Pure. A step that could say why it failed is believed; of one that could not, pods and Argo's
workflow say what became of it (`_losses.py` has their words).
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from accrete.catalog.step_documents import StepDocument, StepFailure
from accrete.errors import StoreError
from accrete.runners.kubeflow._losses import loss_of
from accrete.runners.kubeflow.runs import KfpRun
from accrete.runners.kubeflow.waiting import Waiting

_PASSING_CODES = (os.EX_TEMPFAIL, StoreError.exit_code)
"""Of a step that was told to end, or whose store was away: nothing is wrong with the run."""
_LEAST_SIGNAL = 128
"""Codes over it are a signal's (128 + 9: SIGKILL); also of a step whose training was killed."""
_STORE_SAYS_NO = re.compile(r"refuses access to|\bdoes not exist at\b")
"""How a step tells of a store that was there, and will say the same again (store/_errors.py)."""

_LASTING_KINDS = ("image", "config", "refused", "late")
"""Kinds of what another try would meet again."""
_SCARCE_KINDS = ("node", "volume")
"""Kinds of what another try would meet too, unless the step had it, and it was taken away."""
_LOST_KINDS = ("lost", "away", "memory", "quota")
"""Kinds of what the cluster did, and may not do again."""
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
    failures = [each.failure for each in documents if each.failure]
    own = [each for each in failures if not _may_pass(each)]
    if own:
        return _said(own[-1], "own")
    cut_off = [each.step for each in documents if each.state == "running"]
    # What came last counts: a step that only says that it was told to end, or nothing more, may
    # have been begun again, and have met what lasts.
    kinds = _LASTING_KINDS if failures or cut_off else (*_LASTING_KINDS, *_SCARCE_KINDS)
    lasting = next((each for each in waiting if each.kind in kinds), None)
    if lasting is not None:
        return Ending(cause="own", words=lasting.line)
    if failures:
        return _said(failures[-1], "infrastructure")
    return _unsaid(run, cut_off, waiting)


def _said(failure: StepFailure, cause: Cause) -> Ending:
    return Ending(cause=cause, words=failure.error, exit_code=failure.exit_code or 1)


def _unsaid(run: KfpRun, cut_off: Sequence[str], waiting: Sequence[Waiting]) -> Ending:
    """Return why a run ended of which no step could say it."""
    lost = next((each for each in waiting if _was_lost(each)), None)
    words = run.error or next((each.line for each in (lost, *waiting) if each), "")
    if cut_off:
        words = words or f"step {cut_off[-1]} ended without a word"
        return Ending(cause="infrastructure", words=words)
    has_passed = lost is not None or loss_of(run.error) in ("lost", "away")
    return Ending(cause="infrastructure" if has_passed else "own", words=words)


def _may_pass(failure: StepFailure) -> bool:
    code = failure.exit_code
    if code == StoreError.exit_code and _STORE_SAYS_NO.search(failure.error):
        return False
    return code in _PASSING_CODES or code < 0 or code > _LEAST_SIGNAL


def _was_lost(waiting: Waiting) -> bool:
    is_of_kubeflow = waiting.step.startswith(_DRIVER) and waiting.kind in ("failed", "error")
    return waiting.kind in _LOST_KINDS or is_of_kubeflow
