"""Whether to compile a stage's trunk, and where the compiled code is kept.

Compiling changes the order of additions, so it is decided once for a whole stage and stored with
it; a resumed attempt does as the first one did.
"""

import copy
import shutil
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from accrete.config.schedule import StageSchedule
from accrete.training.optimizer import make_optimizer
from accrete.training.recorded_step import NUM_EAGER_STEPS, make_step

COLD_COMPILE_S = 15.0
"""What compiling VGG-19's trunk, forward and backward, takes: 14.5 and 16 s on an H200 whose host
has 16 cores, torch 2.11 (docs/benchmarks.md)."""

TIME_SAVED = 0.2
"""Part of a recorded step that fused kernels save: 0.18 at batch 128 and 0.24 at 512, there."""

_TRIED_STEPS = 10


def compile_trunk(trunk: nn.Module, backend: str = "inductor") -> None:
    """Have a trunk compiled when it is called first, in place; its weights' names stay.

    Its forward method is, since torch 2.11 compiles nothing of a Sequential whose `compile` is
    called, and does not say so.

    Args:
        trunk: of a network that is to be trained.
        backend: of torch.compile.
    """
    trunk.forward = torch.compile(trunk.forward, dynamic=False, backend=backend)


def compiling_pays(
    model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], schedule: StageSchedule
) -> bool:
    """Decide for a stage, from what its recipe says and how long its steps take.

    Args:
        model: on the training device, not compiled; a copy of it does a few steps.
        batches: to try steps on.
        schedule: of the stage.
    """
    if schedule.compile != "auto":
        return schedule.compile == "always"
    device = next(model.parameters()).device
    if device.type != "cuda" or shutil.which("cc") is None:  # Triton builds its launcher with it
        return False
    as_it_is_s = schedule.num_steps * _step_time_s(copy.deepcopy(model), batches, schedule)
    return TIME_SAVED * as_it_is_s > COLD_COMPILE_S


def _step_time_s(
    model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], schedule: StageSchedule
) -> float:
    """Return the seconds of a step that is not compiled; the first ones warm up."""
    step = make_step(
        model.train(),
        make_optimizer(model, schedule),
        schedule,
        num_parts=1,
        notice=lambda _text: None,
    )
    started = 0.0
    num_warmup = NUM_EAGER_STEPS + 2
    for number in range(num_warmup + _TRIED_STEPS):
        if number == num_warmup:
            torch.cuda.synchronize()
            started = time.perf_counter()
        step(next(batches), lr=0.0)
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / _TRIED_STEPS
