"""Training images per second: our training loop, a plain PyTorch loop, and Avalanche's.

    make bench NAME=throughput ARGS="--data CIFAR100"
    make bench NAME=throughput ARGS="--data CIFAR100 --model vgg19 --batch-sizes 128,512,2048"

All loops are in one process and take turns: in each round every loop does `--steps` steps on the
real CIFAR-100, the first `--warmup` of them untimed, and the order rotates from round to round. A
round before the first one warms up; in it the loops with a DataLoader try the worker counts of
`--workers` and keep the quickest. Reported are median and quartiles over the rounds of the images
per second, and of each round's ratio to the plain loop and to Avalanche's.

| name | what it is |
| --- | --- |
| ours | `accrete.training.loop.train`, recipe `fast`: bf16, channels_last, resident images |
| ours, fp32 | the same in fp32, for a comparison of equals |
| ours, compiled | the first with the trunk under torch.compile; on a GPU only |
| plain PyTorch | fp32, torchvision's transforms on each image, DataLoader, loss.item() a step |
| Avalanche | Cumulative on one experience, fp32, the same transforms, its default evaluator |

Every loop reads its loss as it does in earnest: ours about 200 times in a stage of the recipe's
budget, on the device in between. On a GPU all of them have TF32 and cuDNN's tuning, which ours
switches on; time is taken after torch.cuda.synchronize(). All have our thread settings
(`accrete.core.processes.share_cpus_well`). The number of images that each network was given is
counted, and must be that of the others.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import add_data_option, source_of
from record import RESULTS, shown, summarize, table, write_results

from accrete.config.run import SourceConfig
from accrete.core.processes import share_cpus_well

if TYPE_CHECKING:  # torch is imported once the CPUs are shared
    from throughput_loops import Loop, Setting

BASELINES = ("plain PyTorch", "Avalanche")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_data_option(parser)
    parser.add_argument("--model", default="small", help="small, vgg19 or torchvision:NAME")
    parser.add_argument("--batch-sizes", default="128", help="images per step, e.g. 128,512")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loop")
    parser.add_argument("--steps", type=int, default=60, help="steps of a turn")
    parser.add_argument("--warmup", type=int, default=10, help="of them untimed, at least 1")
    parser.add_argument("--precisions", default="bf16,fp32", help="of our loop, one or both")
    parser.add_argument("--workers", default="0,2", help="DataLoader workers to try")
    parser.add_argument("--images", type=int, help="load only so many [default: all]")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    if not 0 < options.warmup < options.steps:
        parser.error(f"--warmup is {options.warmup}: it must be from 1 to below --steps")
    return options


def load(source: SourceConfig, num_images: int | None) -> dict[str, Any]:
    """Return the training images, labels, number of classes and normalization of a source."""
    import numpy as np

    from accrete.config.image_format import Normalization
    from accrete.data.images import decode_image
    from accrete.data.sources.opening import open_source

    opened = open_source(source)
    labels = {name: label for label, name in enumerate(opened.counts()["train"])}
    items = [item for item in opened.items() if item.split == "train"][:num_images]
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(lambda item: decode_image(item.load(), item.place), items))
    images = np.stack(pixels)
    scaled = images.reshape(-1, 3) / np.float32(255)
    return {
        "images_NHWC": images,
        "labels_N": np.array([labels[item.class_name] for item in items]),
        "num_classes": len(labels),
        "normalization": Normalization(
            mean=tuple(scaled.mean(0, np.float64).tolist()),
            std=tuple(scaled.std(0, np.float64).tolist()),
        ),
    }


def make_loops(setting: "Setting", precisions: str) -> tuple[list["Loop"], dict[str, str]]:
    """Return the loops that this machine can run, and why others are left out."""
    from throughput_loops import Ours
    from throughput_rivals import Avalanche, Plain

    left_out = {}
    ours = {
        "bf16": Ours("ours", setting, precision="bf16"),
        "fp32": Ours("ours, fp32", setting, precision="fp32"),
    }
    loops: list[Loop] = [*(ours[precision] for precision in precisions.split(",")), Plain(setting)]
    if find_spec("avalanche"):
        loops.append(Avalanche(setting))
    else:
        left_out["Avalanche"] = "avalanche-lib is not installed: pip install '.[bench]'"
    if setting.device.type != "cuda":
        left_out["ours, compiled"] = "there is no GPU"
    elif shutil.which("cc") is None:
        left_out["ours, compiled"] = "there is no C compiler, which Triton needs"
    else:
        loops.append(Ours("ours, compiled", setting, precision="bf16", compiled="inductor"))
    return loops, left_out


class Race:
    """Turns of all loops at one batch size."""

    def __init__(self, setting: "Setting", options: argparse.Namespace) -> None:
        """Set the loops up."""
        self._setting, self._options = setting, options
        self._loops, self._left_out = make_loops(setting, options.precisions)
        self._num_images = dict.fromkeys((loop.name for loop in self._loops), 0)

    def run(self) -> dict[str, Any]:
        """Warm up, run all rounds and return what came of it."""
        for loop in self._loops:
            self._warm_up(loop)
        rounds = [self._round(number) for number in range(self._options.rounds)]
        return {
            "batch_size": self._setting.batch_size,
            "left_out": self._left_out,
            "loops": {loop.name: self._summary(loop, rounds) for loop in self._loops},
        }

    def _warm_up(self, loop: "Loop") -> None:
        """Do a turn untold; of a loop with workers, one for each count, to keep the quickest."""
        if loop.num_workers is None:
            self._turn(loop)
            return
        rates = {}
        for count in map(int, self._options.workers.split(",")):
            loop.num_workers = count
            rates[count] = self._turn(loop)
        loop.num_workers = max(rates, key=lambda count: rates[count])

    def _round(self, number: int) -> dict[str, float]:
        """Let every loop take a turn, another one first each time; return images per second."""
        first = number % len(self._loops)
        rates = {loop.name: self._turn(loop) for loop in self._loops[first:] + self._loops[:first]}
        print(f"round {number + 1}: {rates}", file=sys.stderr, flush=True)
        return rates

    def _turn(self, loop: "Loop") -> float:
        """Let a loop do its steps; return its images per second.

        Raises:
            RuntimeError: its network was given another number of images than it should.
        """
        from throughput_loops import Turn

        steps = self._options.steps
        turn = Turn(self._setting, num_steps=steps, num_warmup=self._options.warmup)
        with loop.counting(turn):
            loop.train(turn)
        if turn.num_images != steps * self._setting.batch_size:
            raise RuntimeError(
                f"{loop.name} trained on {turn.num_images} images in {steps} steps of "
                f"{self._setting.batch_size}: the loops cannot be compared"
            )
        self._num_images[loop.name] += turn.num_images
        return turn.images_per_s

    def _summary(self, loop: "Loop", rounds: list[dict[str, float]]) -> dict[str, Any]:
        return {
            "images_per_s": summarize(rates[loop.name] for rates in rounds),
            "num_workers": loop.num_workers,
            "num_images": self._num_images[loop.name],
            "over": {
                name: summarize(rates[loop.name] / rates[name] for rates in rounds)
                for name in BASELINES
                if name in rounds[0] and name != loop.name
            },
        }


def rows_of(result: dict[str, Any]) -> list[list[str]]:
    """Return the table's rows of one batch size."""
    rows = []
    for name, loop in result["loops"].items():
        workers = "–" if loop["num_workers"] is None else str(loop["num_workers"])
        ratios = [shown(loop["over"][b]) if b in loop["over"] else "–" for b in BASELINES]
        rate = shown(loop["images_per_s"], "{:,.0f}")
        rows.append([str(result["batch_size"]), name, workers, rate, *ratios])
    return rows


def main() -> None:
    """Run the races, print the table and write the results."""
    options = parse_options(sys.argv[1:])
    source = source_of(options)
    share_cpus_well()
    from throughput_loops import Setting

    from accrete.training.device import compute_device, set_arithmetic

    set_arithmetic(deterministic=False)
    images = load(source, options.images)
    results = []
    for batch_size in map(int, options.batch_sizes.split(",")):
        setting = Setting(
            **images, model=options.model, batch_size=batch_size, device=compute_device()
        )
        results.append(Race(setting, options).run())
    headers = ["batch", "loop", "workers", "images/s", *(f"over {name}" for name in BASELINES)]
    print(table(headers, [row for result in results for row in rows_of(result)]))
    for name, reason in results[0]["left_out"].items():
        print(f"Left out: {name}: {reason}.")
    write_results("throughput", options=vars(options), results=results, folder=options.results)


if __name__ == "__main__":
    main()
