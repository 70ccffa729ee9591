"""`goodput.py`, what is measured: costs of snapshots and starts, and real kills of a real stage."""

import argparse
import os
import random
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import resume_restart
from goodput_model import GoodputCosts, kept_s_of
from record import summarize
from resume_kills import NEVER_S, Attempt, Victim, run_attempt
from resume_snapshots import Stages, stalls_timed

from accrete.errors import InputError
from accrete.stages.observer import StageObserver
from accrete.store.settings import StoreSettings

CALIBRATION_S = 0.2
"""Between the snapshots that are measured."""


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
    stages.context = replace(stages.context, observer=writes)
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


def costs_of(snapshots: dict[str, Any], start_s: float, away_s: float) -> GoodputCosts:
    """Return the model's inputs; a cost below the stall is noise."""
    stall_s, write_s = snapshots["stall_s"]["median"], snapshots["write_s"]["median"]
    cost_s = max(stall_s, snapshots["cost_s"]["median"])
    return GoodputCosts(
        stall_s=stall_s,
        write_s=write_s,
        slowdown=(cost_s - stall_s) / write_s,
        start_s=start_s,
        away_s=away_s,
    )


def run_noted(attempt: Attempt, notes: str) -> None:
    """Run an attempt that leaves the moment of each step in a file, which outlives a kill."""
    from accrete.stages import snapshots

    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    watcher: Any = snapshots.SnapshotWatcher
    wants_state = watcher.wants_state

    def noted(self: Any) -> bool:
        # A step that a snapshot slowed down says nothing of the step's own speed.
        is_free = self._upload is None or not self._upload.is_alive()
        os.write(file, f"{time.monotonic()} {int(is_free)}\n".encode())
        return bool(wants_state(self))

    watcher.wants_state = noted
    run_attempt(attempt)


def real_kills(
    options: argparse.Namespace, settings: StoreSettings, folder: Path, snapshots: dict[str, Any]
) -> list[dict[str, Any]]:
    """Kill a stage at exponential times, and compare what it kept with what the model says.

    The model gets the very lives that the processes had, and the speed and starts that they
    themselves had, so that chance and the machine's neighbours do not come in.
    """
    points = []
    for number, (interval_s, mtbf_s) in enumerate(options.points):
        rng = random.Random(number)
        victim = Victim(f"kills-{number}", options.kill_epochs, settings, folder)
        lives = []
        for kill in range(-1, options.kills):
            notes = folder / f"notes-{number}-{kill}"
            known, began = victim.position(), time.monotonic()
            process = victim.start(interval_s, run_noted, str(notes))
            if kill < 0:  # the first one imports what the others are forked with
                victim.wait_beyond(known, process)
                first_s = 0.0
            else:
                first_s = rng.expovariate(1 / mtbf_s)
            process.join(first_s)
            process.kill()
            process.join()
            ended = time.monotonic()
            if kill < 0:
                before = victim.position()
            else:
                lives.append(_Life(began, ended, notes))
        starts = [life.start_s for life in lives if life.start_s is not None]
        if not starts:
            raise InputError(
                f"no process that lived for {mtbf_s:g} s on average came to its first step:"
                " give --points with longer lives"
            )
        start_s = summarize(starts)
        free, beside = (
            [seconds for life in lives for seconds in life.steps_s[is_free]]
            for is_free in (True, False)
        )
        # Short lives may have seen none of one kind.
        step_s = fmean(free) if free else snapshots["step_s"]["median"]
        slow_step_s = max(step_s, fmean(beside)) if beside else step_s
        costs = replace(
            costs_of(snapshots, start_s["median"], 0.0),
            slowdown=1 - step_s / slow_step_s,
        )
        total_s = sum(life.seconds for life in lives)
        kept = victim.position() - before
        modelled_s = sum(
            kept_s_of(costs, interval_s, life.seconds - costs.start_s) for life in lives
        )
        points.append(
            {
                "interval_s": interval_s,
                "mtbf_s": mtbf_s,
                "kills": options.kills,
                "kept_steps": kept,
                "total_s": total_s,
                "start_s": start_s,
                "step_s": step_s,
                "step_beside_a_snapshot_s": slow_step_s,
                "goodput": kept * step_s / total_s,
                "modelled": modelled_s / total_s,
            }
        )
    return points


class _Life:
    """A process from its start to its kill."""

    def __init__(self, began: float, ended: float, notes: Path) -> None:
        lines = notes.read_text().splitlines() if notes.exists() else []
        moments = [float(line.split()[0]) for line in lines]
        is_free = [line.endswith(" 1") for line in lines]
        self.seconds = ended - began
        self.steps_s: dict[bool, list[float]] = {True: [], False: []}
        for (before, after), free in zip(pairwise(moments), is_free[1:], strict=True):
            self.steps_s[free].append(after - before)
        self.start_s = moments[0] - began if moments else None
