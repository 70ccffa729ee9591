"""The paper's tables on the real CIFAR-100, through the stage code that the pipeline runs.

    make bench NAME=paper_tables ARGS="--data CIFAR100 --minutes 9"
    make bench NAME=paper_tables ARGS="--parts table2,table1 --precision bf16"
    make bench NAME=paper_tables ARGS="--document docs/reproduction.md"

Every cell is a piece (`pieces.py`): a run of `--minutes` does as many as it can, the next one goes
on; on the same machine a cell that was ended in the middle goes on from its last snapshot.
In this order:

| part | cells |
| --- | --- |
| scratch | 100 and 90 classes, 300 epochs |
| staged | α = 1 from 10 classes, by two rules of when a stage ends |
| figure2 | from scratch at 10, 20, 40 and 80 classes |
| rules | two more rules; from scratch with fewer epochs, for the ratio at equal accuracy |
| table2 | the nine runs of Table II, most informative first |
| table1 | the fourteen cells of Table I |
| spread | Table II again, the rate shaped over the whole run |

The recipe is `paper` and computes in fp32; what `--precision bf16` measures goes to a results file
of its own. `--document` trains nothing and puts the tables of all that was recorded into a file.
`--miniature` does all of it with a small network on the digits, on a CPU too.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import DATA_VARIABLE, add_data_option
from paper_cells import FULL, MINIATURE, PARTS, PaperCell, Scale, cells_of
from paper_text import recorded_figures, report, with_figures
from pieces import Piece, parse_piece_options, read_pieces, run_pieces

from accrete.cli.study import STOP_GRADIENT
from accrete.core.processes import share_cpus_well

if TYPE_CHECKING:  # torch is imported once the CPUs are shared
    from samples_to_accuracy import AccuracyBench

STAGE_OVERHEAD_S = 5.0
"""Pull, growth, evaluation and push of a stage, about."""

SNAPSHOT_INTERVAL_S = 30.0
"""300 epochs are one stage, which may be longer than a machine is lent for at a time."""


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_data_option(parser)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--stop-gradient", type=float, default=STOP_GRADIENT, help="for Table I")
    parser.add_argument("--document", type=Path, help="put the tables here, train nothing")
    options = parse_piece_options(parser, arguments, PARTS)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}: give at least 1")
    if not (options.miniature or options.document or options.data):
        parser.error(f"CIFAR-100 is nowhere: give --data FOLDER or set {DATA_VARIABLE}")
    small = "_miniature" if options.miniature else ""
    options.name = f"paper_tables{small}{'_bf16' if options.precision == 'bf16' else ''}"
    return options


def pieces_of(
    options: argparse.Namespace, scale: Scale, bench: "AccuracyBench", known: Any
) -> Iterator[Piece]:
    """Yield the cells of the wanted parts, seed by seed within a part."""
    from gpu_chains import images_per_s

    rate = images_per_s(known.values())
    how = {"precision": options.precision, "stop_gradient": options.stop_gradient}
    for made in cells_of(scale, **how, seeds=range(options.seeds)):
        if made.part in options.parts:
            expected_s = made.num_images(scale.images_per_class) / rate
            expected_s += STAGE_OVERHEAD_S * len(made.cell.stage_sizes)
            name = f"{made.label}, seed {made.cell.seed}"
            yield Piece(name, expected_s, partial(measure, made, bench))


def measure(made: PaperCell, bench: "AccuracyBench") -> dict[str, Any]:
    """Train a cell, or what is left of it; return accuracy, images and seconds of its stages."""
    from gpu_chains import chain_result

    manifests = bench.chain(made.cell.stage_sizes, made.cell.recipe, made.cell.seed)
    result = chain_result(manifests) | {
        "cell": made.label,
        "seed": made.cell.seed,
        "converged": [m.result.images_seen < m.schedule.num_images_seen for m in manifests],
    }
    is_of_table2 = made.part in ("table2", "spread")
    if is_of_table2:  # up to 91 checkpoints with momentum, 160 MB each with VGG-19
        bench.discard(manifests)
    return result


def main() -> None:
    """Do what fits the time, print the tables of all that is done."""
    options = parse_options(sys.argv[1:])
    if options.document is not None:
        figures = recorded_figures(options.results, options.stop_gradient)
        options.document.write_text(with_figures(options.document.read_text(), figures))
        return
    share_cpus_well()
    from samples_to_accuracy import AccuracyBench

    from accrete.catalog.catalog import Catalog
    from accrete.core.settings import home_path
    from accrete.store.embedded import embedded_store
    from accrete.store.object_store import ObjectStore
    from accrete.store.settings import parse_store_uri
    from accrete.training.device import set_arithmetic

    set_arithmetic(deterministic=False)
    scale = MINIATURE if options.miniature else FULL
    wanted = argparse.Namespace(
        source="digits" if options.miniature else "parquet",
        data="" if options.miniature else str(options.data),
        model="small" if options.miniature else "vgg19",
    )
    with embedded_store(home_path()) as settings:
        store = ObjectStore(settings, parse_store_uri("s3://accrete/bench-paper"))
        bench = AccuracyBench(wanted, Catalog(store), snapshot_interval_s=SNAPSHOT_INTERVAL_S)
        known = read_pieces(options.name, options.results)
        done = run_pieces(
            options.name,
            pieces_of(options, scale, bench, known),
            minutes=options.minutes,
            folder=options.results,
        )
    print(report(done, scale, options.stop_gradient))


if __name__ == "__main__":
    main()
