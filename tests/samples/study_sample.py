"""A study of either purpose, its figures drawn from a fixed seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from comparison_sample import CLASS_IMAGES, make_frame

BOUND = 4_000_000
FINAL_CLASSES = 100


def make_study(
    purpose: str,
    *,
    rows: Sequence[int] = (10, 50, 80),
    columns: Sequence[int] = (1, 5, 10, 20, 50),
    seeds: Sequence[int] = (0,),
    has_test_images: bool = True,
    bound: int = BOUND,
) -> dict[str, Any]:
    """Return a study over all of rows × columns that end with at most 100 classes.

    Args:
        purpose: `convergence` or `increments`.
        rows: classes that trainings start from; 0: random weights.
        columns: classes that they add.
        seeds: repetitions.
        has_test_images: without them no accuracy is known.
        bound: images after which a training that has not converged ends.
    """
    make_cell = _convergence_cell if purpose == "convergence" else _increments_cell
    cells = [
        make_cell(seed, before, added, bound)
        for seed in seeds
        for before in rows
        for added in columns
        if before + added <= FINAL_CLASSES
    ]
    baseline = None
    if purpose == "increments":
        baseline = {
            "num_classes": FINAL_CLASSES,
            "images_seen": 500_000,
            "top1": 0.717,
            "train_s": 412.5,
            "budget_epochs": 10.0,
        }
    if not has_test_images:
        for row in [*cells, baseline] if baseline else cells:
            row["top1"] = None
    return make_frame(purpose, FINAL_CLASSES) | {
        "criterion": "A stage has converged when the gradient's norm falls below 0.05."
        if purpose == "convergence"
        else "Every run has a budget of 10 epochs over all stages.",
        "rows": list(rows),
        "columns": list(columns),
        "cells": cells,
        "baseline": baseline,
    }


def _convergence_cell(seed: int, before: int, added: int, bound: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, before, added])
    images = 6000 * added**0.85 * (before + 4) ** 0.8 * rng.uniform(0.9, 1.1)
    converged = images < bound
    images_seen = round(min(images, bound))
    return _cell(seed, before, added, rng) | {
        "num_classes": before + added,
        "images_seen": images_seen,
        "num_epochs": images_seen / ((before + added) * CLASS_IMAGES),
        "converged": bool(converged),
        "stopped": "the gradient's norm is 0.0412, below 0.05" if converged else None,
        "train_s": images_seen / 1100,
        "num_stages": 1,
    }


def _increments_cell(seed: int, before: int, added: int, bound: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, before, added])
    return _cell(seed, before, added, rng) | {
        "num_classes": FINAL_CLASSES,
        "images_seen": 500_000,
        "num_epochs": 0.0,
        "converged": None,
        "stopped": None,
        "train_s": 430.0 * rng.uniform(0.95, 1.1),
        "num_stages": 1 - (before - FINAL_CLASSES) // added,
    }


def _cell(seed: int, before: int, added: int, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "name": f"n{before}-d{added}-s{seed}",
        "seed": seed,
        "num_initial": before,
        "num_added": added,
        "num_old_images": before * CLASS_IMAGES,
        "num_new_images": added * CLASS_IMAGES,
        "top1": float(0.725 - 0.0004 * added + rng.normal(0, 0.006)),
    }
