"""`resume.py`, part `restart`: from the start of a training step to its first step after a kill."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from inputs import one_stage, source_of
from record import shown, summarize, table

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import dump_dataset
from accrete.catalog.records import dump_record, make_record
from accrete.config.recipe import Recipe
from accrete.core.environment import ENV_CACHE, ENV_SNAPSHOT_INTERVAL
from accrete.data.prepare import prepare_dataset
from accrete.store.keys import parse_snapshot_key, snapshot_prefix
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreAddress, StoreSettings

NUM_STEPS = 399
"""Of the stage: below 400, progress is told of after every step."""
SNAPSHOT_S = 0.5
"""Between snapshots, until there is one to go on from."""
NEVER_S = 1e5
WAIT_S = 1800.0
NODES = {"same node": "the shards are in its cache", "new node": "its cache is empty"}


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of an attempt."""

    name: str
    """What begins."""
    at_s: float
    """Wall clock."""


class RestartedStep:
    """A training step of a run with one stage, with its artifacts in files."""

    def __init__(self, options: argparse.Namespace, settings: StoreSettings, folder: Path) -> None:
        """Prepare the data set and write the artifacts."""
        source = source_of(options, options.source)
        self._folder = folder
        self._store = ObjectStore(settings, StoreAddress("accrete", "resume/"))
        plan = one_stage(source, options.model).plan
        epochs = (NUM_STEPS + 0.5) * Recipe().batch_size / plan.stages[-1].num_images
        config = one_stage(source, options.model, budget_epochs=epochs)
        catalog = Catalog(self._store)
        dataset = prepare_dataset(source, plan, catalog, folder, lambda _: lambda _: None).manifest
        chain = stage_chain(config, dataset)
        self._stage = chain[0].digest
        (folder / "dataset").write_bytes(dump_dataset(dataset))
        record = make_record("restart", config, dataset.digest, chain)
        (folder / "plan").write_bytes(dump_record(record))
        self._arguments = {
            "stages": [1.0],
            "run_name": "restart",
            "store_uri": str(self._store.address),
            "dataset_path": str(folder / "dataset"),
            "plan_path": str(folder / "plan"),
            "parent_path": None,
            "model_path": str(folder / "model"),
        }

    def start(self, cache: str, interval_s: float) -> "subprocess.Popen[str]":
        """Start an attempt on the node with this cache."""
        program = str(Path(__file__).with_name("resume_child.py"))
        places = {
            ENV_CACHE: str(self._folder / cache),
            ENV_SNAPSHOT_INTERVAL: str(interval_s),
        }
        return subprocess.Popen(
            [sys.executable, program, json.dumps(self._arguments)],
            env=os.environ | self._store.settings.as_environment() | places,
            stdout=subprocess.PIPE,
            text=True,
        )

    def position(self) -> int:
        """Return the step of the furthest snapshot, 0 where there is none."""
        found = map(parse_snapshot_key, self._store.list_keys(snapshot_prefix(self._stage)))
        return max((parsed[0] for parsed in found if parsed), default=0)


def measure(options: argparse.Namespace, settings: StoreSettings, folder: Path) -> dict[str, Any]:
    """Kill the step once a snapshot is stored, then start it again as often as asked for."""
    step = RestartedStep(options, settings, folder)
    _kill_after_a_snapshot(step)
    position = step.position()
    result: dict[str, Any] = {"position": position}
    for node in NODES:
        attempts = []
        for number in range(options.restarts):
            cache = "first" if node == "same node" else f"new-{number}"
            attempts.append(_first_step(step, cache))
        result[node] = _summary(attempts)
    if step.position() != position:
        raise RuntimeError(f"snapshot {position} is gone: the attempts did not start alike")
    return result


def _kill_after_a_snapshot(step: RestartedStep) -> None:
    """Train until there is a snapshot; end that by SIGKILL.

    Raises:
        RuntimeError: the stage ended before.
    """
    process = step.start("first", SNAPSHOT_S)
    deadline = time.monotonic() + WAIT_S
    while not step.position() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    if process.returncode != -signal.SIGKILL or not step.position():
        raise RuntimeError(f"the stage ended with {process.returncode} before it had a snapshot")


def _first_step(step: RestartedStep, cache: str) -> list[Mark]:
    """Start the step, kill it at its first progress and return the moments on the way.

    Raises:
        RuntimeError: it ended before.
    """
    marks = [Mark("interpreter", time.time())]
    process = step.start(cache, NEVER_S)
    assert process.stdout is not None
    for line in process.stdout:
        arrived_s = time.time()
        if line.startswith("mark "):
            _, name, at_s = line.split()
            marks.append(Mark(name, float(at_s)))
        elif "stage 1/1" in line:
            marks.append(Mark("progress", arrived_s))
            break
    process.kill()
    process.communicate()
    if marks[-1].name != "progress":
        raise RuntimeError(f"the step ended with {process.returncode} before its first progress")
    return marks


def _summary(attempts: list[list[Mark]]) -> dict[str, Any]:
    """Return the seconds from start to progress, and those of each part on the way."""
    parts: dict[str, list[float]] = {}
    for marks in attempts:
        for begun, ended in pairwise(marks):
            parts.setdefault(begun.name, []).append(ended.at_s - begun.at_s)
    return {
        "total_s": summarize(marks[-1].at_s - marks[0].at_s for marks in attempts),
        "parts_s": {name: summarize(seconds) for name, seconds in parts.items()},
    }


def as_table(result: dict[str, Any]) -> str:
    """Return a table of the seconds to the first step."""
    names = list(result["same node"]["parts_s"])
    rows = [[name, *(shown(result[node]["parts_s"][name]) for node in NODES)] for name in names]
    rows.append(["all", *(shown(result[node]["total_s"]) for node in NODES)])
    return table(["start to first step, s", *NODES], rows)
