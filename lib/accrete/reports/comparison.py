"""Staged training beside training from scratch: a finished comparison's figures.

Pure: works on manifests that were read already.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from accrete.catalog.manifests import StageManifest
from accrete.config.sweep import Cell, Sweep
from accrete.reports.statistics import Trial, cost_at, mean_curve, speed_up

METHOD = (
    "Both sides use the same recipe, model, data and seeds; each learning rate is shaped over its "
    "own budget. The staged runs are a point: their mean cost and mean top-1. The runs from "
    "scratch on all classes, at several budgets, are a curve of mean top-1 over mean cost, "
    "interpolated in the logarithm of the cost. The ratio is the curve's cost at the point's "
    "accuracy over the point's cost; outside the budgets tried there is none. The spread is the "
    "5th to 95th percentile over draws of the seeds, with replacement, on both sides."
)

Manifests = Mapping[str, Sequence[StageManifest]]
"""The stages of each cell, in order, by the cell's name."""


def comparison_figures(sweep: Sweep, manifests: Manifests) -> dict[str, Any]:
    """Return the part of a comparison's report that is about its runs, as JSON values.

    Args:
        sweep: of staged cells and of cells from scratch.
        manifests: all stages of all cells.
    """
    cells = [_cell_figures(cell, manifests[cell.name]) for cell in sweep.cells]
    return {
        "cells": cells,
        "groups": _groups(cells),
        "over_classes": _over_classes(cells),
        "speed_ups": _speed_ups(cells),
        "method": METHOD,
    }


def _cell_figures(cell: Cell, stages: Sequence[StageManifest]) -> dict[str, Any]:
    rows = [
        {
            "index": stage.index,
            "num_classes": len(stage.class_names),
            "top1": stage.result.top1,
            "images_seen": stage.result.images_seen,
            "train_s": stage.times.train_s,
            "wall_s": sum(asdict(stage.times).values()),
        }
        for stage in stages
    ]
    totals = {name: sum(row[name] for row in rows) for name in ("images_seen", "train_s", "wall_s")}
    return {
        "name": cell.name,
        "kind": cell.kind,
        "seed": cell.seed,
        "stage_sizes": list(cell.stage_sizes),
        "budget_epochs": cell.recipe.budget_epochs,
        "num_classes": cell.num_classes,
        **totals,
        "top1": stages[-1].result.top1,
        "device": stages[-1].trained_on,
        "digest": stages[-1].digest,
        "stages": rows,
    }


def _groups(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over seeds of cells that differ in nothing else."""
    groups: dict[tuple[str, int, float], list[dict[str, Any]]] = {}
    for cell in cells:
        key = (cell["kind"], cell["num_classes"], cell["budget_epochs"])
        groups.setdefault(key, []).append(cell)
    rows = []
    for (kind, num_classes, budget), group in groups.items():
        found = _spread([cell["top1"] for cell in group])
        rows.append(
            {
                "kind": kind,
                "num_classes": num_classes,
                "budget_epochs": budget,
                "num_seeds": len(group),
                **{
                    name: statistics.mean(cell[name] for cell in group)
                    for name in ("images_seen", "train_s", "wall_s")
                },
                "top1": found and found["top1"],
                "top1_low": found and found["low"],
                "top1_high": found and found["high"],
            }
        )
    return rows


def _spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Return mean, least and greatest; None where there are no test images."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {
        "top1": statistics.mean(known),
        "low": min(known),
        "high": max(known),
        "num_seeds": len(known),
    }


def _over_classes(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the accuracy at each number of classes: staged, and from scratch on as many epochs."""
    staged = [cell for cell in cells if cell["kind"] == "staged"]
    budgets = {cell["budget_epochs"] for cell in staged}
    scratch = [
        cell for cell in cells if cell["kind"] == "scratch" and cell["budget_epochs"] in budgets
    ]
    found: dict[int, dict[str, list[float | None]]] = {}
    for kind, some in (("staged", staged), ("scratch", scratch)):
        for cell in some:
            for stage in cell["stages"]:
                at = found.setdefault(stage["num_classes"], {"staged": [], "scratch": []})
                at[kind].append(stage["top1"])
    return [
        {
            "num_classes": num_classes,
            "staged": _spread(values["staged"]),
            "scratch": _spread(values["scratch"]),
        }
        for num_classes, values in sorted(found.items())
    ]


def _speed_ups(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the staged runs save at equal accuracy, in images and in seconds."""
    staged = [cell for cell in cells if cell["kind"] == "staged" and cell["top1"] is not None]
    if not staged:
        return []
    num_classes = staged[0]["num_classes"]
    scratch = [
        cell
        for cell in cells
        if cell["kind"] == "scratch"
        and cell["num_classes"] == num_classes
        and cell["top1"] is not None
    ]
    rows = []
    for measure in ("images_seen", "train_s"):
        point, curve = _trials(staged, measure), _trials(scratch, measure)
        ratio = speed_up(point, curve)
        rows.append(
            {
                "budget_epochs": staged[0]["budget_epochs"],
                "measure": measure,
                "num_seeds": len(staged),
                "staged_cost": statistics.mean(trial.cost for trial in point),
                "scratch_cost": cost_at(ratio.top1, mean_curve(curve)),
                **asdict(ratio),
            }
        )
    return rows


def _trials(cells: Sequence[dict[str, Any]], measure: str) -> list[Trial]:
    return [
        Trial(budget=c["budget_epochs"], seed=c["seed"], cost=c[measure], top1=c["top1"])
        for c in cells
    ]
