"""One attempt at a stage of digits in a process of its own, for tests that end it from outside."""

import sys
from pathlib import Path

from digits import digits_run, stage_context

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.config.run import RunConfig
from accrete.errors import AccreteError
from accrete.stages.run import run_stage
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreAddress, StoreSettings


def long_stage(budget_epochs: float) -> RunConfig:
    """One stage with momentum; 100 epochs take seconds on a CPU."""
    return digits_run(10, budget_epochs=budget_epochs)


def attempt(
    settings: StoreSettings,
    address: StoreAddress,
    dataset: str,
    *,
    budget_epochs: float,
    cache: str,
    interval_s: float,
) -> None:
    """Run the stage from where the last attempt left it; exit as a step does."""
    catalog = Catalog(ObjectStore(settings, address))
    manifest = catalog.dataset(dataset)
    (spec,) = stage_chain(long_stage(budget_epochs), manifest)
    node = NodeCache(Path(cache), catalog.store)
    try:
        run_stage(spec, manifest, stage_context(catalog, node, snapshot_interval_s=interval_s))
    except AccreteError as error:
        sys.exit(error.exit_code)
