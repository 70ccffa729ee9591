"""What being resumable costs, how quickly a killed stage goes on, and whether it ends the same.

    make bench NAME=resume ARGS="--data CIFAR100"
    make bench NAME=resume ARGS="--data CIFAR100 --model vgg19 --parts snapshots,restart"
    make bench NAME=resume ARGS="--parts kills --kills 50"

`snapshots`: a stage of about `--seconds` is trained in pairs, once without snapshots and once with
one every `--interval` seconds, the order turned around from pair to pair. Reported are the share of
time that the one took longer, the seconds of each snapshot that this makes, and the share that
follows at the product's own 60 s. Where machine and neighbours vary more than snapshots cost, these
figures are theirs, and may be below zero; two others are firmer: the processor seconds that each
snapshot added, in all threads, and how long the training loop stood still for its copy. What is
written and uploaded meanwhile, a thread does. The test images are left out: evaluating is not
measured.

`restart`: the training step is started as the pipeline starts it, killed (SIGKILL) once a snapshot
is stored, and started again and again, each time until the first line of progress, which follows
the first step. Reported are the seconds from the start of the process, with their parts, on the
node that has the shards in its cache and on a new one.

`kills`: a stage of digits is killed at `--kills` random moments, in training and before it. Its
checkpoint and metrics must have the SHA-256 of those of a run that nothing disturbed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inputs import add_data_option
from record import RESULTS, write_results

from accrete.core.processes import share_cpus_well
from accrete.store.embedded import embedded_store
from accrete.store.settings import StoreSettings

PARTS = ("snapshots", "restart", "kills")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_data_option(parser)
    parser.add_argument("--parts", default=",".join(PARTS), help="which to do")
    parser.add_argument("--source", choices=("cifar100", "digits"), default="cifar100")
    parser.add_argument("--model", default="small", help="small, vgg19 or torchvision:NAME")
    parser.add_argument("--rounds", type=int, default=5, help="snapshots: pairs of stages")
    parser.add_argument("--seconds", type=float, default=60.0, help="snapshots: of each stage")
    parser.add_argument("--interval", type=float, default=10.0, help="snapshots: s between two")
    parser.add_argument("--restarts", type=int, default=5, help="restart: on either node")
    parser.add_argument("--kills", type=int, default=50, help="kills: of the one stage")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    unknown = set(options.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--parts names {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    if options.interval >= options.seconds:
        parser.error(f"--interval is {options.interval:g}: it must be below --seconds")
    return options


Part = Callable[[argparse.Namespace, StoreSettings, Path], dict[str, Any]]


def load_parts() -> dict[str, tuple[Part, Callable[[dict[str, Any]], str]]]:
    """Return what measures each part, and what makes its table."""
    import resume_kills
    import resume_restart
    import resume_snapshots

    modules = {"snapshots": resume_snapshots, "restart": resume_restart, "kills": resume_kills}
    return {name: (module.measure, module.as_table) for name, module in modules.items()}


def main() -> None:
    """Do the parts that are asked for, print their tables and write the results."""
    options = parse_options(sys.argv[1:])
    share_cpus_well()
    parts = load_parts()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home, embedded_store(Path(home)) as settings:
        for name in options.parts.split(","):
            measure, as_table = parts[name]
            folder = Path(home) / name
            folder.mkdir()
            results[name] = measure(options, settings, folder)
            print(as_table(results[name]), flush=True)
    name = "resume_" + options.parts.replace(",", "_")
    write_results(name, options=vars(options), results=results, folder=options.results)


if __name__ == "__main__":
    main()
