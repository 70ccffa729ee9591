"""A finished lifecycle study's figures, as JSON values.

Pure: works on manifests that were read already.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from accrete.catalog.manifests import StageManifest
from accrete.config.contestants import CONTESTANTS, SCRATCH, schedule_text
from accrete.config.sweep import Cell, Sweep
from accrete.reports.comparison import Manifests
from accrete.reports.lifecycle import (
    MARGIN,
    MEASURES,
    Chains,
    Intervals,
    Ladder,
    Measure,
    Measured,
    Needed,
    Reference,
    Seeds,
    Total,
    mean_of,
    needed,
    needed_total,
    one_budget_total,
    tuned,
)

METHOD = (
    "From scratch is trained on each number of classes at each budget of a ladder; the smallest "
    "budget whose mean accuracy on validation images is within {margin:g} points of the ladder's "
    "best is its tuned one (where a larger budget had less, both have their mean, since chance "
    "alone makes one budget better), and the test accuracy there is what the others are held to. A "
    "contestant trains one first stage, and then each arrival as an extension of its own, a chain "
    "for each budget. It is as good at an arrival where its mean test accuracy is at most "
    "{margin:g} points lower; what that costs is interpolated between its budgets in the logarithm "
    "of the cost, each arrival coming after earlier ones of the same budget. ≤ marks the least "
    "budget, where it is good enough already. Beyond the budgets tried there is no figure. "
    "Intervals are the 5th to 95th percentile over draws of the seeds, with replacement, from "
    "scratch and the contestant apart; where a ratio is that of some draws, the contestant is not "
    "as good at every arrival in the others. All seeds share one class order and one split."
)


def lifecycle_figures(sweep: Sweep, manifests: Manifests) -> dict[str, Any]:
    """Return the part of a lifecycle's report that is about its runs.

    Args:
        sweep: a lifecycle.
        manifests: all stages of all cells.
    """
    seeds = sorted({cell.seed for cell in sweep.cells})
    intervals = Intervals(seeds)
    ladders = _ladders(sweep, manifests)
    scratch = {number: _scratch(number, ladders[number], seeds, intervals) for number in ladders}
    sizes = dict.fromkeys(cell.stage_sizes for cell in sweep.cells if cell.kind != SCRATCH)
    stages = [stage for cell in sweep.cells for stage in manifests[cell.name]]
    return {
        "margin": MARGIN,
        "seeds": seeds,
        "devices": sorted({stage.trained_on for stage in stages}),
        "versions": sorted({stage.versions for stage in stages}),
        "scratch": list(scratch.values()),
        "schedules": [
            _schedule(each, ladders, _contestants(each, sweep, manifests), seeds, intervals)
            for each in sizes
        ],
        "cells": [_cell(cell, manifests[cell.name]) for cell in sweep.cells],
        "method": METHOD.format(margin=100 * MARGIN),
    }


def _ladders(sweep: Sweep, manifests: Manifests) -> dict[int, Ladder]:
    """Return from scratch by number of classes."""
    found: dict[int, dict[float, dict[int, Measured]]] = {}
    for cell in sweep.cells:
        if cell.kind == SCRATCH:
            assert cell.recipe.budget_epochs is not None
            by_budget = found.setdefault(cell.num_classes, {})
            (stage,) = measured(manifests[cell.name])
            by_budget.setdefault(cell.recipe.budget_epochs, {})[cell.seed] = stage
    return dict(sorted(found.items()))


def measured(stages: Sequence[StageManifest]) -> list[Measured]:
    """Return what was measured of each stage of a run."""
    found: list[Measured] = []
    for stage in stages:
        result = stage.result
        before = found[-1].top1 if found else None
        lost = None if before is None or result.top1_old is None else before - result.top1_old
        found.append(
            Measured(
                images=result.images_seen,
                seconds=stage.times.train_s,
                top1=result.top1,
                validation=result.validation_top1,
                top1_old=result.top1_old if stage.num_old_classes else None,
                top1_new=result.top1_new,
                lost=lost,
            )
        )
    return found


def _scratch(number: int, ladder: Ladder, seeds: Seeds, intervals: Intervals) -> dict[str, Any]:
    """Return from scratch on one number of classes."""
    found = tuned(ladder, seeds)

    def accuracy(some: Seeds, _: Seeds) -> float | None:
        drawn = tuned(ladder, some)
        return None if drawn is None else drawn.top1

    return {
        "num_classes": number,
        "tuned": None if found is None else found._asdict(),
        "interval": intervals.of(accuracy),
        "budgets": [
            {"budget_epochs": budget, **_means([by_seed[seed] for seed in seeds])}
            for budget, by_seed in sorted(ladder.items())
        ],
    }


def _means(stages: Sequence[Measured]) -> dict[str, Any]:
    return {
        "images": statistics.fmean(stage.images for stage in stages),
        "seconds": statistics.fmean(stage.seconds for stage in stages),
        "top1": mean_of(stages, lambda stage: stage.top1),
        "validation": mean_of(stages, lambda stage: stage.validation),
        "top1_old": mean_of(stages, lambda stage: stage.top1_old),
        "top1_new": mean_of(stages, lambda stage: stage.top1_new),
        "lost": mean_of(stages, lambda stage: stage.lost),
    }


@dataclass(frozen=True, slots=True)
class _Life:
    """One contestant over one schedule, and what it is held to."""

    chains: Chains
    """Its stages."""
    references: Callable[[Seeds], Sequence[Reference | None]]
    """From scratch at each stage's number of classes, of some repetitions."""
    seeds: Seeds
    """All repetitions."""
    intervals: Intervals
    """Draws of them."""


