"""Studies: a grid of runs over (n1, Δn), the paper's Tables I and II. Pure."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from accrete.catalog.manifests import StageManifest
from accrete.config.cost import Measurement
from accrete.config.sweep import Cell, Sweep
from accrete.core.serialization import to_json
from accrete.reports.comparison import Manifests

CONVERGENCE = (
    "A stage has converged when the norm of the gradient, smoothed by momentum, falls below "
    "{gradient:g}, at a fixed learning rate of {lr:g}; it is given up after {epochs:g} epochs."
)
INCREMENTS = (
    "Every run adds the same number of classes in each stage, the last one what is left, and has a "
    "budget of {epochs} over all stages: recipe {recipe}."
)


def study_figures(
    sweep: Sweep, manifests: Manifests, stopped: Mapping[str, str | None]
) -> dict[str, Any]:
    """Return the part of a study's report that is about its cells, as JSON values.

    Args:
        sweep: a study.
        manifests: all stages of all cells.
        stopped: why a stage ended early, None where it used its budget, by the stage's digest.
    """
    is_convergence = sweep.purpose == "convergence"
    rows: list[dict[str, Any]] = []
    known: set[str] = set()
    for cell in sweep.cells:
        if cell.kind == "scratch":
            continue
        stages = manifests[cell.name]
        if not is_convergence:
            rows.append(_run_figures(cell, stages))
            continue
        for number, stage in enumerate(stages):
            if stage.digest not in known:  # a first stage that several cells have in common
                known.add(stage.digest)
                rows.append(_stage_figures(sweep, cell, number, stage, stopped[stage.digest]))
    return {
        "criterion": _criterion(sweep),
        "rows": sorted({row["num_initial"] for row in rows}),
        "columns": sorted({row["num_added"] for row in rows}),
        "cells": rows,
        "baseline": _baseline(sweep, manifests),
    }


def measurements(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a convergence study's stages as `--costs` takes them: those that converged.

    Args:
        figures: from `study_figures`.
    """
    return [
        to_json(
            Measurement(
                old_images=row["num_old_images"],
                new_images=row["num_new_images"],
                images=row["images_seen"],
            )
        )
        for row in figures["cells"]
        if row["converged"]
    ]


def _criterion(sweep: Sweep) -> str:
    recipe = sweep.cells[0].recipe
    if sweep.purpose == "convergence":
        assert recipe.epochs is not None
        return CONVERGENCE.format(
            gradient=recipe.stop_gradient, lr=recipe.lr, epochs=recipe.epochs[-1]
        )
    epochs = recipe.budget_epochs
    said = "its own default" if epochs is None else f"{epochs:g} epochs over all classes"
    return INCREMENTS.format(epochs=said, recipe=recipe.name)


def _images(sweep: Sweep, first: int, end: int) -> int:
    return sum(sweep.class_images[first:end])


def _stage_figures(
    sweep: Sweep, cell: Cell, number: int, stage: StageManifest, stopped: str | None
) -> dict[str, Any]:
    """Return one stage as a cell of the grid; a first stage starts from no class."""
    old, num_classes = stage.num_old_classes, len(stage.class_names)
    num_images = _images(sweep, 0, num_classes)
    return {
        "name": f"{cell.name} stage {number + 1}",
        "seed": cell.seed,
        "num_initial": old,
        "num_added": num_classes - old,
        "num_classes": num_classes,
        "num_old_images": _images(sweep, 0, old),
        "num_new_images": _images(sweep, old, num_classes),
        "digest": stage.digest,
        "images_seen": stage.result.images_seen,
        "num_epochs": stage.result.images_seen / num_images,
        "converged": stopped is not None,
        "stopped": stopped,
        "top1": stage.result.top1,
        "train_s": stage.times.train_s,
        "num_stages": 1,
    }


def _run_figures(cell: Cell, stages: Sequence[StageManifest]) -> dict[str, Any]:
    """Return one run as a cell of the grid."""
    images_seen = sum(stage.result.images_seen for stage in stages)
    return {
        "name": cell.name,
        "seed": cell.seed,
        "num_initial": cell.stage_sizes[0],
        "num_added": cell.stage_sizes[1],
        "num_classes": cell.num_classes,
        "num_old_images": 0,
        "num_new_images": 0,
        "digest": stages[-1].digest,
        "images_seen": images_seen,
        "num_epochs": 0.0,
        "converged": None,
        "stopped": None,
        "top1": stages[-1].result.top1,
        "train_s": sum(stage.times.train_s for stage in stages),
        "num_stages": len(stages),
    }


def _baseline(sweep: Sweep, manifests: Manifests) -> dict[str, Any] | None:
    """Return the mean of the runs from scratch of a study that has some, one a seed."""
    cells = [cell for cell in sweep.cells if cell.kind == "scratch"]
    if not cells:
        return None
    stages = [stage for cell in cells for stage in manifests[cell.name]]
    images_seen = fmean(stage.result.images_seen for stage in stages)
    top1s = [stage.result.top1 for stage in stages if stage.result.top1 is not None]
    return {
        "num_classes": cells[0].num_classes,
        "images_seen": round(images_seen),
        "top1": fmean(top1s) if top1s else None,
        "train_s": fmean(stage.times.train_s for stage in stages),
        "budget_epochs": images_seen / _images(sweep, 0, cells[0].num_classes),
    }
