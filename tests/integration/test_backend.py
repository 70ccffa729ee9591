"""Every pipeline's steps by kfp's own executor, on what a Kubeflow backend hands to them."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import pytest
from accrete_pipelines import baseline, extend, incremental, study
from backend import SESSION, Backend, Done, artifact_store

from accrete.catalog.catalog import Catalog
from accrete.catalog.records import find_record, stages_of
from accrete.cli._adapter import read
from accrete.cli._options import RunOptions
from accrete.cli._request import make_request
from accrete.cli.extend import ExtendOptions, make_extension
from accrete.cli.study import StudyOptions, make_study
from accrete.cli.sweep import CompareOptions, make_comparison
from accrete.config.run import RunConfig
from accrete.runners.pipeline_file import PipelineRequest
from accrete.store import keys
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

ON_CPU = ("--gpus", "0")
OPTIONS: dict[Callable[..., PipelineRequest], type] = {
    make_request: RunOptions,
    make_extension: ExtendOptions,
    make_comparison: CompareOptions,
    make_study: StudyOptions,
}


@pytest.fixture(scope="module")
def store(store_settings: StoreSettings) -> ObjectStore:
    """One prefix for all tests of this file: what one run trained, another finds."""
    return ObjectStore(store_settings, parse_store_uri(f"s3://accrete/{uuid4().hex}"))


@pytest.fixture(scope="module")
def backend(store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    env = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    env |= store.settings.as_environment() | {"ACCRETE_CACHE": str(folder / "cache")}
    with artifact_store(folder) as artifacts:
        yield Backend(artifacts, store, env, folder)


Run = Callable[..., dict[str, Done]]


@pytest.fixture
def run(backend: Backend, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a pipeline file with options as `kfp run` takes them."""
    for name, value in store.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCRETE_STORE", str(store.address))
    monkeypatch.setenv("ACCRETE_STEP_OVERHEAD", "0")  # digits are quick: stages would share a step

    def run(pipeline: Any, make: Callable[..., PipelineRequest], *options: str) -> dict[str, Done]:
        command: click.Command = pipeline.run
        with command.make_context("run", list(options)) as context:
            given = read(OPTIONS[make], context)
            arguments = [
                context.params[p.name] for p in command.params if p.param_type_name == "argument"
            ]
            request = make(given, *arguments, False)
        done = backend.run(pipeline.build_pipeline, request)
        if isinstance(request.config, RunConfig):
            record = find_record(store, request.run_name)
            assert record is not None
            assert record.config == request.config  # however a number is written on the way
        return done

    return run


def assert_reported(store: ObjectStore, name: str) -> dict[str, Any]:
    """Make sure that all stages of a run or sweep and its report are there; return the report."""
    catalog = Catalog(store)
    assert all(catalog.stage(digest) is not None for digest in stages_of(store, name))
    assert store.read_note(keys.report_key(name, "report.html")) is not None
    note = store.read_note(keys.report_key(name, "report.json"))
    assert note is not None
    report: dict[str, Any] = json.loads(note)
    return report


def training(done: dict[str, Done]) -> list[Done]:
    return [task for name, task in done.items() if name.startswith("train")]


STAGED = ("--stages", "2,3,5", "--model", "small", "--budget-epochs", "1")


@pytest.mark.slow
def test_a_run_s_stages_each_grow_from_the_one_before(run: Run, store: ObjectStore) -> None:
    done = run(incremental, make_request, "--name", "staged", *STAGED, *ON_CPU)
    stages = assert_reported(store, "staged")["stages"]
    trained = training(done)
    assert [task.metadata["model"]["digest"] for task in trained] == [s["digest"] for s in stages]
    assert [task.metadata["metrics"]["num_classes"] for task in trained] == [2, 5, 10]
    # The form is the backend's, or this tried nothing.
    inputs = trained[1].executor_input["inputs"]
    assert inputs["parameterValues"]["first_stage"] == 2
    assert "cell" not in inputs["parameterValues"]
    (parent,) = inputs["artifacts"]["parent"]["artifacts"]
    assert parent["name"].isdigit()
    assert parent["type"] == {"instanceSchema": ""}
    assert parent["metadata"]["store_session_info"] == SESSION


