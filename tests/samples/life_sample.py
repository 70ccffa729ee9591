"""A lifecycle of any size: accuracies from curves, the rest computed from its stages' manifests."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from comparison_sample import make_frame
from stage_sample import stage_manifest

from accrete.catalog.manifests import StageManifest
from accrete.config.contestants import Lifecycle, contestants_named, whole_recipe
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, SourceConfig
from accrete.config.sweep import Cell, Sweep
from accrete.reports.lifecycle_study import lifecycle_figures

CLASS_IMAGES = 100
GAINS = {"scratch": 0.0, "head": -0.3, "naive": -0.4, "extend": 0.0, "improved": 0.02}


def make_life(
    *,
    schedules: Sequence[tuple[int, ...]] = ((2, 2, 2),),
    contestants: Sequence[str] = ("extend", "improved"),
    seeds: Sequence[int] = (0, 1, 2),
    has_test_images: bool = True,
    first_epochs: float = 32.0,
) -> dict[str, Any]:
    """Return the content of a lifecycle's report.json.

    From scratch reaches 80 % less 80 over its epochs, each seed a tenth of a point more; an
    arrival 80 % less 2 over its epochs, and what its contestant gains.
    """
    life = Lifecycle(
        schedules=tuple(schedules),
        contestants=contestants_named(contestants),
        recipe=whole_recipe(Recipe(batch_size=2)),
        scratch_epochs=(8.0, 16.0, 32.0),
        first_epochs=first_epochs,
        budgets=(0.5, 1.0, 2.0, 4.0),
        lr=0.1,
    )
    num_classes = max(map(sum, schedules))
    sweep = Sweep(
        purpose="lifecycle",
        rule="a test",
        source=SourceConfig(kind="digits"),
        class_order=tuple(f"c{number:03}" for number in range(num_classes)),
        class_images=(CLASS_IMAGES,) * num_classes,
        model=ModelConfig(name="small"),
        cells=tuple(life.cells(seeds)),
    )
    manifests = {
        cell.name: _stages(sweep, cell, has_test_images=has_test_images) for cell in sweep.cells
    }
    return make_frame("lifecycle", num_classes) | lifecycle_figures(sweep, manifests)


def _stages(sweep: Sweep, cell: Cell, *, has_test_images: bool) -> list[StageManifest]:
    stages: list[StageManifest] = []
    number = 0
    for index, size in enumerate(cell.stage_sizes, start=1):
        old, number = number, number + size
        recipe = cell.recipe if index == 1 or cell.arrival is None else cell.arrival
        assert recipe.budget_epochs is not None
        epochs = recipe.budget_epochs
        lacks = 0.8 / epochs if index == 1 else 0.02 / epochs - GAINS[cell.kind]
        top1 = 0.8 - lacks + 0.001 * cell.seed
        images = round(epochs * number * CLASS_IMAGES)
        made = stage_manifest(
            digest=f"{cell.name}/{index}",
            index=index,
            class_names=sweep.class_order[:number],
            num_old_classes=old,
            images_seen=images,
            train_s=images / 1000,
        )
        result = dataclasses.replace(
            made.result,
            top1=top1 if has_test_images else None,
            top1_old=top1 - 0.01 if has_test_images and old else None,
            top1_new=top1 + 0.01 if has_test_images else None,
            validation_top1=top1,
        )
        stages.append(dataclasses.replace(made, result=result))
    return stages
