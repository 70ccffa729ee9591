"""What only a GPU shows: images per second, and images and seconds to the paper's accuracy.

    make bench NAME=gpu ARGS="--data CIFAR100"
    make bench NAME=gpu ARGS="--parts search,accuracy --minutes 25"

Everything is a piece (`pieces.py`): a run of `--minutes` does as many as it can, the next one goes
on. In this order:

| part | pieces |
| --- | --- |
| tests | `tests/gpu` |
| ceilings | bf16 products of random matrices, and copies in device memory, of this GPU |
| rates | VGG-19 on resident images at each batch size: eager, compiled, with CUDA graphs |
| profile | the kernels that an eager step and a compiled one spend their time in |
| start | seconds until a process has the stage code, and until it has the GPU as well |
| search | one change of the recipe `fast` at a time, staged, on seeds that are reported nowhere |
| accuracy | staged (α = 1 from 10) and from scratch, some budgets, the reported seeds |

Search and accuracy run chains of stages with `accrete.stage.run_stage` on an embedded store, as the
pipeline does, and keep each stage's seconds of pull, growth, training, evaluation and push. On the
same machine a chain that was ended in the middle goes on from its stages and snapshots. What the
search found is for a person to put into `CHOSEN` (gpu_chains.py) before `accuracy` runs: that is
part of the names of its pieces.

`--miniature` does all of it with a tiny network on random images and the digits, on a CPU too.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import add_data_option, source_of
from pieces import Piece, parse_piece_options, read_pieces, run_pieces

from accrete.processes import share_cpus_well

if TYPE_CHECKING:  # torch is imported once the CPUs are shared
    from gpu_chains import Chains

ROOT = Path(__file__).parent.parent
PARTS = ("tests", "ceilings", "rates", "profile", "start", "search", "accuracy")
BATCH_SIZES = (128, 256, 512, 1024, 2048, 4096)
PROFILED_BATCH = 512


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_data_option(parser)
    options = parse_piece_options(parser, arguments, PARTS)
    options.name = "gpu_miniature" if options.miniature else "gpu"
    return options


def run_gpu_tests() -> dict[str, Any]:
    """Run `tests/gpu`; return how it ended and its last lines."""
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "tests/gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("  ")]
    return {"exit_code": done.returncode, "lines": lines[-12:]}


def pieces_of(options: argparse.Namespace, chains: "Chains | None") -> Iterator[Piece]:
    """Yield the pieces of the wanted parts, in order."""
    from gpu_rates import Rates, ceilings, process_start

    tiny = options.miniature
    sizes = (8,) if tiny else BATCH_SIZES
    profiled = 8 if tiny else PROFILED_BATCH
    rates = Rates(None if tiny else source_of(options))
    if "tests" in options.parts:
        yield Piece("tests", 120, run_gpu_tests)
    if "ceilings" in options.parts:
        yield Piece("ceilings", 20, lambda: ceilings(size=256 if tiny else 8192))
    for how in ("eager", "compiled", "graphs"):
        expected_s = 15 if how == "eager" else 75
        if "rates" in options.parts:
            for size in sizes:
                name = f"rate, {how}, batch {size}"
                yield Piece(name, expected_s, lambda how=how, size=size: rates.rate(how, size))
        if "profile" in options.parts and how != "graphs":
            name = f"profile, {how}, batch {profiled}"
            yield Piece(name, expected_s, lambda how=how: rates.profile(how, profiled))
    if "start" in options.parts:
        yield Piece("start", 60, process_start)
    if chains is not None and "search" in options.parts:
        yield from chains.search()
    if chains is not None and "accuracy" in options.parts:
        yield from chains.accuracy()


def main() -> None:
    """Do what fits the time, print the tables of all that is done."""
    options = parse_options(sys.argv[1:])
    share_cpus_well()
    from gpu_chains import opened_chains
    from gpu_text import report

    from accrete.device import set_arithmetic

    set_arithmetic(deterministic=False)
    with ExitStack() as held:
        chains = None
        if {"search", "accuracy"} & set(options.parts):
            known = read_pieces(options.name, options.results)
            chains = held.enter_context(opened_chains(options, known))
        done = run_pieces(
            options.name,
            pieces_of(options, chains),
            minutes=options.minutes,
            folder=options.results,
        )
    print(report(done))


if __name__ == "__main__":
    main()
