"""Classes that keep arriving: what it takes to be as good as from scratch at every arrival.

    make bench NAME=lifecycle ARGS="--data CIFAR100"
    make bench NAME=lifecycle ARGS="--data CIFAR100 --scale gpu"
    make bench NAME=lifecycle ARGS="--document docs/lifecycle.md"

Runs `accrete study lifecycle` (docs/lifecycle.md says what it measures) at one of three scales, on
this machine: `cpu` with a small network on 40 classes of CIFAR-100, a quarter of their images,
scaled to 16 px, `gpu` with the paper's VGG-19 on all of it, `miniature` on the digits. Options
after `--` go to the command as they are. What is stored is not trained again, so it goes on where
it was ended.
`--document` trains nothing and puts the tables of all that was recorded into a file.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from inputs import add_data_option, source_of
from lifecycle_text import lifecycle_text
from paper_text import with_figures
from record import RESULTS, write_results
from thinned import thinned

from accrete.core.environment import ENV_HOME
from accrete.core.settings import home_path

SCALES = {
    "cpu": (
        *("--total", "40", "--schedules", "10*4/20,5*4/10,15,5,10/15,1*5"),
        *("--image-size", "16", "--validation-fraction", "0.2", "--model", "small"),
        *("--precision", "bf16", "--weight-decay", "1e-3"),
        *("--scratch-epochs", "40,80,160", "--budgets", "4,8,16,32,64"),
        *("--seeds", "3"),
    ),
    "gpu": (
        *("--schedules", "10*10/50,10*5/20*5/90,1*10/50,5,25,20", "--model", "vgg19"),
        *("--scratch-epochs", "8,16,32", "--budgets", "1,2,4,8", "--seeds", "3"),
    ),
    "miniature": (
        *("--schedules", "4,3*2", "--contestants", "extend,improved", "--seeds", "1"),
        *("--scratch-epochs", "4,12", "--budgets", "2,12", "--precision", "fp32"),
    ),
}
"""The command's options, before those that are given."""

PER_CLASS = {"cpu": 125}
"""Training images of each class, those that are set aside included; others: all that there are."""

KEPT = ("sweep", "config", "dataset", "margin", "seeds", "devices", "versions", "scratch")
"""What of report.json is recorded beside the schedules: not each training."""


def main() -> None:
    """Run one scale, or write the tables of what was recorded into a document."""
    options = _parsed()
    if options.document is not None:
        recorded = sorted(options.results.glob("lifecycle_*.json"))
        texts = [lifecycle_text(json.loads(path.read_text())) for path in recorded]
        document = options.document.read_text()
        options.document.write_text(with_figures(document, "\n".join(texts)))
        return
    name = f"lifecycle-{options.scale}"
    report = _measured(options, name)
    kept = {key: report[key] for key in KEPT}
    kept["schedules"] = report["schedules"]
    kept["config"]["source"] = {"kind": report["config"]["source"]["kind"]}  # not its folder
    path = write_results(
        f"lifecycle_{options.scale}", options=vars(options), results=kept, folder=options.results
    )
    print(lifecycle_text(json.loads(path.read_text())))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu", help="what to run [default: cpu]")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--document", type=Path, help="write the recorded tables into this file")
    parser.add_argument("others", nargs="*", metavar="-- OPTION", help="of accrete study lifecycle")
    add_data_option(parser)
    return parser.parse_args()


def _measured(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return the report of the study, which is run or goes on.

    Raises:
        SystemExit: it failed.
    """
    source = source_of(options, "digits" if options.scale == "miniature" else "cifar100")
    location = source.location
    if location is not None and options.scale in PER_CLASS:
        few = PER_CLASS[options.scale]
        location = str(thinned(Path(location), home_path() / "bench" / f"cifar100-{few}", few))
    where = ["--source", source.kind, *(["--data", location] if location else [])]
    command = [sys.executable, "-m", "accrete.cli", "study", "lifecycle", *where]
    done = subprocess.run(
        [*command, *SCALES[options.scale], *options.others, "--name", name],
        env={**os.environ, ENV_HOME: str(home_path())},
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    report: dict[str, Any] = json.loads((home_path() / "runs" / name / "report.json").read_text())
    return report


if __name__ == "__main__":
    main()
