"""An arrival of a life and the extension that it stands for: one identity, equal bits."""

import dataclasses
from pathlib import Path

import pytest
from digits import digits_run, stage_context

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.catalog.lookup import base_of_stage
from accrete.data.prepare import prepare_dataset
from accrete.stages.run import run_stage
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_third_stage_of_a_life_is_the_first_of_an_extension_to_the_bit(
    store: ObjectStore, tmp_path: Path
) -> None:
    catalog = Catalog(store)
    life = digits_run(4, 3, 3, budget_epochs=1.0)
    arrival = dataclasses.replace(life.recipe, budget_epochs=0.5, lr=0.1)
    life = dataclasses.replace(life, arrival=arrival)
    dataset = prepare_dataset(
        life.source, life.plan, catalog, tmp_path / "work", lambda _: lambda _: None
    ).manifest
    context = stage_context(catalog, NodeCache(tmp_path / "cache", store))
    lived = [run_stage(spec, dataset, context).manifest for spec in stage_chain(life, dataset)]

    extension = dataclasses.replace(
        life,
        plan=dataclasses.replace(life.plan, stage_sizes=(3,), num_given=7),
        recipe=arrival,
        arrival=None,
        base=base_of_stage(lived[1], "stage 2 of the life"),
    )
    (spec,) = stage_chain(extension, dataset)
    assert spec.digest == lived[2].digest
    store.delete(keys.stage_key(spec.digest))
    extended = run_stage(spec, dataset, context)
    assert not extended.reused
    assert extended.manifest.checkpoint == lived[2].checkpoint
