"""Following a submitted run to its end: how far its steps are, why they wait, what it came to."""

import time
from contextlib import suppress

from accrete.catalog.step_documents import StepDocument
from accrete.core.processes import TerminatedError
from accrete.errors import (
    PipelineAccessError,
    PipelineError,
    PipelineRunGoneError,
    StepFailedError,
)
from accrete.monitoring.console import Console
from accrete.runners.kubeflow._ending import Ending, ending_of
from accrete.runners.kubeflow._hearing import Hearing, is_at_work_now
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
_LAST_S = 60.0
"""For which what a failed run's steps came to is asked of what does not answer."""
AWAY_S = 1800.0
"""An API that is away for longer is not awaited: the run does not need it to be watched."""


def follow_run(
    kubeflow: Kubeflow,
    remote: RemoteRun,
    request: PipelineRequest,
    console: Console,
    *,
    is_deciding: bool = False,
) -> Ending:
    """Show how far a submitted run is until it ends, and return what it ended for.

    The steps' own words come from the object store, where this machine can reach it.

    Args:
        kubeflow: where it is.
        remote: the run.
        request: that it was made for.
        console: to show it on.
        is_deciding: whether anything is done for what it ended for: that is found out then, if it
            takes a while.

    Raises:
        StepFailedError: it was deleted.
        PipelineError: it can be followed no longer; it goes on.
        KeyboardInterrupt: who watches stops; it says that the run goes on, as does SIGTERM's.
    """
    settings = store_settings()
    store = None
    if settings:
        address = parse_store_uri(request.store_uri)
        store = ObjectStore(settings, address, patient=False, wait_s=0)
    lookout = Lookout(Looker(kubeflow, remote.run.run_id).look)
    run = remote.run
    try:
        following = _Following(kubeflow, remote, store, console, lookout)
        run = following.to_end()
        look = following.last_look(is_deciding) if run.state == "FAILED" else Look()
        documents = following.last_words(run, is_deciding)
        return ending_of(run, documents, look.waiting, is_terminated=look.is_terminated)
    except (KeyboardInterrupt, TerminatedError) as stop:
        how = f"ended ({run.state.lower()})" if run.state in ENDED else "goes on"
        raise type(stop)(f"{request.run_name} {how}: {remote.address}") from None
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
        self._kubeflow, self._remote = kubeflow, remote
        self._console, self._lookout, self._sayings = console, lookout, Sayings()
        self._name = remote.name
        self._idle_since, self._has_told_idle = time.monotonic(), False
        self._away_since: float | None = None
        self._has_remarked = False
        self._hearing = Hearing(store, self._name, console.line)

    def last_words(self, run: KfpRun, is_deciding: bool) -> list[StepDocument]:
        """Return what the steps of an ended run said."""
        seconds = _LAST_S if run.state == "FAILED" else 0.0
        return self._hearing.last_words(run, seconds, _POLL_S, is_needed=is_deciding)

    def last_look(self, is_deciding: bool) -> Look:
        """Return what became of the steps of a run that failed; what does not answer is awaited.

        Args:
            is_deciding: whether to wait, too, until the API answers at all.
        """
        end, has_answered = time.monotonic() + AWAY_S, False
        look = self._lookout.last()
        if look.is_cut_off:
            self._console.line(
                f"{self._name}: what became of its steps cannot be told now, and is asked again"
            )
        while look.is_cut_off:
            look = self._lookout.last(_LAST_S)
            if not is_deciding or has_answered or time.monotonic() > end:
                break
            with suppress(PipelineError):
                self._kubeflow.get_run(self._remote.run.run_id, patience_s=0)
                has_answered = True
        return look

    def to_end(self) -> KfpRun:
        """Show the run until it ends; return it as it was last seen."""
        run, shown = self._remote.run, ""
        while True:
            if run.state != shown:
                self._console.line(f"{self._name}: {run.state.lower()}")
                shown = run.state
            self._hearing.listen(is_over=run.state in ENDED)
            self._console.follow(self._hearing.documents)
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
        if is_over and not any(is_at_work_now(each) for each in self._hearing.documents):
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
        is_at_work = any(is_at_work_now(each) for each in self._hearing.documents)
        if is_at_work or look.is_told or self._away_since is not None:
            self._idle_since, self._has_told_idle = now, False
        elif now - self._idle_since > SAID_AFTER_S and not self._has_told_idle:
            line = unknown_wait(run, now - self._idle_since, self._kubeflow.namespace)
            self._console.line(f"{self._name}: {line}")
            self._has_told_idle = True