@pytest.mark.slow
def test_stages_that_exist_are_handed_on_by_the_step_that_asks_for_nodes(
    run: Run, store: ObjectStore
) -> None:
    """Having them trained takes Kubeflow Trainer: test_train_jobs has a stand-in for that."""
    run(incremental, make_request, "--name", "staged", *STAGED, *ON_CPU)
    done = run(incremental, make_request, "--name", "nodes", *STAGED, "--gpus", "2", "--nodes", "2")
    assert [name for name in done if name.startswith("train-on-nodes")]
    assert [task.metadata["metrics"]["num_classes"] for task in training(done)] == [2, 5, 10]
    stages = assert_reported(store, "nodes")["stages"]
    assert [stage["digest"] for stage in stages] == list(stages_of(store, "staged"))


@pytest.mark.slow
def test_classes_that_arrive_later_join_a_model_stage_by_stage(
    run: Run, store: ObjectStore, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("\n".join("0123456"))
    new.write_text("\n".join("789"))
    short = ("--budget-epochs", "1", *ON_CPU)
    seven = ("--only-classes", str(old), "--stages", "7", "--model", "small", *short)
    run(incremental, make_request, "--name", "seven", *seven)
    three = ("--source", "digits", "--only-classes", str(new), "--stages", "1,2", *short)
    done = run(extend, make_extension, "seven", "--name", "ten", *three)
    assert [task.metadata["metrics"]["num_classes"] for task in training(done)] == [8, 10]
    assert len(assert_reported(store, "ten")["stages"]) == 2


@pytest.mark.slow
def test_a_comparison_s_cells_train_and_are_set_side_by_side(run: Run, store: ObjectStore) -> None:
    options = ("--scratch-epochs", "1,2", "--seeds", "1", *STAGED, *ON_CPU)
    done = run(baseline, make_comparison, "--name", "both", *options)
    cells = [task.executor_input["inputs"]["parameterValues"]["cell"] for task in training(done)]
    assert cells.count("staged-s0") == 3
    assert len(assert_reported(store, "both")["cells"]) == len(set(cells))


@pytest.mark.slow
@pytest.mark.parametrize("purpose", ["convergence", "increments"])
def test_a_study_s_cells_train_and_are_reported(purpose: str, run: Run, store: ObjectStore) -> None:
    most = ("--max-epochs", "1") if purpose == "convergence" else ("--budget-epochs", "1")
    grid = ("--initial", "2", "--add", "1,3", "--total", "5", *most, "--model", "small", *ON_CPU)
    done = run(study, make_study, purpose, "--name", purpose, *grid)
    given = [task.executor_input["inputs"]["parameterValues"] for task in training(done)]
    assert {(each["first_stage"], each["last_stage"]) for each in given} >= {(1, 1), (2, 2)}
    assert assert_reported(store, purpose)["cells"]


@pytest.mark.slow
def test_a_life_of_more_cells_than_tasks_is_trained_and_reported(
    run: Run, store: ObjectStore
) -> None:
    life = ("--schedules", "2,1/2,2", "--contestants", "extend", "--budgets", "1", "--seeds", "1")
    short = ("--scratch-epochs", "1,2", "--model", "small", "--max-steps", "3", *ON_CPU)
    done = run(study, make_study, "lifecycle", "--name", "life", *life, *short)
    cells = [task.executor_input["inputs"]["parameterValues"]["cell"] for task in training(done)]
    assert len(cells) == 3
    report = assert_reported(store, "life")
    assert sorted(",".join(cells).split(",")) == sorted(cell["name"] for cell in report["cells"])
    assert [each["schedule"] for each in report["schedules"]] == ["2,1", "2*2"]
