"""The precision that a stage trains in, and which one is the quicker where its recipe says `auto`.

bf16 halves what an image moves through memory, and has units of its own on GPUs since 2020 and on
some CPUs. Without units a CPU converts each number back and forth: 4 to 20 times slower than fp32.
With them it depends on the network, the size of its images and the threads, so they are tried.

A stage keeps the precision that it began with: it is part of what an attempt hands on to the next.
"""

import copy
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import torch
from torch import Tensor, nn

from accrete.config.schedule import StageSchedule
from accrete.core.hashing import sha256_of_json
from accrete.training.device import bf16_units
from accrete.training.optimizer import make_optimizer
from accrete.training.step import OptimizerStep

LEAST_GAIN = 1.2
"""By which bf16 must be quicker: more than what a busy machine makes of two that are equal."""

_MOST_TURNS, _ENOUGH_S = 40, 1.0


def choose_precision(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    schedule: StageSchedule,
    *,
    choices: Path,
    notice: Callable[[str], None] = lambda _text: None,
) -> str:
    """Return `bf16` or `fp32`: what a stage's recipe says, or the quicker one here.

    On a CPU with bf16 units both do some steps, on copies of the model, once for a machine, a
    network, a batch and an image size; later stages go by what was found then.

    Args:
        model: on the training device.
        batches: to try steps on.
        schedule: of the stage.
        choices: folder of this machine that keeps what was found.
        notice: told what the steps showed.
    """
    if schedule.precision != "auto":
        return schedule.precision
    device = next(model.parameters()).device
    units = bf16_units(device)
    if device.type == "cuda":
        return "fp32" if units is None else "bf16"
    if units is None or schedule.deterministic:  # a try may end this way today, that way tomorrow
        return "fp32"
    images_BCHW, labels_B = next(batches)
    note = choices / f"{_key(model, images_BCHW)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError, ZeroDivisionError):  # damaged, or none
        return _quicker(json.loads(note.read_bytes())["images_per_s"])
    rates = measured_rates(model, (images_BCHW, labels_B), schedule)
    found = _quicker(rates)
    notice(
        f"precision {found}: a try of both here gave {rates['bf16']:,.0f} images/s in bf16 "
        f"({units}), {rates['fp32']:,.0f} in fp32"
    )
    with suppress(OSError):  # another stage tries again, then
        choices.mkdir(parents=True, exist_ok=True)
        part = choices / f"{note.name}.{uuid4().hex}"
        part.write_text(json.dumps({"images_per_s": rates}))
        part.replace(note)
    return found


def measured_rates(
    model: nn.Module, batch: tuple[Tensor, Tensor], schedule: StageSchedule
) -> dict[str, float]:
    """Return training images per second of a batch in `bf16` and in `fp32`, the best of turns.

    Args:
        model: on a CPU; copies of it are trained.
        batch: images float32 (B, C, H, W) and labels (B,).
        schedule: of the stage.
    """
    steps = {}
    for name in ("bf16", "fp32"):
        copied = copy.deepcopy(model).train()
        named = replace(schedule, precision=name)
        steps[name] = OptimizerStep(copied, make_optimizer(copied, named), named)
        steps[name](batch, lr=0.0)  # prepares its kernels
    best_s = dict.fromkeys(steps, math.inf)
    started = time.perf_counter()
    for _ in range(_MOST_TURNS):  # turn about: others may use the machine, too
        for name, step in steps.items():
            began = time.perf_counter()
            step(batch, lr=0.0)
            best_s[name] = min(best_s[name], time.perf_counter() - began)
        if time.perf_counter() - started > _ENOUGH_S:
            break
    return {name: len(batch[1]) / seconds for name, seconds in best_s.items()}


def _quicker(images_per_s: dict[str, float]) -> str:
    gain = float(images_per_s["bf16"]) / float(images_per_s["fp32"])
    return "bf16" if gain >= LEAST_GAIN else "fp32"


def _key(model: nn.Module, images_BCHW: Tensor) -> str:
    """Return a name for all that the quicker precision depends on."""
    # The head's size does not matter to it, and differs by stage.
    shapes = [list(parameter.shape) for parameter in model.parameters() if parameter.ndim > 2]
    return sha256_of_json(
        {
            "cpu": _cpu_name(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "weights": shapes,
            "images": list(images_BCHW.shape),
        }
    )


def _cpu_name() -> str:
    """Return the CPU's name, as Linux knows it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "CPU part")):
                return line.partition(":")[2].strip()
    return platform.processor()
