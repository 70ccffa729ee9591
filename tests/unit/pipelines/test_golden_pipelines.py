"""The other compiled pipelines: extension, comparison and study, against golden files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from accrete_pipelines import baseline, extend, study
from compiled_sample import Document, compiled, read_documents
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.placement import Placement
from accrete.config.plan import Plan, even_counts
from accrete.config.recipe import Recipe
from accrete.config.run import BaseModel, ModelConfig, RunConfig, SourceConfig
from accrete.config.sweep import Cell, Sweep
from accrete.runners.pipeline_file import PipelineRequest

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = tuple(f"class {number:03}" for number in range(100))
SOURCE = SourceConfig(kind="parquet", location="s3://images/cifar100")
VGG19 = ModelConfig(name="vgg19")


def request_for(config: RunConfig | Sweep) -> PipelineRequest:
    return PipelineRequest(
        config=config, placement=Placement(), run_name="golden", store_uri="s3://accrete"
    )


def extension() -> RunConfig:
    return RunConfig(
        source=SOURCE,
        plan=Plan(
            rule="stage 5 of run old, 80 classes, and 20 more",
            class_order=NAMES,
            class_images=even_counts(100),
            stage_sizes=(20,),
            num_given=80,
        ),
        model=VGG19,
        base=BaseModel(
            origin="stage 5 of run old",
            identity="a" * 64,
            checkpoint_sha256="b" * 64,
            checkpoint_bytes=160_000_000,
            dataset="c" * 64,
            image=ImageFormat(
                encoding="raw", height=32, width=32, channels=3, preprocessing="none"
            ),
            normalization=Normalization(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
            top1=0.7,
        ),
    )


def sweep(purpose: str, *cells: Cell) -> Sweep:
    return Sweep(
        purpose=purpose,
        rule="as the golden file has it",
        source=SOURCE,
        class_order=NAMES,
        class_images=even_counts(100),
        model=VGG19,
        cells=cells,
    )


def cell(name: str, *sizes: int, kind: str = "cell", **recipe: Any) -> Cell:
    return Cell(name=name, kind=kind, stage_sizes=sizes, recipe=Recipe(**recipe))


def life(name: str, epochs: float) -> Cell:
    return replace(
        cell(name, 50, 10, 10, kind="extend", budget_epochs=8.0),
        arrival=Recipe(budget_epochs=epochs, lr=0.1),
    )


PIPELINES = {
    "extend": (extend, extension()),
    "baseline": (
        baseline,
        sweep(
            "comparison",
            cell("staged-s0", 50, 50, kind="staged", budget_epochs=7.0),
            cell("scratch-100-7-s0", 100, kind="scratch", budget_epochs=7.0),
            cell("scratch-50-7-s0", 50, kind="scratch", budget_epochs=7.0),
        ),
    ),
    "study": (
        study,
        sweep(
            "convergence",
            cell("n10-d1-s0", 10, 1, epochs=(9.0, 9.0), lr_scope="stage", stop_gradient=0.1),
            cell("n10-d5-s0", 10, 5, epochs=(9.0, 9.0), lr_scope="stage", stop_gradient=0.1),
        ),
    ),
    "lifecycle": (
        study,
        sweep(
            "lifecycle",
            cell("scratch-50-8-s0", 50, kind="scratch", budget_epochs=8.0),
            cell("scratch-60-8-s0", 60, kind="scratch", budget_epochs=8.0),
            life("extend-1-1-s0", 1.0),
            life("extend-1-2-s0", 2.0),
        ),
    ),
}


def documents_of(name: str) -> list[Document]:
    module, config = PIPELINES[name]
    return compiled(module.build_pipeline, request_for(config))


@pytest.mark.parametrize("name", PIPELINES)
def test_the_compiled_pipeline_is_the_golden_one(name: str, pytestconfig: pytest.Config) -> None:
    documents = documents_of(name)
    golden = GOLDEN / f"{name}.yaml"
    if pytestconfig.getoption("--golden"):
        golden.write_text(yaml.safe_dump_all(documents, sort_keys=True))
        read_documents.cache_clear()
    assert documents == read_documents(golden), "run `make golden`"


@pytest.mark.parametrize("name", PIPELINES)
def test_the_golden_file_is_a_strictly_valid_pipeline_spec(name: str) -> None:
    spec, platform = read_documents(GOLDEN / f"{name}.yaml")
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    of = {"lifecycle": "study"}.get(name, name)
    assert parsed.pipeline_info.name == f"accrete-{of}"
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for config in executors.values():
        json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def tasks_of(name: str) -> dict[str, Any]:
    tasks: dict[str, Any] = documents_of(name)[0]["root"]["dag"]["tasks"]
    return tasks


def test_an_extension_has_one_training_task_and_no_parent_artifact() -> None:
    tasks = tasks_of("extend")
    assert set(tasks) == {"prepare", "train-stage", "report"}
    assert "parent" not in tasks["train-stage"]["inputs"]["artifacts"]
    assert tasks["train-stage"]["taskInfo"]["name"] == "stage 1: 20 more, 100 classes"


def test_cells_that_begin_alike_share_their_first_task() -> None:
    tasks = tasks_of("study")
    names = {task["taskInfo"]["name"] for task in tasks.values()}
    assert names == {
        "prepare",
        "n10-d1-s0: stage 1",
        "n10-d1-s0: stage 2",
        "n10-d5-s0: stage 2",
        "report",
    }
    parents = [
        task["inputs"]["artifacts"]["parent"]["taskOutputArtifact"]["producerTask"]
        for task in tasks.values()
        if "stage 2" in task["taskInfo"]["name"]
    ]
    assert parents == ["train-stage", "train-stage"]


def test_lives_begin_with_the_model_that_from_scratch_made() -> None:
    tasks = tasks_of("lifecycle")
    parents = {
        task["taskInfo"]["name"]: tasks[
            task["inputs"]["artifacts"]["parent"]["taskOutputArtifact"]["producerTask"]
        ]["taskInfo"]["name"]
        for task in tasks.values()
        if "parent" in task["inputs"].get("artifacts", {})
    }
    assert parents == {
        "extend-1-1-s0: stage 2": "scratch-50-8-s0: stage 1",
        "extend-1-1-s0: stage 3": "extend-1-1-s0: stage 2",
        "extend-1-2-s0: stage 2": "scratch-50-8-s0: stage 1",
        "extend-1-2-s0: stage 3": "extend-1-2-s0: stage 2",
    }


def test_the_report_of_a_sweep_waits_for_every_cell() -> None:
    tasks = tasks_of("baseline")
    training = {name for name in tasks if name.startswith("train-stage")}
    assert len(training) == 4
    assert training < set(tasks["sweep-report"]["dependentTasks"])
