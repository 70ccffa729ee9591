"""`goodput.py`, what is measured: costs of snapshots and starts, and real kills of a real stage."""

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import resume_restart
from goodput_model import Costs, kept_s_of
from record import summarize
from resume_kills import NEVER_S, Victim
from resume_snapshots import Stages, stalls_timed

from accrete.settings import StoreSettings
from accrete.stage_observer import StageObserver

CALIBRATION_S = 0.1
"""Between the snapshots that are measured."""
_STARTS = 5


class _WriteTimes(StageObserver):
    """Notes the seconds from a snapshot's copy until it is stored."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def snapshot_stored(self, num_bytes: int, seconds: float) -> None:  # noqa: ARG002
        self.seconds.append(seconds)


def snapshot_costs(
    options: argparse.Namespace, settings: StoreSettings, folder: Path
) -> dict[str, Any]:
    """Train the stage with snapshots and without, in turns; return what each one takes."""
    stages = Stages(options, settings, folder)
    writes = _WriteTimes()
    stages.place = replace(stages.place, observer=writes)
    step_s, with_s, stalls = [], [], []
    budget = options.steps * options.batch_size / stages.num_images
    stages.train(budget, NEVER_S)  # the first one warms up
    for _ in range(options.rounds):
        step_s.append(stages.train(budget, NEVER_S).train_s / options.steps)
        with stalls_timed():
            trained = stages.train(budget, CALIBRATION_S)
        with_s.append(trained.train_s / options.steps)
        stalls += trained.stalls_s
    per_snapshot = [
        options.rounds * options.steps * (slow - quick) / len(stalls)
        for quick, slow in zip(step_s, with_s, strict=True)
    ]
    return {
        "step_s": summarize(step_s),
        "stall_s": summarize(stalls),
        "write_s": summarize(writes.seconds),
        "cost_s": summarize(per_snapshot),
    }


def start_costs(
    options: argparse.Namespace, settings: StoreSettings, folder: Path
) -> dict[str, Any]:
    """Return the seconds from the start of a killed stage's next process to its first step."""
    measured = resume_restart.measure(options, settings, folder)
    return {node: measured[node]["total_s"] for node in resume_restart.NODES}


def costs_of(snapshots: dict[str, Any], start_s: float, away_s: float) -> Costs:
    """Return the model's inputs; a cost below the stall is noise."""
    stall_s, write_s = snapshots["stall_s"]["median"], snapshots["write_s"]["median"]
    cost_s = max(stall_s, snapshots["cost_s"]["median"])
    return Costs(
        stall_s=stall_s,
        write_s=write_s,
        slowdown=(cost_s - stall_s) / write_s,
        start_s=start_s,
        away_s=away_s,
    )


def real_kills(
    options: argparse.Namespace, settings: StoreSettings, folder: Path, snapshots: dict[str, Any]
) -> list[dict[str, Any]]:
    """Kill a stage at exponential times, and compare what it kept with what the model says.

    The model gets the very lives that the processes had, so that chance does not come in.
    """
    start_s = _start_s(settings, folder, snapshots)
    costs = costs_of(snapshots, start_s["median"], 0.0)
    points = []
    for interval_s, mtbf_s in options.points:
        rng = random.Random(0)
        name = f"kills-{interval_s:g}-{mtbf_s:g}"
        victim = Victim(name, options.kill_epochs, settings, folder)
        lives_s = []
        for _ in range(options.kills):
            process, began = victim.start(interval_s), time.monotonic()
            process.join(rng.expovariate(1 / mtbf_s))
            process.kill()
            process.join()
            lives_s.append(time.monotonic() - began)
        kept_s = victim.position() * snapshots["step_s"]["median"]
        modelled_s = sum(kept_s_of(costs, interval_s, life - costs.start_s) for life in lives_s)
        points.append(
            {
                "interval_s": interval_s,
                "mtbf_s": mtbf_s,
                "kills": options.kills,
                "steps": victim.position(),
                "total_s": sum(lives_s),
                "start_s": start_s,
                "goodput": kept_s / sum(lives_s),
                "modelled": modelled_s / sum(lives_s),
            }
        )
    return points


def _start_s(settings: StoreSettings, folder: Path, snapshots: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of a start as `real_kills` makes it, forked from a warm process."""
    seconds = []
    victim = Victim("starts", 1e4, settings, folder)
    after_start_s = sum(snapshots[part]["median"] for part in ("step_s", "stall_s", "write_s"))
    for _ in range(_STARTS + 1):
        known = victim.position()
        began = time.monotonic()
        process = victim.start(0.0)
        victim.wait_beyond(known, process)
        seconds.append(max(0.0, time.monotonic() - began - after_start_s))
        process.kill()
        process.join()
    return summarize(seconds[1:])  # the first one imports what the others are forked with
