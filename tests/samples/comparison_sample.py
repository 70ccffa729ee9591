"""A comparison of any size: accuracies from a curve and a fixed seed, the rest computed from it."""

import hashlib
import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, groupby
from typing import Any

import numpy as np
from report_sample import make_report

from accrete.reports.statistics import Trial, cost_at, mean_curve

CLASS_IMAGES = 500
SIZES = (10, 10, 20, 40, 20)


def make_frame(purpose: str, num_classes: int = 100) -> dict[str, Any]:
    """Return what comparisons and studies have in common."""
    dataset = make_report([num_classes])["dataset"]
    return {
        "format": 1,
        "purpose": purpose,
        "sweep": {
            "name": f"cifar100-{purpose}-5b1e07",
            "created_at": "2026-11-23T11:00:00Z",
            "accrete_version": "0.1.0",
            "digest": _digest(purpose),
            "rule": "alpha = 1 from 10 classes",
        },
        "config": {
            "source": {"kind": "parquet", "data": "CIFAR100"},
            "model": {"name": "small"},
            "recipe": {"name": "fast", "lr": 0.1, "batch_size": 128},
        },
        "assumptions": ["Weight decay is 0.0005: the paper leaves it open."],
        "dataset": dataset,
    }


def make_comparison(
    *,
    sizes: Sequence[int] = SIZES,
    staged: Sequence[float] = (5, 7),
    scratch: Sequence[float] = (5, 7, 10),
    seeds: Sequence[int] = (0, 1, 2),
    gain: float = 0.012,
    has_test_images: bool = True,
) -> dict[str, Any]:
    """Return a comparison of a plan that adds `sizes` classes with training from scratch.

    Args:
        sizes: classes that each stage adds.
        staged: budgets of the staged trainings, in epochs of all data.
        scratch: budgets of those from scratch; the longest is also tried on fewer classes.
        seeds: repetitions.
        gain: accuracy that staged training has above training from scratch with the same images.
        has_test_images: without them no accuracy is known.
    """
    ends = list(accumulate(sizes))
    total = ends[-1]
    cells = [
        _cell("staged", seed, sizes, budget, gain=gain, total=total)
        for seed in seeds
        for budget in staged
    ]
    for seed in seeds:
        cells += [_cell("scratch", seed, [total], budget, total=total) for budget in scratch]
        for end in ends[:-1] if scratch else []:
            cells.append(_cell("scratch", seed, [end], max(scratch), total=total))
    full = [cell for cell in cells if cell["num_classes"] == ends[-1]]
    speed_ups = [
        _speed_up(full, budget, measure)
        for budget in staged
        for measure in ("images_seen", "train_s")
    ]
    if not has_test_images:
        for row in (*cells, *(stage for cell in cells for stage in cell["stages"])):
            row["top1"] = None
        speed_ups = []
    return make_frame("comparison", ends[-1]) | {
        "cells": cells,
        "groups": _groups(cells),
        "over_classes": [_at(end, cells, max(staged)) for end in ends] if has_test_images else [],
        "speed_ups": speed_ups,
        "method": "The from-scratch curve is interpolated in the logarithm of its cost.",
    }


def _cell(
    kind: str, seed: int, sizes: Sequence[int], budget: float, *, total: int, gain: float = 0
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, len(sizes), sizes[-1], round(100 * budget)])
    stages: list[dict[str, Any]] = []
    ends = list(accumulate(sizes))
    for index, end in enumerate(ends, 1):
        is_last = index == len(sizes)
        images_seen = round(budget * sizes[-1] * CLASS_IMAGES)
        if len(sizes) > 1:
            share = 0.7 if is_last else 0.3 * end / sum(ends[:-1])
            images_seen = round(share * budget * ends[-1] * CLASS_IMAGES)
        top1 = 0.47 + 0.118 * np.log(budget / 5) - 0.11 * np.log(end / total)
        top1 += gain - (0 if is_last else 0.16) + rng.normal(0, 0.004)
        train_s = images_seen / 1100 * rng.uniform(0.9, 1.1)
        stages.append(
            {
                "index": index,
                "num_classes": end,
                "top1": float(np.clip(top1, 0.01, 0.99)),
                "images_seen": images_seen,
                "train_s": float(train_s),
                "wall_s": float(train_s * 1.1 + 2),
            }
        )
    return {
        "name": f"{kind}-{sum(sizes)}-e{budget:g}-s{seed}",
        "kind": kind,
        "seed": seed,
        "stage_sizes": list(sizes),
        "budget_epochs": float(budget),
        "num_classes": stages[-1]["num_classes"],
        **{key: sum(s[key] for s in stages) for key in ("images_seen", "train_s", "wall_s")},
        "top1": stages[-1]["top1"],
        "device": "cpu",
        "digest": _digest(f"{kind} {sizes} {budget} {seed}"),
        "stages": stages,
    }


def _groups(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    def key(cell: dict[str, Any]) -> tuple[Any, ...]:
        return cell["kind"], cell["num_classes"], cell["budget_epochs"]

    groups = []
    for (kind, num_classes, budget), members in groupby(sorted(cells, key=key), key):
        rows = list(members)
        top1 = [row["top1"] for row in rows]
        known = None not in top1
        means = {
            m: statistics.fmean(r[m] for r in rows) for m in ("images_seen", "train_s", "wall_s")
        }
        groups.append(
            {
                "kind": kind,
                "num_classes": num_classes,
                "budget_epochs": budget,
                "num_seeds": len(rows),
                **means,
                "top1": statistics.fmean(top1) if known else None,
                "top1_low": min(top1) if known else None,
                "top1_high": max(top1) if known else None,
            }
        )
    return groups


def _at(num_classes: int, cells: Sequence[dict[str, Any]], budget: float) -> dict[str, Any]:
    staged = [
        stage["top1"]
        for cell in cells
        if cell["kind"] == "staged" and cell["budget_epochs"] == budget
        for stage in cell["stages"]
        if stage["num_classes"] == num_classes
    ]
    scratch_cells = [c for c in cells if (c["kind"], c["num_classes"]) == ("scratch", num_classes)]
    longest = max((cell["budget_epochs"] for cell in scratch_cells), default=0)
    scratch = [cell["top1"] for cell in scratch_cells if cell["budget_epochs"] == longest]

    def summary(top1: Sequence[float]) -> dict[str, Any] | None:
        if not top1:
            return None
        return {
            "top1": statistics.fmean(top1),
            "low": min(top1),
            "high": max(top1),
            "num_seeds": len(top1),
        }

    return {"num_classes": num_classes, "staged": summary(staged), "scratch": summary(scratch)}


def _speed_up(cells: Sequence[dict[str, Any]], budget: float, measure: str) -> dict[str, Any]:
    def trials(is_wanted: Callable[[dict[str, Any]], bool]) -> list[Trial]:
        return [
            Trial(
                budget=cell["budget_epochs"],
                seed=cell["seed"],
                cost=cell[measure],
                top1=cell["top1"],
            )
            for cell in cells
            if is_wanted(cell)
        ]

    point = trials(lambda cell: cell["kind"] == "staged" and cell["budget_epochs"] == budget)
    ((cost, top1),) = mean_curve(point)
    other = cost_at(top1, mean_curve(trials(lambda cell: cell["kind"] == "scratch")))
    ratio = None if other is None else other / cost
    return {
        "budget_epochs": float(budget),
        "measure": measure,
        "top1": top1,
        "num_seeds": len(point),
        "staged_cost": cost,
        "scratch_cost": other,
        "ratio": ratio,
        "low": ratio and 0.95 * ratio,
        "high": ratio and 1.06 * ratio,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
