"""Small real runs: scikit-learn's 8×8 digits, by a few stages of a small network."""

import dataclasses
from typing import Any

from accrete.catalog.catalog import Catalog
from accrete.config.plan import Plan, parse_alpha, sizes_by_alpha
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.data.sources.opening import open_source
from accrete.data.splits import training_counts
from accrete.stages.run import StageContext
from accrete.store.cache import NodeCache
from accrete.training.image_source import DataMemory

SOURCE = SourceConfig(kind="digits")


def digits_run(
    *stage_sizes: int,
    alpha: str = "1",
    only_classes: tuple[str, ...] | None = None,
    validation_fraction: float = 0.0,
    **recipe: Any,
) -> RunConfig:
    """A run over the digits, by these new classes a stage or by alpha from two classes."""
    source = dataclasses.replace(
        SOURCE, only_classes=only_classes, validation_fraction=validation_fraction
    )
    counts = training_counts(open_source(source).counts(), source)
    images = tuple(counts.values())
    listed = ",".join(map(str, stage_sizes))
    plan = Plan(
        rule=f"the list {listed}" if stage_sizes else f"alpha = {alpha} from 2 classes",
        class_order=tuple(counts),
        class_images=images,
        stage_sizes=stage_sizes or sizes_by_alpha(images, 2, parse_alpha(alpha)),
    )
    # Named: which one is the quicker a busy machine tells now this way, now that.
    defaults = {"flip": "none", "budget_epochs": 2.0, "precision": "fp32"}
    short = Recipe(**defaults | recipe)
    return RunConfig(source=source, plan=plan, model=ModelConfig(name="small"), recipe=short)


def stage_context(catalog: Catalog, cache: NodeCache, **options: Any) -> StageContext:
    """One process on the CPU, with memory for all images."""
    memory = DataMemory(num_bytes=1 << 30, num_workers=2)
    return StageContext(**{"catalog": catalog, "cache": cache, "memory": memory} | options)
