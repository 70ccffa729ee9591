"""One attempt at a stage of digits in a process of its own, for tests that end it from outside."""

import sys
from pathlib import Path

from accrete.cache import NodeCache
from accrete.catalog import Catalog
from accrete.chain import stage_chain
from accrete.config import ModelConfig, RunConfig, SourceConfig
from accrete.errors import AccreteError
from accrete.plan import Plan
from accrete.recipe import Recipe
from accrete.settings import StoreAddress, StoreSettings
from accrete.sources import open_source
from accrete.sources.allotment import training_counts
from accrete.stage import run_stage
from accrete.store import ObjectStore

SOURCE = SourceConfig(kind="digits")


def long_stage() -> RunConfig:
    """One stage of several seconds on a CPU, in fp32 and with momentum."""
    counts = training_counts(open_source(SOURCE).counts(), SOURCE)
    plan = Plan(
        rule="all at once",
        class_order=tuple(counts),
        class_images=tuple(counts.values()),
        stage_sizes=(len(counts),),
    )
    recipe = Recipe(flip=False, budget_epochs=120.0)
    return RunConfig(source=SOURCE, plan=plan, model=ModelConfig(name="small"), recipe=recipe)


def attempt(
    settings: StoreSettings, address: StoreAddress, dataset: str, cache: str, interval_s: float
) -> None:
    """Run the stage from where the last attempt left it; exit as a step does."""
    catalog = Catalog(ObjectStore(settings, address))
    manifest = catalog.dataset(dataset)
    (spec,) = stage_chain(long_stage(), manifest)
    node = NodeCache(Path(cache), catalog.store)
    try:
        run_stage(spec, manifest, catalog, node, lambda *_: None, snapshot_interval_s=interval_s)
    except AccreteError as error:
        sys.exit(error.exit_code)
