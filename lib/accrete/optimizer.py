"""SGD as a schedule has it, and its momentum by parameter name."""

import torch
from torch import Tensor, nn

from accrete.recipe import StageSchedule


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


def gradient_norm(optimizer: torch.optim.SGD, schedule: StageSchedule, num_steps: int) -> float:
    """Return the norm of the gradient, smoothed as momentum smooths it, weight decay included.

    One batch's gradient is mostly noise; momentum sums those of about 1/(1 - momentum) batches,
    with weights that fall off. Divided by the sum of the weights it is their mean.

    Args:
        optimizer: after some steps.
        schedule: of the stage.
        num_steps: steps since momentum was zero, at least 1. Where it was carried over from another
            stage, those of this one: the first few norms are too large then, never too small.
    """
    buffers = [state.get("momentum_buffer") for state in optimizer.state.values()]
    gradients = [buffer for buffer in buffers if buffer is not None]
    if not gradients:  # momentum 0
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [parameter.grad for parameter in parameters]
    norms = torch.stack(torch._foreach_norm(gradients))
    momentum = schedule.momentum
    return float(norms.norm()) * (1 - momentum) / (1 - momentum**num_steps)
