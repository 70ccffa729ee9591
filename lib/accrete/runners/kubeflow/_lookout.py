"""Looks for why a run's steps wait, from whatever says it: the cluster, else Kubeflow's own API."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from accrete.core.units import format_clock
from accrete.errors import PipelineError, PipelineUnavailableError
from accrete.runners.kubeflow._argo import has_nodes, is_terminated
from accrete.runners.kubeflow._background import Background
from accrete.runners.kubeflow._kubeconfig import PluginError
from accrete.runners.kubeflow._objects import Object
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.cluster import (
    ForbiddenLookupError,
    NothingThereError,
    RunObjects,
)
from accrete.runners.kubeflow.runs import KfpRun
from accrete.runners.kubeflow.waiting import Waiting, waiting_of

SAID_AFTER_S = 45.0
"""A run of which nothing is known is told of after this long."""
_INTERVAL_S = 10.0
_LOOK_S = 12.0
"""A look takes no longer."""
_PAUSE_S = 2.0
"""Between looks at what does not answer."""
_FIRST_S = 2.0
"""A cluster that answers does by then; Kubeflow is asked beside one that does not."""


@dataclass(slots=True)
class Look:
    """What was seen of a run's steps."""

    waiting: list[Waiting] = field(default_factory=list)
    """Each step that waits, or was lost."""
    is_told: bool = False
    """Whether anything could say why a step waits: if not, that none does means nothing."""
    remark: str = ""
    """Why the cluster is not asked, where its user would want to know."""
    is_terminated: bool = False
    """Whether the run was told to end."""
    is_gone: bool = False
    """Whether the cluster has nothing of a run of which Kubeflow's own copy had begun: it was
    deleted, or the kubeconfig is another cluster's."""
    was_there: bool = False
    """Whether this cluster had objects of the run before."""
    is_cut_off: bool = False
    """Whether nothing was told because something did not answer: it may the next time."""


@dataclass(frozen=True, slots=True)
class _OfCluster:
    """What the cluster has of a run."""

    pods: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    workflow: Object | None = None
    is_empty: bool = False
    """Whether it lists what it has, and has nothing of the run."""
    is_away: bool = False
    """Whether it does not answer."""


class Looker:
    """Looks at one run; one thread at a time."""

    def __init__(self, kubeflow: Kubeflow, run_id: str) -> None:
        """Ask nothing yet."""
        self._kubeflow, self._run_id = kubeflow, run_id
        self._objects: RunObjects | None = None
        self._has_cluster = True
        self._asked: Background[_OfCluster] | None = None
        self._remark, self._was_there = "", False

    def look(self, seconds: float = _LOOK_S) -> Look:
        """Ask the cluster, where this machine has a way to it, and Kubeflow's API.

        Args:
            seconds: for both; what does not answer by then counts as not there.
        """
        end = time.monotonic() + seconds
        if self._asked is None and self._has_cluster:
            self._asked = Background(self._of_cluster)
        found = self._taken(min(_FIRST_S, seconds))
        workflow, is_away = found.workflow if found else None, False
        if workflow is None:
            workflow, is_away = self._of_api(end - time.monotonic())
        if found is None:
            found = self._taken(end - time.monotonic()) or _OfCluster(is_away=True)
        workflow = found.workflow or workflow
        waiting = waiting_of(found.pods, found.events, workflow, datetime.now(UTC))
        self._was_there |= bool(found.pods) or found.workflow is not None
        is_told = bool(found.pods) or has_nodes(workflow)
        return Look(
            waiting,
            is_told,
            self._remark,
            is_terminated=is_terminated(workflow),
            is_gone=found.is_empty and (self._was_there or has_nodes(workflow)),
            was_there=self._was_there,
            is_cut_off=not is_told and (is_away or (found.is_away and self._was_there)),
        )

    def _of_api(self, seconds: float) -> tuple[Object | None, bool]:
        """Return the workflow by Kubeflow's API, and whether it may have one and does not say."""
        asked = Background(lambda: self._kubeflow.workflow_of(self._run_id))
        try:
            return asked.result(seconds), False
        except PipelineError as error:  # it may have no API of version 1
            is_away = isinstance(error, PipelineUnavailableError) or error.outcome != "refused"
            return None, is_away
        except TimeoutError:
            return None, True

    def _taken(self, seconds: float) -> _OfCluster | None:
        """Return what the cluster says; None: it has not answered yet, and may later."""
        if self._asked is None:
            return _OfCluster()
        try:
            found = self._asked.result(seconds)
        except TimeoutError:
            return None
        except LookupError as error:  # another cluster's kubeconfig, or none that answers now
            self._has_cluster = self._objects is not None
            if isinstance(error, ForbiddenLookupError | PluginError):
                self._objects, self._has_cluster = None, False
            if isinstance(error, PluginError):
                self._remark = f"the cluster is not asked: {error}"
            is_empty = isinstance(error, NothingThereError)
            found = _OfCluster(is_empty=is_empty, is_away=self._has_cluster and not is_empty)
        self._asked = None
        return found

    def _of_cluster(self) -> _OfCluster:
        if self._objects is None:
            self._objects = RunObjects(self._run_id, self._kubeflow.namespace)
        return _OfCluster(*self._objects.read())


class Lookout:
    """Looks in the background, since a cluster may take its time; ends with the process."""

    def __init__(self, look: Callable[[], Look]) -> None:
        """Begin."""
        self._look, self._found = look, Look()
        self._is_over, self._is_asked, self._is_answered = (threading.Event() for _ in range(3))
        threading.Thread(target=self._keep_looking, daemon=True, name="lookout").start()

    @property
    def found(self) -> Look:
        """What was told last; a look that tells nothing takes nothing of that away."""
        return self._found

    def last(self, seconds: float = 0.0) -> Look:
        """Look once more, now; return what was told before where nothing is.

        Args:
            seconds: for which it is looked again where something does not answer.
        """
        end = time.monotonic() + seconds
        while True:
            self._is_answered.clear()
            self._is_asked.set()
            has_come = self._is_answered.wait(_LOOK_S + 2.0)
            found = self._found if has_come else replace(self._found, is_cut_off=True)
            if not found.is_cut_off or time.monotonic() >= end:
                return found
            time.sleep(_PAUSE_S)

    def stop(self) -> None:
        """Look no more."""
        self._is_over.set()
        self._is_asked.set()

    def _keep_looking(self) -> None:
        while True:
            is_asked = self._is_asked.wait(_INTERVAL_S)
            if self._is_over.is_set():
                return
            self._is_asked.clear()
            self._found = _newer(self._found, self._look())
            if is_asked:
                self._is_answered.set()


def _newer(before: Look, now: Look) -> Look:
    """Return a look, with what one before it told where it tells nothing itself."""
    if now.is_told or now.is_gone or not before.is_told:
        return now
    return replace(
        before,
        remark=now.remark,
        is_terminated=before.is_terminated or now.is_terminated,
        was_there=now.was_there,
        is_cut_off=now.is_cut_off,
    )


def unknown_wait(run: KfpRun, seconds: float, namespace: str | None) -> str:
    """Return what to say of a run that waits for a reason that nothing here can tell.

    Args:
        run: that waits.
        seconds: for which it does.
        namespace: of the run; None: Kubeflow's own.
    """
    steps = ", ".join(run.waiting_tasks[:3])
    what = f"{steps} waits" if steps else "no step runs"
    return (
        f"{what} for {format_clock(seconds)}, and this machine cannot tell why: "
        f"kubectl -n {namespace or 'kubeflow'} describe pods -l pipeline/runid={run.run_id}"
    )