def _schedule(
    sizes: tuple[int, ...],
    ladders: Mapping[int, Ladder],
    contestants: Mapping[str, Chains],
    seeds: Seeds,
    intervals: Intervals,
) -> dict[str, Any]:
    """Return one schedule: from scratch at its numbers of classes, and each contestant."""
    numbers = list(accumulate(sizes))

    def references(some: Seeds) -> list[Reference | None]:
        return [tuned(ladders[number], some) for number in numbers]

    found = references(seeds)
    known = [reference for reference in found if reference is not None]
    is_known = len(known) == len(found)
    return {
        "schedule": schedule_text(sizes),
        "stage_sizes": list(sizes),
        "num_classes": numbers,
        "scratch": {m: sum(each.cost(m) for each in known) if is_known else None for m in MEASURES},
        "contestants": [
            _named(name) | _contestant(_Life(chains, references, seeds, intervals))
            for name, chains in contestants.items()
        ],
    }


def _contestants(
    sizes: tuple[int, ...], sweep: Sweep, manifests: Manifests
) -> dict[str, dict[float, dict[int, list[Measured]]]]:
    """Return the chains of each contestant over a schedule."""
    chains: dict[str, dict[float, dict[int, list[Measured]]]] = {}
    for cell in sweep.cells:
        if cell.stage_sizes == sizes and cell.arrival is not None:
            assert cell.arrival.budget_epochs is not None
            by_budget = chains.setdefault(cell.kind, {})
            by_seed = by_budget.setdefault(cell.arrival.budget_epochs, {})
            by_seed[cell.seed] = measured(manifests[cell.name])
    return chains


def _named(name: str) -> dict[str, Any]:
    """Return what a contestant is; one that this version does not know has its name alone."""
    known = {each.name: each for each in CONTESTANTS}.get(name)
    return {
        "name": name,
        "title": known.title if known else name,
        "is_adaptive": known is not None and known.is_adaptive,
    }


def _contestant(life: _Life) -> dict[str, Any]:
    """Return what a contestant comes to over a schedule."""
    found = life.references(life.seeds)
    by_seed = next(iter(life.chains.values()))
    first = _means([by_seed[seed][0] for seed in life.seeds])
    begins = found[0]
    behind = None if begins is None or first["top1"] is None else begins.top1 - first["top1"]
    return {
        "first": first | {"behind": behind},
        "arrivals": [_arrival(life, place) for place in range(1, len(found))],
        "needed": {measure: _total(needed_total, life, measure) for measure in MEASURES},
        "one_budget": {measure: _total(one_budget_total, life, measure) for measure in MEASURES},
    }


def _arrival(life: _Life, place: int) -> dict[str, Any]:
    """Return a contestant's figures at one arrival."""
    budgets = [
        {
            "budget_epochs": budget,
            **_means([by_seed[seed][place] for seed in life.seeds]),
            "interval": life.intervals.of(_accuracy(by_seed, place)),
        }
        for budget, by_seed in sorted(life.chains.items())
    ]
    costs = {measure: _needed(life, place, measure) for measure in MEASURES}
    return {"place": place, "needed": costs, "budgets": budgets}


def _needed(life: _Life, place: int, measure: Measure) -> dict[str, Any] | None:
    """Return what an arrival needs, with its interval."""

    def found(scratch: Seeds, others: Seeds) -> Needed | None:
        reference = life.references(scratch)[place]
        if reference is None:
            return None
        return needed(life.chains, place, others, reference.top1 - MARGIN, measure)

    def cost(scratch: Seeds, others: Seeds) -> float | None:
        drawn = found(scratch, others)
        return None if drawn is None else drawn.cost

    whole = found(life.seeds, life.seeds)
    return None if whole is None else whole._asdict() | {"interval": life.intervals.of(cost)}


def _accuracy(
    by_seed: Mapping[int, Sequence[Measured]], place: int
) -> Callable[[Seeds, Seeds], float | None]:
    return lambda _, others: mean_of(
        [by_seed[seed][place] for seed in others], lambda stage: stage.top1
    )


def _total(
    total: Callable[[Chains, Sequence[Reference | None], Seeds, Measure], Total | None],
    life: _Life,
    measure: Measure,
) -> dict[str, Any] | None:
    """Return what a life costs, with the interval of its ratio."""

    def ratio(scratch: Seeds, others: Seeds) -> float | None:
        drawn = total(life.chains, life.references(scratch), others, measure)
        return None if drawn is None else drawn.ratio

    found = total(life.chains, life.references(life.seeds), life.seeds, measure)
    if found is None:
        return None
    spread = life.intervals.spread(ratio)
    return found._asdict() | {
        "ratio": found.ratio,
        "interval": None if spread is None else spread.nearly_always,
        "drawn": None if spread is None else spread._asdict(),
    }


def _cell(cell: Cell, stages: Sequence[StageManifest]) -> dict[str, Any]:
    """Return one training as it was measured."""
    recipe = cell.arrival or cell.recipe
    return {
        "name": cell.name,
        "kind": cell.kind,
        "seed": cell.seed,
        "stage_sizes": list(cell.stage_sizes),
        "budget_epochs": recipe.budget_epochs,
        "images": sum(stage.result.images_seen for stage in stages),
        "seconds": sum(stage.times.train_s for stage in stages),
        "top1": stages[-1].result.top1,
        "digest": stages[-1].digest,
        "stages": [
            {
                "num_classes": len(stage.class_names),
                "images": each.images,
                "seconds": each.seconds,
                "top1": each.top1,
                "validation": each.validation,
                "top1_old": each.top1_old,
                "top1_new": each.top1_new,
                "lost": each.lost,
            }
            for stage, each in zip(stages, measured(stages), strict=True)
        ],
    }
