"""Watching a run, and submitting it again where it ended for the infrastructure's reasons.

What a pod cannot survive loses the run on a stock Kubeflow. Submitted again it is the same run: the
stages that exist are reused, and one in training goes on from its last snapshot.
"""

import time
from collections.abc import Callable

from accrete.core.processes import TerminatedError
from accrete.core.units import format_clock
from accrete.errors import PipelineError, PipelineUnavailableError, StepFailedError
from accrete.monitoring.console import Console
from accrete.runners.kubeflow._ending import Ending
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.following import AWAY_S, follow_run
from accrete.runners.kubeflow.submission import RemoteRun
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
    console = Console()
    try:
        for number in range(1, times + 2):
            ending = follow_run(kubeflow, remote, request, console)
            if ending.cause == "none":
                return
            if ending.cause != "infrastructure" or number > times:
                raise _failure(ending, remote, number - 1)
            pause_s = min(_FIRST_PAUSE_S * 2 ** (number - 1), _LONGEST_PAUSE_S)
            why = ending.words or f"see its page, {remote.address}"
            when = f"it is submitted again in {format_clock(pause_s)}"
            line = f"run {remote.name!r} ended: {why}; {when}"
            remote = _again(submit_again, remote.name, pause_s, line, console)
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


def _again(
    submit_again: Callable[[], RemoteRun], name: str, pause_s: float, line: str, console: Console
) -> RemoteRun:
    """Return the run that was submitted again, after a pause; an API that is away is waited for.

    Args:
        submit_again: submits it.
        name: of the run.
        pause_s: before it is, and before each further try.
        line: that says so.
        console: where.

    Raises:
        PipelineError: it is refused, or is away for too long.
        KeyboardInterrupt, TerminatedError: who watches stops.
    """
    end, is_told = time.monotonic() + pause_s + AWAY_S, False
    while True:
        try:
            if line:
                console.line(line)
                line = ""
            time.sleep(pause_s)
        except (KeyboardInterrupt, TerminatedError) as stop:
            raise type(stop)(f"{name} ended, and was not submitted again") from None
        try:
            return submit_again()
        except PipelineUnavailableError as error:
            # It looked for a run that might have been made all the same, and there is none.
            if time.monotonic() > end:
                raise _not_again(name, error) from None
            if not is_told:
                console.line(f"{error}; the run is submitted again when it answers")
                is_told = True
        except PipelineError as error:
            raise _not_again(name, error) from None


def _not_again(name: str, error: PipelineError) -> PipelineError:
    return type(error)(f"run {name!r} ended, and could not be submitted again: {error}")
