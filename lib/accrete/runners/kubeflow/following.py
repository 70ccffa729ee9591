"""Following a submitted run to its end: how far its steps are, why they wait, what it came to."""

import time
from datetime import UTC, datetime, timedelta

from accrete.catalog.step_documents import SILENT_AFTER_S, StepDocument, step_documents
from accrete.core.processes import TerminatedError
from accrete.errors import (
    AccreteError,
    PipelineAccessError,
    PipelineError,
    PipelineRunGoneError,
    StepFailedError,
)
from accrete.monitoring.console import Console
from accrete.runners.kubeflow._ending import Ending, ending_of
from accrete.runners.kubeflow._lookout import (
    SAID_AFTER_S,
    Look,
    Looker,
    Lookout,
    unknown_wait,
)
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.runs import ENDED, KfpRun
from accrete.runners.kubeflow.submission import RemoteRun
from accrete.runners.kubeflow.waiting import Sayings
from accrete.runners.pipeline_file import PipelineRequest
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri, store_settings

_POLL_S = 5.0
CLOCKS_DIFFER = timedelta(minutes=1)
"""By which Kubeflow's times and those of the steps are not told apart."""
AWAY_S = 1800.0
"""An API that is away for longer is not awaited: the run does not need it to be watched."""


def follow_run(
    kubeflow: Kubeflow, remote: RemoteRun, request: PipelineRequest, console: Console
) -> Ending:
    """Show how far a submitted run is until it ends, and return what it ended for.

    The steps' own words come from the object store, where this machine can reach it.

    Raises:
        StepFailedError: it was deleted.
        PipelineError: it can be followed no longer; it goes on.
        KeyboardInterrupt: who watches stops; it says that the run goes on, as does SIGTERM's.
    """
    settings = store_settings()
    store = ObjectStore(settings, parse_store_uri(request.store_uri)) if settings else None
    lookout = Lookout(Looker(kubeflow, remote.run.run_id).look)
    following = _Following(kubeflow, remote, store, console, lookout)
    try:
        run = following.to_end()
        look = lookout.last() if run.state == "FAILED" else Look()
        documents = following.own_documents(run)
        return ending_of(run, documents, look.waiting, is_terminated=look.is_terminated)
    except (KeyboardInterrupt, TerminatedError) as stop:
        raise type(stop)(f"{request.run_name} goes on: {remote.address}") from None
    finally:
        lookout.stop()


class _Following:
    """One run that is followed."""

    def __init__(
        self,
        kubeflow: Kubeflow,
        remote: RemoteRun,
        store: ObjectStore | None,
        console: Console,
        lookout: Lookout,
    ) -> None:
        self._kubeflow, self._remote, self._store = kubeflow, remote, store
        self._console, self._lookout, self._sayings = console, lookout, Sayings()
        self._name = remote.name
        self._idle_since, self._has_told_idle = time.monotonic(), False
        self._away_since: float | None = None
        self._has_remarked = False
        self.documents: list[StepDocument] = []
        self._before = {(each.step, each.attempt) for each in _documents(store, self._name)}

    def own_documents(self, run: KfpRun) -> list[StepDocument]:
        """Return what the steps of this run said, and not those of one of its name before it."""
        return [
            each
            for each in self.documents
            if is_of_run(each, run) and (each.step, each.attempt) not in self._before
        ]

    def to_end(self) -> KfpRun:
        """Show the run until it ends; return it as it was last seen."""
        run, shown = self._remote.run, ""
        while True:
            if run.state != shown:
                self._console.line(f"{self._name}: {run.state.lower()}")
                shown = run.state
            self.documents = _documents(self._store, self._name)
            self._console.follow(self.documents)
            if run.state in ENDED:
                return run
            self._say_why_it_waits(run)
            self._check_that_it_is_there()
            time.sleep(_POLL_S)
            run = self._seen() or run

    def _seen(self) -> KfpRun | None:
        """Return the run, None where the API is away."""
        try:
            run = self._kubeflow.get_run(self._remote.run.run_id, patience_s=0)
        except PipelineAccessError as error:
            raise self._left(error) from None
        except PipelineRunGoneError:
            raise StepFailedError(
                f"run {self._name!r} ({self._remote.run.run_id}) was deleted on Kubeflow while it "
                "was followed"
            ) from None
        except PipelineError as error:
            self._be_patient(error)
            return None
        if self._away_since is not None:
            self._console.line("Kubeflow Pipelines answers again")
            self._away_since = None
        return run

    def _check_that_it_is_there(self) -> None:
        """Refuse to wait for what was deleted: Kubeflow says for ever that such a run goes on.

        Raises:
            StepFailedError: its workflow and pods were seen, and are gone.
        """
        look = self._lookout.found
        is_over = look.is_gone and look.was_there and self._away_since is None
        if is_over and not any(is_at_work_now(each) for each in self.documents):
            raise StepFailedError(
                f"run {self._name!r} was deleted: its workflow and its pods are gone from the "
                f"cluster, though Kubeflow still lists it: {self._remote.address}"
            )

    def _be_patient(self, error: PipelineError) -> None:
        """Say once that the API is away.

        Raises:
            PipelineError: it was for too long.
        """
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._console.line(f"{error}; the run goes on, and is looked for again")
        elif time.monotonic() - self._away_since > AWAY_S:
            raise self._left(error)

    def _left(self, error: PipelineError) -> PipelineError:
        return PipelineError(
            f"{error}; run {self._name!r} goes on: {self._remote.address}, or `accrete status "
            f"{self._name}`"
        )

    def _say_why_it_waits(self, run: KfpRun) -> None:
        look, now = self._lookout.found, time.monotonic()
        if look.remark and not self._has_remarked:
            self._console.line(f"remark: {look.remark}")
            self._has_remarked = True
        for line in self._sayings.fresh(look.waiting):
            self._console.line(f"{self._name}: {line}")
        is_at_work = any(is_at_work_now(each) for each in self.documents)
        if is_at_work or look.is_told or self._away_since is not None:
            self._idle_since, self._has_told_idle = now, False
        elif now - self._idle_since > SAID_AFTER_S and not self._has_told_idle:
            line = unknown_wait(run, now - self._idle_since, self._kubeflow.namespace)
            self._console.line(f"{self._name}: {line}")
            self._has_told_idle = True


def is_of_run(document: StepDocument, run: KfpRun) -> bool:
    """Return whether a step's document is of this run, not of one of its name before it."""
    return run.created_at is None or document.updated_at > run.created_at - CLOCKS_DIFFER


def is_at_work_now(document: StepDocument) -> bool:
    """Return whether a step runs, and was heard of lately."""
    silence_s = (datetime.now(UTC) - document.updated_at).total_seconds()
    return document.state == "running" and silence_s < SILENT_AFTER_S


def _documents(store: ObjectStore | None, name: str) -> list[StepDocument]:
    if store is None:
        return []
    try:
        return step_documents(store, name)
    except AccreteError:
        return []  # not begun, or the store is not to be reached from here
