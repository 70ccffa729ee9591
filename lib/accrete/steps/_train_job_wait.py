"""Have a TrainJob and wait for its end, whatever an earlier attempt left and however it is found.

Looks at the job as it is, again and again, and decides from that alone: a stream of changes only
says when to look. So it does not matter which were missed, or whether this attempt made the job.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from accrete.errors import AccreteError, ClusterUnreachableError, StepFailedError
from accrete.steps.train_job import TrainJobState, state_of
from accrete.steps.train_job_api import TrainJobApi

_PATIENCE_S = 300.0
"""How long the API may not answer: an upgrade of a cluster's control plane takes minutes."""

_WATCH_S = 30
_PAUSE_S = 3.0
_MAX_CREATIONS = 4


class TrainJobWait:
    """The wait of one attempt for one job."""

    def __init__(
        self,
        api: TrainJobApi,
        job: dict[str, Any],
        *,
        wait_s: float,
        say: Callable[[str], None],
        looked: Callable[[], None] = lambda: None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Prepare; asks for nothing yet.

        Args:
            api: where jobs are.
            job: what is to run; its name says which.
            wait_s: how long it may wait until all its nodes are there.
            say: told what happens, in lines for people.
            looked: called each time that the API said how the job stands.
            patience_s: how long the API may not answer.
        """
        self._api, self._job, self._say = api, job, say
        self._looked = looked
        self._wait_s, self._patience_s = wait_s, patience_s
        self._name = str(job["metadata"]["name"])
        self._uid: str | None = None
        self._num_created = 0
        self._waiting_since: float | None = None
        self._last_text = ""

    def until_complete(self) -> None:
        """Return once the job is complete.

        On any other end than the job's own, it is deleted: a run that was cancelled must not keep
        its nodes, and to one that was evicted it costs what was trained since the last snapshot.

        Raises:
            StepFailedError: the job failed, waits for too long, or is deleted again and again.
            ClusterError: the API refuses, or does not answer for long.
        """
        try:
            self._wait()
        except AccreteError:
            raise
        except BaseException:
            self.delete()
            raise

    def delete(self) -> None:
        """Delete the job that this attempt waits for, if the API lets it."""
        with suppress(AccreteError):
            found = self._api.find(self._name)
            if found is not None and found["metadata"]["uid"] == self._uid:
                self._api.delete(found)
                self._say(f"TrainJob {self._name} is deleted")

    def _wait(self) -> None:
        silent_since: float | None = None
        while True:
            try:
                found = self._api.find(self._name)
                silent_since = None
                self._looked()
                if found is None:
                    self._create()
                elif self._is_complete(found):
                    return
                else:
                    for changed in self._api.changes(found, self._seconds_to_watch()):
                        if changed is None or self._is_complete(changed):
                            break
            except ClusterUnreachableError as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > self._patience_s:
                    raise
                self._tell(f"{error}: trying again")
                time.sleep(_PAUSE_S)

    def _seconds_to_watch(self) -> int:
        if self._waiting_since is None:
            return _WATCH_S
        left_s = self._waiting_since + self._wait_s - time.monotonic()
        return max(1, min(_WATCH_S, int(left_s) + 1))

    def _create(self) -> None:
        if self._num_created == _MAX_CREATIONS:
            raise StepFailedError(
                f"TrainJob {self._name} was deleted {_MAX_CREATIONS} times while it was waited "
                "for: see what deletes it, then submit the run again"
            )
        created = self._api.create(self._job)
        if created is not None:
            self._num_created += 1
            self._uid = created["metadata"]["uid"]
            self._tell(f"TrainJob {self._name} is created in {self._api.namespace}")

    def _is_complete(self, job: dict[str, Any]) -> bool:
        """Return whether the job is complete, or do what its state asks for."""
        state, uid = state_of(job), job["metadata"]["uid"]
        if state.phase in ("complete", "failed") and uid != self._uid:
            # The stage does not exist, so whatever an earlier attempt's job came to is of no use.
            self._tell(f"TrainJob {self._name} of an earlier attempt {state.text}: it is replaced")
            self._api.delete(job)
            return False
        self._tell(f"TrainJob {self._name} {state.text}")
        if state.phase != "going":
            self._uid = uid
        if state.phase == "failed":
            label = f"jobset.sigs.k8s.io/jobset-name={self._name}"
            raise StepFailedError(
                f"TrainJob {self._name} {state.text}; its nodes' logs: kubectl -n "
                f"{self._api.namespace} logs --prefix -l {label}"
            )
        self._check_patience(state)
        return state.phase == "complete"

    def _check_patience(self, state: TrainJobState) -> None:
        """Give up a job that has waited for too long; its nodes would come when nobody waits."""
        if state.phase not in ("waiting", "going"):
            self._waiting_since = None
            return
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        if now - self._waiting_since > self._wait_s:
            self.delete()
            raise StepFailedError(
                f"TrainJob {self._name} {state.text}; given up after {self._wait_s:.0f} s and "
                "deleted: see the events of its pods, or raise --node-wait"
            )

    def _tell(self, text: str) -> None:
        """Say it, if it is news."""
        if text != self._last_text:
            self._last_text = text
            self._say(text)
