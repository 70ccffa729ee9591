"""What the steps of a run that is watched say in the object store, as far as it is reached."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from accrete.catalog.step_documents import SILENT_AFTER_S, StepDocument, step_documents
from accrete.errors import (
    AccreteError,
    IntegrityError,
    RunNotFoundError,
    StoreError,
    StoreUnreachableError,
)
from accrete.runners.kubeflow.runs import KfpRun
from accrete.store.object_store import ObjectStore

CLOCKS_DIFFER = timedelta(minutes=1)
"""By which Kubeflow's times and those of the steps are not told apart."""
_TOLD_AFTER = 2
"""Looks in vain: one request that is lost is no news."""


class Hearing:
    """Listens to the steps of one run; a store that is away holds up nothing."""

    def __init__(self, store: ObjectStore | None, name: str, tell: Callable[[str], None]) -> None:
        """Hear what is there of runs of this name before.

        Args:
            store: one that is asked once, and not waited for; None: there is none here.
            name: of the run.
            tell: takes a line when the store is not reached, and when it is again.
        """
        self._store, self._name, self._tell = store, name, tell
        self.documents: list[StepDocument] = []
        """As they were last read."""
        self._error: AccreteError | None = None
        self._num_failed, self._was_reached = 0, False
        self.listen()
        self._before = {(each.step, each.attempt) for each in self.documents}

    def listen(self, *, is_over: bool = False) -> None:
        """Read what the steps say now; what was read before stays where that cannot be.

        Args:
            is_over: whether the run has ended.
        """
        if self._store is None:
            return
        try:
            self.documents = step_documents(self._store, self._name)
        except RunNotFoundError:
            self.documents = []  # not begun
        except IntegrityError:
            pass  # a document that is none: there is a store
        except AccreteError as error:
            self._failed(error, is_over)
            return
        if self._num_failed >= _TOLD_AFTER:
            self._tell("the object store answers again")
        self._error, self._num_failed, self._was_reached = None, 0, True

    def _failed(self, error: AccreteError, is_over: bool) -> None:
        self._error = error
        self._num_failed += 1
        if self._num_failed == _TOLD_AFTER:
            meanwhile = "" if is_over else "; Kubeflow's own states are shown meanwhile"
            self._tell(f"what the steps say cannot be read from here: {error}{meanwhile}")

    def last_words(
        self, run: KfpRun, seconds: float, pause_s: float, *, is_needed: bool
    ) -> list[StepDocument]:
        """Return what the steps of this run said, and not those of one of its name before it.

        Args:
            run: that has ended.
            seconds: for which a store that is away is asked again.
            pause_s: between two looks.
            is_needed: whether to wait for a store, too, that was never reached.
        """
        end, is_told = time.monotonic() + seconds, False
        while self._may_answer(is_needed) and time.monotonic() < end:
            if not is_told:
                self._tell(
                    f"{self._name}: the object store is asked for what its steps said last, for "
                    f"{seconds:.0f} s"
                )
                is_told = True
            time.sleep(pause_s)
            self.listen(is_over=True)
        own = [each for each in self.documents if self._is_own(each, run)]
        # Of a step that was running when the store was last read nobody knows how it ended.
        return own if self._error is None else [each for each in own if each.state != "running"]

    def _may_answer(self, is_needed: bool) -> bool:
        error = self._error
        may_pass = isinstance(error, StoreError) and (
            error.may_pass or isinstance(error, StoreUnreachableError)
        )
        return may_pass and (is_needed or self._was_reached)

    def _is_own(self, document: StepDocument, run: KfpRun) -> bool:
        begins = run.created_at
        is_new = begins is None or document.started_at > begins - CLOCKS_DIFFER
        is_known = (document.step, document.attempt) in self._before
        return is_of_run(document, run) and is_new and not is_known


def is_of_run(document: StepDocument, run: KfpRun) -> bool:
    """Return whether a step's document is of this run, not of one of its name before it."""
    return run.created_at is None or document.updated_at > run.created_at - CLOCKS_DIFFER


def is_at_work_now(document: StepDocument) -> bool:
    """Return whether a step runs, and was heard of lately."""
    silence_s = (datetime.now(UTC) - document.updated_at).total_seconds()
    return document.state == "running" and silence_s < SILENT_AFTER_S
