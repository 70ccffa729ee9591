"""Seconds that are not training: from a step's start to its first batch, and of whole local runs.

    make bench NAME=start_up

| part | what is measured |
| --- | --- |
| steps | each of a pipeline's steps as a process of its own, as a pod runs it: how long it takes |
| runs | `accrete run` of the digits in four stages, and the same run given again |

A training step is timed up to its first batch; one whose stage exists, `prepare` and `report` to
their end. All of them find the data set in the store. A run's time is the command's, the embedded
store's start included; the share is what its stages' training loops took of it. Each round is a run
of its own, with a seed of its own; the round before the first warms the page cache.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inputs import one_stage
from record import RESULTS, shown, summarize, table, write_results

from accrete.config.run import RunConfig, SourceConfig
from accrete.core.environment import ENV_CACHE, ENV_HOME
from accrete.core.serialization import to_json, without_nones
from accrete.store.embedded import embedded_store
from accrete.store.settings import StoreSettings

CHILD = Path(__file__).with_name("start_up_child.py")
STEPS = ("prepare", "train, to the first batch", "train, reused", "report")
RUNS = ("run", "training", "share", "again")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of steps; a third as many of runs")
    parser.add_argument("--parts", default="steps,runs", help="one or both")
    parser.add_argument("--precision", default="auto", help="of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    return parser.parse_args(arguments)


class StartUpSteps:
    """The steps of runs with one stage of the digits, with their artifacts in a folder."""

    def __init__(self, settings: StoreSettings, folder: Path) -> None:
        """Use a store that runs."""
        self._folder = folder
        self._environment = os.environ | settings.as_environment() | {ENV_CACHE: str(folder)}
        self._environment["_KFP_RUNTIME"] = "true"  # as a component's command has it: kfp is small

    def round(self, number: int) -> dict[str, float]:
        """Run all steps of a run that no round before had; return the seconds of each."""
        config = one_stage(SourceConfig(kind="digits"), "small", budget_epochs=1.0)
        return {
            "prepare": self._prepare(number, replace(config, seed=number)),
            "train, to the first batch": self._train(number, is_new=True),
            "train, reused": self._train(number, is_new=False),
            "report": self._seconds(
                "report_step",
                **self._common(number),
                model_path=self._path("model"),
                html_path=self._path("report.html"),
                json_path=self._path("report.json"),
            ),
        }

    def _prepare(self, number: int, config: RunConfig) -> float:
        return self._seconds(
            "prepare_step",
            **self._common(number),
            config=without_nones(to_json(config)),
            num_stages=1,
            dataset_path=self._path("dataset"),
        )

    def _train(self, number: int, *, is_new: bool) -> float:
        return self._seconds(
            "train_step",
            **self._common(number),
            is_new=is_new,
            stages=[1],
            dataset_path=self._path("dataset"),
            parent_path=None,
            model_path=self._path("model"),
        )

    def _common(self, number: int) -> dict[str, str]:
        return {
            "run_name": f"round-{number}",
            "store_uri": "s3://accrete/start-up",
            "plan_path": self._path("plan"),
        }

    def _path(self, name: str) -> str:
        return str(self._folder / name)

    def _seconds(self, step: str, **arguments: Any) -> float:
        """Return what a step takes: to its first batch where it has one, else to its end."""
        started = time.time()
        done = subprocess.run(
            [sys.executable, str(CHILD), step, json.dumps(arguments)],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        ended = time.time()
        if done.returncode:
            raise SystemExit(f"{step} failed:\n{done.stdout}\n{done.stderr}")
        lines = [line for line in done.stdout.splitlines() if line.startswith("first batch ")]
        if bool(lines) != bool(arguments.get("is_new")):
            raise SystemExit(f"{step} trained although its stage exists, or did not")
        # A precision that is tried has a first batch, too; the training loop's is the last one.
        return (float(lines[-1].split()[-1]) if lines else ended) - started


def time_runs(number: int, precision: str, home: Path) -> dict[str, float]:
    """Run the digits twice under one name; return seconds, and the share of training."""
    name = f"round-{number}"
    command = [*(sys.executable, "-m", "accrete.cli"), "run", "--name", name]
    command += ["--seed", str(number), "--precision", precision]
    seconds = []
    for _ in range(2):
        started = time.time()
        subprocess.run(
            command, env=os.environ | {ENV_HOME: str(home)}, check=True, capture_output=True
        )
        seconds.append(time.time() - started)
    report = json.loads((home / "runs" / name / "report.json").read_text())
    training = float(report["totals"]["train_s"])
    return {
        "run": seconds[0],
        "training": training,
        "share": training / seconds[0],
        "again": seconds[1],
    }


def main() -> None:
    """Measure, print the table, store the raw values."""
    options = parse_options(sys.argv[1:])
    parts = options.parts.split(",")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="accrete-start-up-") as name:
        if "steps" in parts:
            folder, home = Path(name) / "steps", Path(name) / "home"
            folder.mkdir()
            with embedded_store(home) as settings:
                steps = StartUpSteps(settings, folder)
                rounds = [steps.round(number) for number in range(1 + options.rounds)][1:]
            results |= {step: summarize(r[step] for r in rounds) for step in STEPS}
        if "runs" in parts:
            number_of_runs = max(1, options.rounds // 3)
            runs = [
                time_runs(number, options.precision, Path(name) / "home")
                for number in range(1 + number_of_runs)
            ][1:]
            results |= {what: summarize(r[what] for r in runs) for what in RUNS}
    rows = [[what, shown(found)] for what, found in results.items()]
    print(table(["what", "seconds, or share"], rows))
    write_results("start_up", options=vars(options), results=results, folder=options.results)


if __name__ == "__main__":
    main()
