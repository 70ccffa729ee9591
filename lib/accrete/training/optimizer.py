"""SGD as a schedule has it, and its momentum by parameter name."""

import torch
from torch import Tensor, nn

from accrete.config.schedule import StageSchedule


class Sgd:
    """Stochastic gradient descent with momentum: torch's fused kernel, called directly.

    torch.optim.SGD(fused=True) ends with the same bits (a test holds them together), but the first
    optimizer that a process makes has it import torch's compiler: seconds, for nothing here.
    """

    def __init__(self, parameters: list[nn.Parameter], schedule: StageSchedule) -> None:
        """Take parameters, all on one device, and the schedule's values."""
        self._parameters, self._schedule = parameters, schedule
        self.lr: float | Tensor = schedule.lr
        """Of the next step; on a GPU a scalar there, which a recorded step reads anew."""
        self.momentum: dict[nn.Parameter, Tensor] = {}
        """Buffers; empty before the first step and where the schedule has no momentum."""

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters that have a gradient, by it."""
        schedule = self._schedule
        changed: list[Tensor] = []
        gradients: list[Tensor] = []
        buffers: list[Tensor] = []
        is_first = not self.momentum
        for parameter in self._parameters:
            if parameter.grad is None:
                continue
            changed.append(parameter)
            gradients.append(parameter.grad)
            if schedule.momentum:
                if parameter not in self.momentum:
                    empty = torch.empty_like if is_first else torch.zeros_like
                    self.momentum[parameter] = empty(parameter.grad)
                buffers.append(self.momentum[parameter])
        torch._fused_sgd_(
            changed,
            gradients,
            buffers,
            weight_decay=schedule.weight_decay,
            momentum=schedule.momentum,
            lr=self.lr,
            dampening=0.0,
            nesterov=schedule.nesterov,
            maximize=False,
            is_first_step=is_first and bool(buffers),
        )

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @property
    def gradients(self) -> list[Tensor]:
        """Of the parameters that have one."""
        return [p.grad for p in self._parameters if p.grad is not None]


def make_optimizer(model: nn.Module, schedule: StageSchedule) -> Sgd:
    """Return SGD as the schedule has it; build it after the head has grown."""
    return Sgd(list(model.parameters()), schedule)


def momentum_of(model: nn.Module, optimizer: Sgd) -> dict[str, Tensor]:
    """Return the momentum buffer of each parameter, by name; none before the first step."""
    named = model.named_parameters()
    return {name: optimizer.momentum[p] for name, p in named if p in optimizer.momentum}


def load_momentum(model: nn.Module, optimizer: Sgd, momentum: dict[str, Tensor]) -> None:
    """Give an optimizer momentum buffers, by parameter name."""
    for name, parameter in model.named_parameters():
        if name in momentum:
            optimizer.momentum[parameter] = torch.empty_like(parameter).copy_(momentum[name])


def gradient_norm(optimizer: Sgd, schedule: StageSchedule, num_steps: int) -> float:
    """Return the norm of the gradient, smoothed as momentum smooths it, weight decay included.

    One batch's gradient is mostly noise; momentum sums those of about 1/(1 - momentum) batches,
    with weights that fall off. Divided by the sum of the weights it is their mean.

    Args:
        optimizer: after some steps.
        schedule: of the stage.
        num_steps: steps since momentum was zero, at least 1. Where it was carried over from another
            stage, those of this one: the first few norms are too large then, never too small.
    """
    gradients = list(optimizer.momentum.values()) or optimizer.gradients  # these: momentum 0
    norms = torch.stack(torch._foreach_norm(gradients))
    momentum = schedule.momentum
    return float(norms.norm()) * (1 - momentum) / (1 - momentum**num_steps)
