"""The training loop. Never sees a store; has no print, no file and no network in it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from accrete.config.schedule import StageSchedule, lr_at, round_of
from accrete.core.hashing import derive_seed
from accrete.core.validation import check_choice, check_range
from accrete.errors import TrainingDivergedError
from accrete.training.batches import TrainingBatches
from accrete.training.device import seed_draws
from accrete.training.distributed import ALONE, Peers
from accrete.training.early_stopping import reason_to_end_rounds, reason_to_stop
from accrete.training.optimizer import Sgd, gradient_norm
from accrete.training.recorded_step import make_step
from accrete.training.step import OptimizerStep

HISTORY_POINTS = 200
"""Points of loss and learning rate kept per stage; each is the mean over the steps between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """Mean training loss up to a step."""

    step: int
    """Global step, from 1: how many steps the plan has done."""
    epoch: float
    """Epochs within the stage."""
    lr: float
    """Learning rate of the step."""
    loss: float
    """Mean over the steps since the last point."""


@dataclass(slots=True, kw_only=True)
class TrainState:
    """How far a stage's training is: with weights and momentum, all that the next step needs."""

    position: int = 0
    """Steps done in the stage."""
    history: list[HistoryPoint] = field(default_factory=list)
    """Points so far."""
    loss_sum: float = 0.0
    """Sum of the losses since the last point."""
    num_summed: int = 0
    """Steps since the last point."""
    compiled: bool | None = None
    """Whether the trunk is compiled, decided once for the whole stage; None: not decided yet."""
    precision: str | None = None
    """`bf16` or `fp32`, likewise."""
    num_parts: int = 1
    """Parts that each batch is computed in, for want of memory."""
    train_s: float = 0.0
    """Seconds that the attempts took whose steps these are, where they are saved."""
    round_top1s: list[float] = field(default_factory=list)
    """Validation accuracy after each round, where there are rounds."""
    stopped: str | None = None
    """Why the stage ended before its budget; None: it did not."""

    def __post_init__(self) -> None:
        check_range("position", self.position, 0, 2**53)
        check_range("seconds of training", self.train_s, 0.0, 1e12)
        check_range("number of summed steps", self.num_summed, 0, 2**53)
        if self.precision is not None:
            check_choice("precision", self.precision, ("bf16", "fp32"))
        check_range("number of parts", self.num_parts, 1, 1 << 20)


class Watcher(Protocol):
    """What looks at training from outside the training loop."""

    def progress(self, done: int, loss: float) -> None:
        """Hear of steps done in the stage and the mean loss since the last call; now and then."""

    def notice(self, text: str) -> None:
        """Hear of something that the user should know."""

    def wants_state(self) -> bool:
        """Say whether to be handed the state after this step; asked after each, so be quick."""
        ...

    def take_state(self, state: TrainState) -> None:
        """Take the state; model and optimizer are those that the caller gave to `train`."""


def train(
    model: nn.Module,
    batches: TrainingBatches,
    schedule: StageSchedule,
    optimizer: Sgd,
    *,
    state: TrainState,
    watcher: Watcher,
    validate: Callable[[], float] | None = None,
    num_old_classes: int = 0,
    peers: Peers = ALONE,
    recorded: bool = True,
) -> list[HistoryPoint]:
    """Run a stage's steps, or what is left of them; model, optimizer and state change in place.

    A step is a function of weights, momentum and its position alone, so that a stage that continues
    from a snapshot ends with the weights it would have had (bit for bit on a CPU).

    Args:
        model: in channels_last, on the batches' device; DistributedDataParallel among peers.
        batches: the stage's images.
        schedule: its window of the plan, with a precision of `bf16` or `fp32`.
        optimizer: from `make_optimizer`.
        state: fresh, or of the snapshot that model and optimizer were loaded from.
        watcher: told of progress, and may take the state after any step.
        validate: returns the accuracy on validation images, 0 to 1; needed where the schedule has
            rounds. Leaves the model in evaluation mode.
        num_old_classes: outputs whose images are replayed in part, where the schedule says so.
        peers: the processes that train this stage, each on its part of every batch.
        recorded: whether a GPU's steps may be recorded, which changes how fast they are.

    Returns:
        Loss and learning rate over the stage, at most about HISTORY_POINTS of them.

    Raises:
        TrainingDivergedError: the loss is not finite.
        OutOfMemoryError: not even a part of a batch fits the device.
    """
    model.train()
    step_once = make_step(
        model,
        optimizer,
        schedule,
        num_old_classes=num_old_classes,
        num_parts=state.num_parts,
        notice=watcher.notice if recorded else None,
    )
    interval = max(1, schedule.num_steps // HISTORY_POINTS)
    loss_sum = torch.tensor(state.loss_sum, device=next(model.parameters()).device)
    coming = batches.starting_at(state.position, schedule.first_step + state.position)
    while state.position < schedule.num_steps and state.stopped is None:
        step = schedule.first_step + state.position
        lr = lr_at(schedule, step)
        # Dropout, where a model has it; drawn anew for each step, so that a resumed one agrees.
        seed_draws(derive_seed("dropout", batches.seed, step, peers.rank), loss_sum.device)
        loss_sum += _fitting(step_once, next(coming), lr, watcher)
        state.num_parts = step_once.num_parts
        state.num_summed += 1
        state.position += 1
        if state.position % interval == 0 or state.position == schedule.num_steps:
            epoch = state.position * schedule.batch_size / batches.num_images
            mean_loss = float(peers.all_reduce_mean(loss_sum)) / state.num_summed
            _check_finite(mean_loss, epoch, lr)
            state.history.append(HistoryPoint(step=step + 1, epoch=epoch, lr=lr, loss=mean_loss))
            loss_sum.zero_()
            state.num_summed = 0
            watcher.progress(state.position, mean_loss)
            if state.position < schedule.num_steps:
                state.stopped = reason_to_stop(
                    schedule,
                    state.history,
                    lambda: gradient_norm(optimizer, schedule, state.position),
                )
        if _ends_round(schedule, state.position):
            assert validate is not None
            assert schedule.until is not None
            state.round_top1s.append(validate())
            model.train()
            if state.position < schedule.num_steps:
                state.stopped = reason_to_end_rounds(schedule.until, state.round_top1s)
        if watcher.wants_state():
            state.loss_sum = float(loss_sum)
            watcher.take_state(state)
    return state.history


def _ends_round(schedule: StageSchedule, position: int) -> bool:
    """Tell whether the steps that are done end with a round."""
    if schedule.round_steps is None:
        return False
    start, length = round_of(schedule, position - 1)
    return position == start + length


def _fitting(
    step_once: OptimizerStep, batch: tuple[Tensor, Tensor], lr: float, watcher: Watcher
) -> Tensor:
    """Do a step, in smaller parts where it does not fit; return its loss.

    Raises:
        OutOfMemoryError: it does not fit in any.
    """
    while True:
        try:
            return step_once(batch, lr)
        except torch.OutOfMemoryError as error:
            cause = str(error).partition(".")[0]  # the error itself holds on to the activations
        watcher.notice(step_once.halve(len(batch[1]), cause))


def _check_finite(loss: float, epoch: float, lr: float) -> None:
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            f"the loss is {loss} at epoch {epoch:.2f} with lr {lr:.4g}: lower --lr"
        )
