"""Watching a run, and submitting it again where it ended for the infrastructure's reasons.

What a pod cannot survive loses the run on a stock Kubeflow. Submitted again it is the same run: the
stages that exist are reused, and one in training goes on from its last snapshot.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from accrete.core.processes import TerminatedError
from accrete.core.units import format_clock
from accrete.errors import (
    PipelineAccessError,
    PipelineError,
    PipelineRunGoneError,
    PipelineUnavailableError,
    StepFailedError,
)
from accrete.monitoring.console import Console
from accrete.runners.kubeflow._ending import Ending
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.following import AWAY_S, follow_run
from accrete.runners.kubeflow.submission import RemoteRun, UndecidedRunError, UnreadRunError
from accrete.runners.pipeline_file import PipelineRequest

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 600.0
"""Before a run is submitted again: a node that restarts is back within minutes."""


def follow_remote(
    kubeflow: Kubeflow,
    remote: RemoteRun,
    request: PipelineRequest,
    submit_again: Callable[[], RemoteRun],
    times: int = 0,
) -> None:
    """Show how far a submitted run is until it ends, however often it is submitted.

    Args:
        kubeflow: where it is.
        remote: the run.
        request: that it was made for.
        submit_again: submits the same once more.
        times: how often that is done at most.

    Raises:
        StepFailedError: it did not succeed; exit code and words are those of the last one.
        PipelineError: it can be followed, or submitted, no longer.
        KeyboardInterrupt: who watches stops; it says what goes on, as does SIGTERM's.
    """
    console, number = Console(), 0
    try:
        while True:
            is_deciding = number < times
            ending = follow_run(kubeflow, remote, request, console, is_deciding=is_deciding)
            if ending.cause == "none":
                return
            if ending.cause != "infrastructure" or not is_deciding:
                raise _failure(ending, remote, number)
            pause_s = min(_FIRST_PAUSE_S * 2**number, _LONGEST_PAUSE_S)
            why = ending.words or f"see its page, {remote.address}"
            when = f"it is submitted again in {format_clock(pause_s)}"
            line = f"run {remote.name!r} ended: {why}; {when}"
            again = _Again(kubeflow, remote, submit_again, console)
            before, remote = remote, again.run(pause_s, line)
            if remote.run.run_id == before.run.run_id:
                console.line(
                    f"{remote.name}: is {remote.run.state.lower()} again on Kubeflow, and is not "
                    f"submitted beside that: {remote.address}"
                )
                continue
            number += 1
            console.line(
                f"{remote.name}: submitted again as {remote.run.run_id}, {number} of {times}: "
                f"{remote.address}"
            )
    finally:
        console.close()


def _failure(ending: Ending, remote: RemoteRun, resubmitted: int) -> StepFailedError:
    if ending.cause == "canceled":
        return StepFailedError(
            f"run {remote.name!r} canceled: {ending.words}; submitted again, it goes on from what "
            "is stored"
        )
    words = ending.words or f"see its page, {remote.address}"
    more = f" (submitted again {resubmitted} times)" if resubmitted > 1 else ""
    more = " (submitted again once)" if resubmitted == 1 else more
    return StepFailedError(f"run {remote.name!r} failed: {words}{more}", ending.exit_code)


class _Again:
    """One more submission of a run that ended."""

    def __init__(
        self,
        kubeflow: Kubeflow,
        ended: RemoteRun,
        submit_again: Callable[[], RemoteRun],
        console: Console,
    ) -> None:
        self._kubeflow, self._ended, self._console = kubeflow, ended, console
        self._submit = submit_again
        self._undecided: UndecidedRunError | None = None
        self._is_told = False

    def run(self, pause_s: float, line: str) -> RemoteRun:
        """Return the run that was submitted again, or the ended one where somebody revived it.

        An API that is away is waited for.

        Args:
            pause_s: before it is submitted.
            line: that says so; who stops when it is read stops the pause.

        Raises:
            PipelineError: it is refused, or is away for too long.
            KeyboardInterrupt, TerminatedError: who watches stops.
        """
        end = time.monotonic() + pause_s + AWAY_S
        while True:
            try:
                if line:
                    self._console.line(line)
                    line = ""
                time.sleep(pause_s)
                return self._tried()
            except (KeyboardInterrupt, TerminatedError) as stop:
                raise type(stop)(str(stop) or self._left()) from None
            except UnreadRunError as error:
                self._console.line(f"{error}; it is followed all the same")
                return error.remote
            except UndecidedRunError as error:
                if error.settle is None or time.monotonic() > end:
                    raise PipelineError(f"run {self._ended.name!r} ended, and {error}") from None
                self._undecided = error
                self._tell(f"{error}; it is looked for when Kubeflow answers")
            except PipelineError as error:
                # It looked for a run that might have been made all the same, and there is none.
                self._undecided = None
                if _is_lasting(error) or time.monotonic() > end:
                    raise self._refused(error) from None
                self._tell(f"{error}; the run is submitted again when it answers")
            pause_s = _FIRST_PAUSE_S

    def _tried(self) -> RemoteRun:
        if self._undecided is not None and self._undecided.settle is not None:
            return self._undecided.settle()
        return self._revived() or self._submit()

    def _revived(self) -> RemoteRun | None:
        """Return the ended run where it goes on, has succeeded since, or was told to end."""
        try:
            run = self._kubeflow.get_run(self._ended.run.run_id)
        except PipelineRunGoneError:
            return None
        is_as_it_was = run.state == "FAILED" and not run.was_canceled
        return None if is_as_it_was else replace(self._ended, run=run)

    def _left(self) -> str:
        if self._undecided is not None:
            return str(self._undecided)
        return f"{self._ended.name} ended, and was not submitted again"

    def _tell(self, words: str) -> None:
        if not self._is_told:
            self._console.line(words)
            self._is_told = True

    def _refused(self, error: PipelineError) -> PipelineError:
        return type(error)(
            f"run {self._ended.name!r} ended, and could not be submitted again: {error}"
        )


def _is_lasting(error: PipelineError) -> bool:
    """Return whether Kubeflow would say so again; its database may be away (500), or all of it."""
    if isinstance(error, PipelineUnavailableError):
        return False
    return isinstance(error, PipelineAccessError) or error.outcome == "refused"
