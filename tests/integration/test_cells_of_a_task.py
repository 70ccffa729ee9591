"""A training task of several cells of a sweep, one after another, each with its own journal."""

import dataclasses
from pathlib import Path

import pytest
from by_steps import enter_pod
from digits import digits_run

from accrete.catalog.catalog import Catalog
from accrete.catalog.records import parse_sweep_record
from accrete.catalog.step_documents import step_documents
from accrete.config.planned import split_config
from accrete.config.recipe import Recipe
from accrete.config.sweep import Cell, Sweep
from accrete.steps.prepare import prepare_step
from accrete.steps.train import train_step
from accrete.store.object_store import ObjectStore

FIRST = Recipe(budget_epochs=1.0, flip="none", precision="fp32")


@pytest.fixture
def lives() -> Sweep:
    run = digits_run(10)
    short = Cell(name="short", kind="scratch", stage_sizes=(4,), recipe=FIRST)
    arrival = dataclasses.replace(FIRST, budget_epochs=0.5)
    long = Cell(name="long", kind="extend", stage_sizes=(4, 3, 3), recipe=FIRST, arrival=arrival)
    return Sweep(
        purpose="lifecycle",
        rule="a test",
        source=run.source,
        class_order=run.plan.class_order,
        class_images=run.plan.class_images,
        model=run.model,
        cells=(short, long),
    )


def test_each_cell_trains_its_own_stages_and_finds_those_it_shares(
    lives: Sweep, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_pod(store, tmp_path / "cache", monkeypatch)
    editable, planned = split_config(lives)
    paths = {
        name: str(tmp_path / name.removesuffix("_path")) for name in ("dataset_path", "plan_path")
    }
    run = {"run_name": "lives", "store_uri": str(store.address)}
    prepare_step(config=editable, planned=planned, num_stages=4, **run, **paths)
    facts = train_step(
        stages=range(1, 4),
        parent_path=None,
        model_path=str(tmp_path / "model"),
        cell="short,long",
        **run,
        **paths,
    )
    record = parse_sweep_record(Path(paths["plan_path"]).read_bytes(), "plan")
    short, long = (cell.stages for cell in record.cells)
    catalog = Catalog(store)
    assert short[0] == long[0]
    assert all(catalog.stage(digest) is not None for digest in long)
    assert (facts["digest"], facts["num_classes"]) == (long[-1], 10)
    results = {
        document.step: [(result.stage, result.reused) for result in document.results]
        for document in step_documents(store, "lives")
    }
    assert [each for each in results["short-stage-0001"] if each[0]] == [(1, False)]
    told = [each for each in results["long-stage-0001"] if each[0]]
    assert told == [(1, True), (2, False), (3, False)]
