"""Training steps with our 3×3 convolution and with torch's own, on a CPU, side by side.

    make bench NAME=tiny_maps
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 make bench NAME=tiny_maps   # as on such a CPU

Forward and backward pass of the networks whose last maps have at most 2×2 pixels, on random images,
in each precision given; `accrete.models._convolution` says what is different. Each round has both,
one after the other.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from record import RESULTS, shown, summarize, table, write_results

from accrete.core.processes import share_cpus_well

share_cpus_well()  # before torch is imported, as a step does

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from accrete.config.run import ModelConfig  # noqa: E402
from accrete.models._convolution import Conv3x3  # noqa: E402
from accrete.models.networks import build_model  # noqa: E402

CASES = {"digits": ("small", 1, 8), "small": ("small", 3, 32), "vgg19": ("vgg19", 3, 32)}
"""Network, channels and side of the images, by case."""


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", default="digits,vgg19", help=f"some of {','.join(CASES)}")
    parser.add_argument("--precisions", default="fp32", help="fp32,bf16 or one of them")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each in a round, at least")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    return parser.parse_args(arguments)


class TrainingSteps:
    """Forward and backward passes of one network on one batch."""

    def __init__(self, case: str, precision: str, batch_size: int, *, plain: bool) -> None:
        """Build the network; `plain` with torch's convolutions."""
        name, channels, side = CASES[case]
        model = build_model(ModelConfig(name=name), channels=channels, num_classes=10, seed=0)
        if plain:
            for module in model.modules():
                if isinstance(module, Conv3x3):
                    module.__class__ = nn.Conv2d
        self._model = model.to(memory_format=torch.channels_last).train()
        images = torch.randn(batch_size, channels, side, side)
        self._images = images.to(memory_format=torch.channels_last)
        self._labels = torch.randint(10, (batch_size,))
        self._is_bf16 = precision == "bf16"

    def images_per_s(self, seconds: float) -> float:
        """Return the rate of as many steps as fill a time."""
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            with torch.autocast("cpu", torch.bfloat16, enabled=self._is_bf16):
                logits = self._model(self._images)
            functional.cross_entropy(logits.float(), self._labels).backward()
            self._model.zero_grad()
            count += len(self._labels)
        return count / (time.perf_counter() - started)


def measure(case: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of both convolutions, and ours over torch's within each round."""
    loops = {
        name: TrainingSteps(case, precision, options.batch_size, plain=name == "torch")
        for name in ("ours", "torch")
    }
    for loop in loops.values():
        loop.images_per_s(0)
    rounds = [
        {name: loop.images_per_s(options.seconds) for name, loop in loops.items()}
        for _ in range(options.rounds)
    ]
    found = {name: summarize(rates[name] for rates in rounds) for name in loops}
    return found | {"ratio": summarize(rates["ours"] / rates["torch"] for rates in rounds)}


def main() -> None:
    """Measure, print the table, store the raw values."""
    options = parse_options(sys.argv[1:])
    results = {
        f"{case}, {precision}": measure(case, precision, options)
        for case in options.cases.split(",")
        for precision in options.precisions.split(",")
    }
    results_rows = [
        [
            what,
            shown(found["ours"], "{:,.0f}"),
            shown(found["torch"], "{:,.0f}"),
            shown(found["ratio"]),
        ]
        for what, found in results.items()
    ]
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{capability}, {torch.get_num_threads()} threads\n")
    print(table(["network", "ours, images/s", "torch's, images/s", "ratio"], results_rows))
    results["capability"] = capability
    write_results("tiny_maps", options=vars(options), results=results, folder=options.results)


if __name__ == "__main__":
    main()
