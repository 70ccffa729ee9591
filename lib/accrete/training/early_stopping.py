"""When a stage may end before its budget: pure functions of what training has recorded."""

from collections.abc import Callable, Sequence
from typing import Protocol

from accrete.config.recipe import validation_target
from accrete.config.schedule import StageSchedule

PLATEAU_FACTOR = 0.99
"""A loss that did not fall below this part of what it was is on a plateau."""


LEAST_GAIN = 0.005
"""Of validation accuracy, over the best of the rounds before; a round that gained less was the last
one."""


class Recorded(Protocol):
    """A point of the loss's history."""

    @property
    def epoch(self) -> float:
        """Epochs within the stage."""

    @property
    def loss(self) -> float:
        """Mean loss since the point before."""


def reason_to_stop(
    schedule: StageSchedule, history: Sequence[Recorded], gradient_norm: Callable[[], float]
) -> str | None:
    """Return why a stage has converged, None while it has not.

    Args:
        schedule: says which stops are wanted.
        history: of the stage so far, at evenly spaced steps.
        gradient_norm: the smoothed gradient's; asked only where it decides.
    """
    if schedule.stop_gradient is not None:
        norm = gradient_norm()
        if norm < schedule.stop_gradient:
            return f"the gradient's norm is {norm:.6g}, below {schedule.stop_gradient:g}"
    if schedule.stop_patience is not None:
        return _plateau(history, schedule.stop_patience)
    return None


def _plateau(history: Sequence[Recorded], patience: int) -> str | None:
    """Compare the mean loss of the last `patience` epochs with that of as many before them."""
    now = history[-1].epoch
    if now < 2 * patience:
        return None
    # A short epoch may have less than a point: then the last two are compared.
    recent = [p.loss for p in history if p.epoch > now - patience] or [history[-1].loss]
    earlier = history[: len(history) - len(recent)]
    before = [p.loss for p in earlier if p.epoch > now - 2 * patience]
    before = before or [point.loss for point in earlier[-1:]]
    if not before:
        return None
    mean_recent, mean_before = sum(recent) / len(recent), sum(before) / len(before)
    if mean_recent <= PLATEAU_FACTOR * mean_before:
        return None
    return f"the loss went from {mean_before:.4g} to {mean_recent:.4g} in {patience} epochs"


def reason_to_end_rounds(until: str, top1s: Sequence[float]) -> str | None:
    """Return why the round that was just validated is a stage's last one; None: it is not.

    Args:
        until: of the schedule.
        top1s: validation accuracy after each round, 0 to 1; at least one.
    """
    target, now = validation_target(until), top1s[-1]
    if now >= target:
        return f"validation accuracy is {now:.2%}, at least the {target:.2%} asked for"
    if len(top1s) == 1:
        return None
    best = max(top1s[:-1])
    if now - best >= LEAST_GAIN:
        return None
    missed = f", though {target:.2%} was asked for" if target <= 1 else ""
    return (
        f"validation accuracy is {now:.2%} after {len(top1s)} rounds and was {best:.2%} before: "
        f"the last round gained less than half a point{missed}"
    )


def what_was_missed(until: str, top1s: Sequence[float]) -> str | None:
    """Return what a stage that used its budget missed; None: it did not, or nothing was asked for.

    Args:
        until: of the schedule.
        top1s: validation accuracy after each round, 0 to 1; at least one.
    """
    target, now = validation_target(until), top1s[-1]
    if target > 1 or now >= target:
        return None
    return f"validation accuracy is {now:.2%}, below the {target:.2%} asked for"
