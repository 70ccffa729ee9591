"""The step loop. Never sees a store; has no print, no file and no network in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from accrete.batches import TrainingBatches
from accrete.errors import TrainingDivergedError
from accrete.recipe import StageSchedule, lr_at
from accrete.seeds import derive_seed

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


class Watcher(Protocol):
    """What looks at training from outside the step loop."""

    def progress(self, done: int, loss: float) -> None:
        """Hear of steps done in the stage and the mean loss since the last call; now and then."""

    def wants_state(self) -> bool:
        """Say whether to be handed the state after this step; asked after each, so be quick."""
        ...

    def take_state(self, state: TrainState) -> None:
        """Take the state; model and optimizer are those that the caller gave to `train`."""


def make_optimizer(model: nn.Module, schedule: StageSchedule) -> torch.optim.SGD:
    """Return SGD as the schedule has it; build it after the head has grown."""
    return torch.optim.SGD(
        model.parameters(),
        lr=schedule.lr,
        momentum=schedule.momentum,
        nesterov=schedule.nesterov,
        weight_decay=schedule.weight_decay,
        fused=True,
    )


def momentum_of(model: nn.Module, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    """Return the momentum buffer of each parameter, by name; none before the first step."""
    buffers = {}
    for name, parameter in model.named_parameters():
        buffer = optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            buffers[name] = buffer
    return buffers


def load_momentum(
    model: nn.Module, optimizer: torch.optim.SGD, momentum: dict[str, Tensor]
) -> None:
    """Give an optimizer momentum buffers, by parameter name."""
    for name, parameter in model.named_parameters():
        if name in momentum:
            buffer = torch.empty_like(parameter).copy_(momentum[name])
            optimizer.state[parameter]["momentum_buffer"] = buffer


@contextmanager
def precision(device: torch.device, name: str) -> Iterator[None]:
    """Run a block under bf16 autocast, or in fp32 as it is."""
    with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):
        yield


def train(
    model: nn.Module,
    batches: TrainingBatches,
    schedule: StageSchedule,
    optimizer: torch.optim.SGD,
    *,
    state: TrainState,
    watcher: Watcher,
) -> list[HistoryPoint]:
    """Run a stage's steps, or what is left of them; model, optimizer and state change in place.

    A step is a function of weights, momentum and its position alone, so that a stage that continues
    from a snapshot ends with the weights it would have had (bit for bit on a CPU).

    Args:
        model: in channels_last, on the batches' device.
        batches: the stage's images.
        schedule: its window of the plan.
        optimizer: from `make_optimizer`.
        state: fresh, or of the snapshot that model and optimizer were loaded from.
        watcher: told of progress, and may take the state after any step.

    Returns:
        Loss and learning rate over the stage, at most about HISTORY_POINTS of them.

    Raises:
        TrainingDivergedError: the loss is not finite.
    """
    model.train()
    interval = max(1, schedule.num_steps // HISTORY_POINTS)
    loss_sum = torch.tensor(state.loss_sum, device=next(model.parameters()).device)
    while state.position < schedule.num_steps:
        step = schedule.first_step + state.position
        lr = lr_at(schedule, step)
        torch.manual_seed(derive_seed("dropout", batches.seed, step))
        batch = batches.batch(state.position, step)
        loss_sum += _one_step(model, batch, schedule, optimizer, lr)
        state.num_summed += 1
        state.position += 1
        if state.position % interval == 0 or state.position == schedule.num_steps:
            epoch = state.position * schedule.batch_size / batches.num_images
            mean_loss = float(loss_sum) / state.num_summed
            _check_finite(mean_loss, epoch, lr)
            state.history.append(HistoryPoint(step=step + 1, epoch=epoch, lr=lr, loss=mean_loss))
            loss_sum.zero_()
            state.num_summed = 0
            watcher.progress(state.position, mean_loss)
        if watcher.wants_state():
            state.loss_sum = float(loss_sum)
            watcher.take_state(state)
    return state.history


def _one_step(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    schedule: StageSchedule,
    optimizer: torch.optim.SGD,
    lr: float,
) -> Tensor:
    """Do one optimizer step; return its loss on the device."""
    images_BCHW, labels_B = batch
    for group in optimizer.param_groups:
        group["lr"] = lr
    with precision(images_BCHW.device, schedule.precision):
        logits_BK = model(images_BCHW)
    loss = functional.cross_entropy(
        logits_BK.float(), labels_B, label_smoothing=schedule.label_smoothing
    )
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach()


def _check_finite(loss: float, epoch: float, lr: float) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise TrainingDivergedError(
            f"the loss is {loss} at epoch {epoch:.2f} with lr {lr:.4g}: lower --lr"
        )
