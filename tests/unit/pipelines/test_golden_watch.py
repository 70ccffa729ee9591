"""The compiled pipeline that looks for classes that have come, compared with its golden file."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from accrete_pipelines import watch
from compiled_sample import compiled, read_documents
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from accrete.config.arrivals import ArrivalRules, Watch
from accrete.config.placement import Placement
from accrete.config.recipe import Recipe
from accrete.config.run import SourceConfig
from accrete.core.serialization import from_json
from accrete.runners.pipeline_file import WatchRequest

GOLDEN = Path(__file__).parents[2] / "golden" / "watch.yaml"
WATCH = Watch(
    name="animals",
    source=SourceConfig(kind="imagefolder", location="s3://bucket/animals"),
    rules=ArrivalRules(least_images=50),
    recipe=Recipe(batch_size=64),
    given_recipe=("batch_size",),
    seed=0,
)


def request(watched: Watch = WATCH, **placement: Any) -> WatchRequest:
    return WatchRequest(watch=watched, placement=Placement(**placement), store_uri="s3://accrete")


def test_the_compiled_pipeline_is_the_golden_one(pytestconfig: pytest.Config) -> None:
    documents = compiled(watch.build_pipeline, request())
    if pytestconfig.getoption("--golden"):
        GOLDEN.write_text(yaml.safe_dump_all(documents, sort_keys=True))
        read_documents.cache_clear()
    assert documents == read_documents(GOLDEN), "run `make golden`"


def test_the_golden_file_is_a_strictly_valid_pipeline_spec() -> None:
    spec, platform = read_documents(GOLDEN)
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert set(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]) == {
        *("exec-look", "exec-prepare", "exec-train-stage", "exec-report"),
    }


def test_only_the_look_is_run_where_nothing_has_come() -> None:
    spec = read_documents(GOLDEN)[0]
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == {"look", "condition-1"}
    assert tasks["condition-1"]["triggerPolicy"] == {
        "condition": "inputs.parameter_values['pipelinechannel--look-arrived'] == 'yes'"
    }
    inner = spec["components"]["comp-condition-1"]["dag"]["tasks"]
    assert set(inner) == {"prepare", "train-stage", "report"}


def test_the_look_has_an_image_and_credentials_from_the_environment_alone() -> None:
    spec, platform = compiled(watch.build_pipeline, request(other_memory="2Gi"))
    container = spec["deploymentSpec"]["executors"]["exec-look"]["container"]
    assert container["resources"]["resourceMemoryLimit"] == "2Gi"
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-look"]["secretAsEnv"][0]["secretName"] == "accrete-store"
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == {"store_uri", "watch"}


def test_what_is_watched_is_the_same_after_its_way_through_kubeflow() -> None:
    parameters = read_documents(GOLDEN)[0]["root"]["inputDefinitions"]["parameters"]
    assert from_json(Watch, parameters["watch"]["defaultValue"], "watch") == WATCH


def test_several_nodes_train_what_has_come_by_a_train_job() -> None:
    spec = compiled(watch.build_pipeline, request(gpus=(2,), nodes=(2,)))[0]
    inner = spec["components"]["comp-condition-1"]["dag"]["tasks"]
    assert set(inner) == {"prepare", "train-on-nodes", "report"}
