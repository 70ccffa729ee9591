"""The step loop. Never sees a store; has no print, no file and no network in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from accrete.batches import TrainingBatches
from accrete.errors import TrainingDivergedError
from accrete.recipe import StageSchedule, lr_at

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


Progress = Callable[[int, float], None]
"""Called now and then with steps done in the stage and the mean loss since the last call."""


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
    progress: Progress,
) -> list[HistoryPoint]:
    """Run a stage's steps; the model and the optimizer are changed in place.

    Args:
        model: in channels_last, on the batches' device.
        batches: the stage's images.
        schedule: its window of the plan.
        optimizer: from `make_optimizer`.
        progress: told of steps and loss a few hundred times.

    Returns:
        Loss and learning rate over the stage, at most about HISTORY_POINTS of them.

    Raises:
        TrainingDivergedError: the loss is not finite.
    """
    model.train()
    interval = max(1, schedule.num_steps // HISTORY_POINTS)
    history: list[HistoryPoint] = []
    loss_sum: Tensor | None = None
    since = 0
    for position in range(schedule.num_steps):
        step = schedule.first_step + position
        lr = lr_at(schedule, step)
        loss = _one_step(model, batches.batch(position, step), schedule, optimizer, lr)
        loss_sum = loss if loss_sum is None else loss_sum + loss
        since += 1
        done = position + 1
        if done % interval == 0 or done == schedule.num_steps:
            mean_loss = float(loss_sum) / since
            epoch = done * schedule.batch_size / batches.num_images
            _check_finite(mean_loss, epoch, lr)
            history.append(HistoryPoint(step=step + 1, epoch=epoch, lr=lr, loss=mean_loss))
            progress(done, mean_loss)
            loss_sum, since = None, 0
    return history


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
