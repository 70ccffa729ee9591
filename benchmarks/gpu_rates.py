"""How quick a GPU is at our step: its ceilings, images per second, and where the time goes.

Shape suffixes: N images, H height, W width, C channels.
"""

import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from record import summarize
from throughput_loops import Ours, Setting, Turn

from accrete.config.image_format import Normalization
from accrete.training.device import compute_device

MODES = {
    "eager": ("bf16", False, False),
    "recorded": ("bf16", True, False),
    "recorded, TF32": ("fp32", True, False),
    "compiled": ("bf16", True, True),
}
"""Precision, whether steps are recorded as a CUDA graph, and whether the trunk is compiled."""
NUM_TURNS = 5
IMAGES_OF_A_TURN, MIN_STEPS = 40_960, 24
NUM_IMAGES, NUM_CLASSES = 50_000, 100
"""As CIFAR-100 has them."""


class Rates:
    """Our step on resident images."""

    def __init__(self, *, miniature: bool) -> None:
        """Measure on random images, as many as CIFAR-100 has: they cost a GPU no less than real
        ones. `miniature`: on a few, with a tiny network."""
        self._miniature = miniature
        self._images: dict[str, Any] | None = None

    def rate(self, how: str, batch_size: int) -> dict[str, Any]:
        """Return images/s over NUM_TURNS turns, and the seconds of a first, untold one.

        Args:
            how: of MODES.
            batch_size: images per step.
        """
        loop, setting = self._loop(how, batch_size)
        on_gpu = setting.device.type == "cuda"
        num_steps = 4 if self._miniature else max(MIN_STEPS, IMAGES_OF_A_TURN // batch_size)
        started = time.perf_counter()
        try:
            turn_of(loop, setting, num_steps)
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"[:300]}
        first_s = time.perf_counter() - started
        rates = [turn_of(loop, setting, num_steps) for _ in range(NUM_TURNS)]
        return {
            "images_per_s": summarize(rates),
            "num_steps": num_steps,
            "first_turn_s": first_s,
            "peak_memory_gib": torch.cuda.max_memory_reserved() / 2**30 if on_gpu else None,
        }

    def profile(self, how: str, batch_size: int) -> dict[str, Any]:
        """Return the kernels that take longest: name, calls and microseconds in a step."""
        from torch.profiler import ProfilerActivity, profile

        loop, setting = self._loop(how, batch_size)
        on_gpu = setting.device.type == "cuda"
        try:
            turn_of(loop, setting, 10)
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"[:300]}
        num_steps = 4 if self._miniature else 20
        activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
        with profile(activities=[activity]) as profiler:
            turn_of(loop, setting, num_steps)
        time_of = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        events = sorted(profiler.key_averages(), key=lambda e: -getattr(e, time_of))[:25]
        return {
            "kernels": [
                {
                    "name": event.key[:120],
                    "calls": event.count / num_steps,
                    "us": getattr(event, time_of) / num_steps,
                }
                for event in events
            ]
        }

    def _loop(self, how: str, batch_size: int) -> tuple[Ours, Setting]:
        if self._images is None:
            few = self._miniature
            self._images = (
                _random_images(128, 10) if few else _random_images(NUM_IMAGES, NUM_CLASSES)
            )
        setting = Setting(
            **self._images,
            model="small" if self._miniature else "vgg19",
            batch_size=batch_size,
            device=compute_device(),
        )
        torch.compiler.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        precision, recorded, compiled = MODES[how]
        backend = "aot_eager" if self._miniature else "inductor"  # that one takes a CPU a minute
        loop = Ours(
            how,
            setting,
            precision=precision,
            compiled=backend if compiled else None,
            recorded=recorded,
        )
        return loop, setting


def turn_of(loop: Ours, setting: Setting, num_steps: int) -> float:
    """Do some steps, a quarter of them untimed; return images/s of the others."""
    turn = Turn(setting, num_steps=num_steps, num_warmup=max(1, num_steps // 4))
    loop.train(turn)
    return turn.images_per_s


def _random_images(num_images: int, num_classes: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "images_NHWC": rng.integers(0, 256, (num_images, 32, 32, 3), np.uint8),
        "labels_N": np.arange(num_images) % num_classes,
        "num_classes": num_classes,
        "normalization": Normalization(mean=(0.5,) * 3, std=(0.25,) * 3),
    }


def ceilings(size: int) -> dict[str, Any]:
    """Return TFLOP/s of bf16 matrix products and GB/s of copies, read and written bytes counted.

    Args:
        size: rows and columns of the matrices; the copies are of 64 times as many bytes as one.
    """
    device = compute_device()
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    product_s = _seconds(lambda: left @ right)
    source = torch.randint(0, 256, (64 * 2 * size * size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = _seconds(lambda: target.copy_(source))
    return {
        "bf16_tflop_per_s": summarize(2 * size**3 / s / 1e12 for s in product_s),
        "copy_gb_per_s": summarize(2 * source.numel() / s / 1e9 for s in copy_s),
        "size": size,
    }


def _seconds(work: Any, num_calls: int = 20) -> list[float]:
    """Return the seconds of a call, of five series."""
    found = []
    for series in range(6):
        _wait()
        started = time.perf_counter()
        for _ in range(num_calls):
            work()
        _wait()
        if series:  # the first warms up
            found.append((time.perf_counter() - started) / num_calls)
    return found


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def process_start() -> dict[str, Any]:
    """Return the seconds that a new process takes: for the stage code, and for the GPU as well."""
    code = "import accrete.stages.run, accrete.steps.training_task"
    gpu = f"{code}, torch; torch.zeros(1, device='cuda').item()"
    wanted = {"stage code": code} | ({"and the GPU": gpu} if torch.cuda.is_available() else {})
    return {name: summarize(_process_s(text) for _ in range(5)) for name, text in wanted.items()}


def _process_s(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started
