"""What only a GPU shows: images per second, and images and seconds to the paper's accuracy.

    make bench NAME=gpu ARGS="--data CIFAR100"
    make bench NAME=gpu ARGS="--parts search,accuracy --minutes 25"

Everything is a piece (`pieces.py`): a run of `--minutes` does as many as it can, the next one goes
on. In this order:

| part | pieces |
| --- | --- |
| tests | `tests/gpu` |
| ceilings | bf16 products of random matrices, and copies in device memory, of this GPU |
| rates | VGG-19 on resident images by batch size: launched, recorded (a CUDA graph), compiled too |
| profile | the kernels that a recorded step and a compiled one spend their time in |
| start | seconds until a process has the stage code, and until it has the GPU as well |
| search | changes of the recipe `fast`, from scratch, on a seed that is reported nowhere |
| accuracy | staged (α = 1 from 10) and from scratch, two budgets, with what the search found |
| arrival | a search for a better recipe of the stage that extends a finished model |
| extension | a finished model of 80 classes is taught the other 20, at some budgets |
| life | 50 classes, then ten at a time: extended at each arrival, and trained anew at each |
| paper | the paper's headline as `paper_tables.py` has it, in bf16, into its results file |
| seeds | as accuracy, more budgets and seeds |

All from search on run chains of stages with `accrete.stages.run.run_stage` on an embedded store, as
the pipeline does, and keep each stage's seconds of pull, growth, training, evaluation and push. On
the same machine a chain that was ended in the middle goes on from its stages and snapshots.

`--miniature` does all of it with a tiny network on random images and the digits, on a CPU too.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import add_data_option
from pieces import Piece, PiecesFailedError, parse_piece_options, read_pieces, run_pieces

from accrete.core.processes import share_cpus_well

if TYPE_CHECKING:  # torch is imported once the CPUs are shared
    from gpu_chains import Chains

ROOT = Path(__file__).parent.parent
CHAINS = ("search", "accuracy", "arrival", "extension", "life")
PARTS = ("tests", "ceilings", "rates", "profile", "start", *CHAINS, "paper", "seeds")
BATCH_SIZES = {
    "recorded": (128, 512, 1024, 2048),
    "eager": (128, 512, 1024, 2048),
    "recorded, TF32": (128, 512),
    "compiled": (512, 128, 2048),
}
PROFILED_BATCHES = (512, 128)
PROFILED = ("recorded", "compiled")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_data_option(parser)
    options = parse_piece_options(parser, arguments, PARTS)
    options.name = "gpu_miniature" if options.miniature else "gpu"
    return options


def run_gpu_tests() -> dict[str, Any]:
    """Run `tests/gpu`; return how it ended and its last lines."""
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "--durations=0", "tests/gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("  ")]
    return {"exit_code": done.returncode, "lines": lines[-60:]}


def pieces_of(options: argparse.Namespace, chains: "Chains | None") -> Iterator[Piece]:
    """Yield the pieces of the wanted parts, in order."""
    from gpu_rates import Rates, ceilings, process_start

    tiny = options.miniature
    rates = Rates(miniature=tiny)
    if "tests" in options.parts:
        yield Piece("tests", 60, run_gpu_tests)
    if "ceilings" in options.parts:
        yield Piece("ceilings", 10, lambda: ceilings(size=256 if tiny else 8192))
    for how, sizes in BATCH_SIZES.items():
        if "rates" in options.parts:
            for size in (8,) if tiny else sizes:
                name = f"rate, {how}, batch {size}"
                expected_s = 50 if how == "compiled" else 8
                yield Piece(name, expected_s, lambda how=how, size=size: rates.rate(how, size))
        if "profile" in options.parts and how in PROFILED:
            for size in (8,) if tiny else PROFILED_BATCHES:
                name = f"profile, {how}, batch {size}"
                yield Piece(name, 10, lambda how=how, size=size: rates.profile(how, size))
    if "start" in options.parts:
        yield Piece("start", 60, process_start)
    for part in CHAINS:
        if chains is not None and part in options.parts:
            yield from getattr(chains, part)()


def paper_pieces(options: argparse.Namespace, chains: "Chains") -> Iterator[Piece]:
    """Yield the cells of the paper's headline, the shorter one first."""
    from paper_cells import FULL, MINIATURE, cells_of
    from paper_tables import STOP_GRADIENT, measure

    scale = MINIATURE if options.miniature else FULL
    cells = cells_of(scale, precision="bf16", stop_gradient=STOP_GRADIENT)
    from_scratch = next(made for made in cells if made.part == "scratch")
    staged = next(made for made in cells if made.label == "staged, rule 5.6 million")
    for made in (staged, from_scratch):
        num_images = made.num_images(scale.images_per_class)
        expected_s = chains.expected_s(num_images, len(made.cell.stage_sizes))
        yield Piece(f"{made.label}, seed 0", expected_s, partial(measure, made, chains.bench))


def main() -> None:
    """Do what fits the time, print the tables of all that is done."""
    options = parse_options(sys.argv[1:])
    share_cpus_well()
    from gpu_chains import opened_chains
    from gpu_text import report

    from accrete.training.device import set_arithmetic

    set_arithmetic(deterministic=False)
    started = time.monotonic()
    with ExitStack() as held:
        chains = None
        if {*CHAINS, "paper", "seeds"} & set(options.parts):
            read = partial(read_pieces, options.name, options.results)
            chains = held.enter_context(opened_chains(options, read))

        runs: list[tuple[str, Iterator[Piece]]] = [(options.name, pieces_of(options, chains))]
        if chains is not None and "paper" in options.parts:
            paper = f"paper_tables{'_miniature' if options.miniature else ''}_bf16"
            runs.append((paper, paper_pieces(options, chains)))
        if chains is not None and "seeds" in options.parts:
            runs.append((options.name, chains.seeds()))
        failures = []
        for number, (name, pieces) in enumerate(runs):
            try:
                run_pieces(
                    name,
                    pieces,
                    minutes=options.minutes - (time.monotonic() - started) / 60,
                    folder=options.results,
                    at_least_one=number == 0,
                )
            except PiecesFailedError as error:
                failures.append(str(error))
    print(report(read_pieces(options.name, options.results)))
    if failures:
        raise SystemExit("; ".join(failures))


if __name__ == "__main__":
    main()
