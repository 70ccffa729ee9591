"""The compiled pipelines, compared document by document with golden files."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from accrete_pipelines.incremental import build_pipeline
from compiled_sample import compiled, read_documents
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from accrete.config.allocation import FewestNodes, GrowingGpus
from accrete.config.kubernetes import Toleration
from accrete.config.placement import (
    DEFAULT_IMAGE,
    SPOT_TOLERATIONS,
    Placement,
)
from accrete.config.plan import Plan, even_counts, parse_alpha, sizes_by_alpha, sizes_by_increment
from accrete.config.pod import POD_ANNOTATIONS, POD_LABELS, USER_ID
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.runners.pipeline_file import PipelineRequest

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = tuple(f"class {number:03}" for number in range(100))


def request_for(plan: Plan, **placement: Any) -> PipelineRequest:
    config = RunConfig(
        source=SourceConfig(kind="parquet", location="s3://images/cifar100"),
        plan=plan,
        model=ModelConfig(name="vgg19"),
    )
    return PipelineRequest(
        config=config,
        placement=Placement(**placement),
        run_name="golden",
        store_uri="s3://accrete",
    )


def plan_for(alpha: str) -> Plan:
    counts = even_counts(100)
    return Plan(
        rule=f"alpha = {alpha} from 10 classes",
        class_order=NAMES,
        class_images=counts,
        stage_sizes=sizes_by_alpha(counts, 10, parse_alpha(alpha)),
    )


EVERYTHING = Placement(
    image="registry.example.com:5000/team/accrete-trainer:0.1.0@sha256:" + "0f" * 32,
    pull_policy="IfNotPresent",
    pull_secrets=("registry", "registry-2"),
    gpus=GrowingGpus(4),
    max_gpus_per_node=4,
    gpu_resource="amd.com/gpu",
    gpu_kinds=("MI300X", "MI325X"),
    gpu_label="amd.com/gpu.product-name",
    train_cpu="7500m",
    train_memory="60Gi",
    other_cpu="2",
    other_memory="12Gi",
    shared_memory="8Gi",
    data_memory="20G",
    node_selector=(("disk", "ssd"), ("topology.kubernetes.io/zone", "z1")),
    tolerations=(
        Toleration(key="dedicated", value="training", effect="NoSchedule"),
        Toleration(key="maintenance", value=None, effect="NoExecute"),
        *SPOT_TOLERATIONS,
    ),
    cache_claim="accrete-cache",
    pushgateway="http://pushgateway.monitoring.svc:9091",
    retries=3,
    timeout_s=7200,
    ttl_s=86400,
    store_config="team-store",
    store_ca="team-ca",
)
NODES = Placement(
    pull_secrets=("registry",),
    gpus=(16,),
    nodes=(2,),
    gpu_kinds=("NVIDIA-H100-80GB-HBM3",),
    train_cpu="32",
    train_memory="128Gi",
    shared_memory="8Gi",
    data_memory="40G",
    node_selector=(("disk", "ssd"),),
    tolerations=(
        Toleration(key="dedicated", value="training", effect="NoSchedule"),
        Toleration(key="maintenance", value=None, effect="NoExecute"),
    ),
    timeout_s=7200,
)
FILES = {
    **{f"incremental-alpha-{alpha}": (alpha, Placement()) for alpha in ("0.5", "1", "2")},
    "incremental-everything": ("1", EVERYTHING),
    "incremental-nodes": ("1", NODES),
}


@pytest.mark.parametrize("name", FILES)
def test_the_compiled_pipeline_is_the_golden_one(name: str, pytestconfig: pytest.Config) -> None:
    alpha, placement = FILES[name]
    plan = plan_for(alpha)
    placement = placement.fitted([stage.num_images for stage in plan.stages], batch_size=128)
    request = replace(request_for(plan), placement=placement)
    documents = compiled(build_pipeline, request)
    golden = GOLDEN / f"{name}.yaml"
    if pytestconfig.getoption("--golden"):
        golden.write_text(yaml.safe_dump_all(documents, sort_keys=True))
        read_documents.cache_clear()
    assert documents == read_documents(golden), "run `make golden`"


def test_there_is_no_other_golden_file() -> None:
    others = {"baseline", "extend", "lifecycle", "study", "watch"}  # other tests have them
    assert {path.stem for path in GOLDEN.iterdir()} == set(FILES) | others


@pytest.mark.parametrize("name", FILES)
def test_the_golden_files_are_strictly_valid_pipeline_specs(name: str) -> None:
    spec, platform = read_documents(GOLDEN / f"{name}.yaml")
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert parsed.pipeline_info.name == "accrete-incremental"
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for config in kubernetes_of([spec, platform]).values():
        json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def kubernetes_of(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return dict(executors)


def executors_of(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    containers = documents[0]["deploymentSpec"]["executors"]
    return {name: executor["container"] for name, executor in containers.items()}


def test_every_stage_is_one_task_that_takes_the_model_of_the_one_before() -> None:
    documents = compiled(build_pipeline, request_for(plan_for("1")))
    tasks = documents[0]["root"]["dag"]["tasks"]
    stages = ["train-stage", *(f"train-stage-{number}" for number in range(2, 6))]
    assert set(tasks) == {"prepare", "report", *stages}
    assert "parent" not in tasks["train-stage"]["inputs"]["artifacts"]
    for before, stage in itertools.pairwise(stages):
        producer = tasks[stage]["inputs"]["artifacts"]["parent"]["taskOutputArtifact"]
        assert producer == {"outputArtifactKey": "model", "producerTask": before}
    last = tasks["report"]["inputs"]["artifacts"]["model"]["taskOutputArtifact"]["producerTask"]
    assert last == stages[-1]


def test_stage_names_say_what_they_add() -> None:
    tasks = compiled(build_pipeline, request_for(plan_for("1")))[0]["root"]["dag"]["tasks"]
    assert tasks["train-stage-3"]["taskInfo"]["name"] == "stage 3: 20 more, 40 classes"


def test_training_steps_ask_for_gpus_and_the_others_do_not() -> None:
    containers = executors_of(compiled(build_pipeline, request_for(plan_for("1"), gpus=(2,))))
    for name, container in containers.items():
        accelerator = container.get("resources", {}).get("accelerator")
        if name.startswith("exec-train-stage"):
            assert accelerator["resourceType"] == "nvidia.com/gpu"
            assert int(accelerator["resourceCount"]) == 2
        else:
            assert accelerator is None


def test_each_stage_asks_for_the_gpus_that_are_listed_for_it() -> None:
    request = request_for(plan_for("1"), gpus=(1, 1, 2, 0, 8))
    containers = executors_of(compiled(build_pipeline, request))
    counts = [
        int(
            containers[f"exec-train-stage{end}"]["resources"]
            .get("accelerator", {})
            .get("resourceCount", 0)
        )
        for end in ("", "-2", "-3", "-4", "-5")
    ]
    assert counts == [1, 1, 2, 0, 8]


@pytest.mark.parametrize(("given", "passed"), [(None, ""), ("4Gi", "4Gi")])
def test_memory_for_images_reaches_every_training_step(
    given: str | None, passed: str, tmp_path: Path
) -> None:
    request = request_for(plan_for("1"), data_memory=given)
    tasks = compiled(build_pipeline, request)[0]["root"]["dag"]["tasks"]
    values = [
        task["inputs"]["parameters"]["data_memory"]["runtimeValue"]["constant"]
        for name, task in tasks.items()
        if name.startswith("train-stage")
    ]
    assert values == [passed] * 5


def test_no_gpu_is_asked_for_where_none_is_wanted() -> None:
    containers = executors_of(compiled(build_pipeline, request_for(plan_for("1"), gpus=(0,))))
    assert not any("accelerator" in c.get("resources", {}) for c in containers.values())


def test_every_step_has_the_image_retries_timeout_and_credentials_as_environment() -> None:
    documents = compiled(build_pipeline, request_for(plan_for("1"), retries=3, timeout_s=900))
    for container in executors_of(documents).values():
        assert container["image"] == DEFAULT_IMAGE
    for task in documents[0]["root"]["dag"]["tasks"].values():
        assert task["retryPolicy"]["maxRetryCount"] == 3
        assert task["cachingOptions"] == {}
    for config in kubernetes_of(documents).values():
        assert config["activeDeadlineSeconds"] == "900"
        assert config["secretAsEnv"][0]["secretName"] == "accrete-store"


def test_every_step_runs_as_the_image_s_user_and_is_labelled_and_scraped() -> None:
    dockerfile = (Path(__file__).parents[3] / "images" / "Dockerfile").read_text()
    assert f"\nUSER {USER_ID}:{USER_ID}\n" in dockerfile
    for config in kubernetes_of(compiled(build_pipeline, request_for(plan_for("1")))).values():
        assert config["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": str(USER_ID),
            "runAsGroup": str(USER_ID),
        }
        assert config["podMetadata"] == {"labels": POD_LABELS, "annotations": POD_ANNOTATIONS}


@pytest.mark.parametrize(
    ("placement", "asked"),
    [
        ({}, {}),
        ({"other_cpu": "2"}, {"cpu": "2"}),
        ({"other_memory": "1.5Gi"}, {"memory": "1610612736"}),
        ({"other_cpu": "1e0", "other_memory": "12Gi"}, {"cpu": "1000m", "memory": "12Gi"}),
    ],
)
def test_steps_that_do_not_train_ask_for_what_is_said(
    placement: dict[str, str], asked: dict[str, str]
) -> None:
    request = nodes_request(gpus=(1, 1, 1, 1, 2), nodes=(1, 1, 1, 1, 2), **placement)
    containers = executors_of(compiled(build_pipeline, request))
    others = [name for name in containers if not name.startswith("exec-train-stage")]
    assert sorted(others) == ["exec-prepare", "exec-report", "exec-train-on-nodes"]
    for name in others:
        resources = containers[name].get("resources", {})
        for resource in ("cpu", "memory"):
            for kind in ("Request", "Limit"):
                value = resources.get(f"resource{resource.title()}{kind}")
                assert value == asked.get(resource), name
    trains = containers["exec-train-stage"]["resources"]
    assert trains["resourceMemoryLimit"] == "16G"


def test_only_training_steps_are_bound_to_nodes() -> None:
    request = request_for(
        plan_for("1"), node_selector=(("disk", "ssd"),), gpu_kinds=("A",), gpus=(0, 1, 1, 1, 1)
    )
    configs = kubernetes_of(compiled(build_pipeline, request))
    for name, config in configs.items():
        trains = name.startswith("exec-train-stage")
        assert ("nodeSelector" in config) == trains
        # the first stage asks for no GPU, so it may run on a node without one
        with_gpu = trains and name != "exec-train-stage"
        assert ("nodeAffinity" in config) == ("tolerations" in config) == with_gpu


def test_the_node_cache_is_mounted_where_the_image_keeps_it() -> None:
    dockerfile = (Path(__file__).parents[3] / "images" / "Dockerfile").read_text()
    documents = compiled(build_pipeline, request_for(plan_for("1"), cache_claim="claim"))
    containers = executors_of(documents)
    for name, config in kubernetes_of(documents).items():
        trains = name.startswith("exec-train-stage")
        mounts = [mount["mountPath"] for mount in config.get("pvcMount", [])]
        assert mounts == (["/cache"] if trains else [])
        env = {entry["name"]: entry["value"] for entry in containers[name].get("env", [])}
        assert (env.get("ACCRETE_FETCH_AHEAD") == "1") == trains
    assert "ACCRETE_CACHE=/cache\n" in dockerfile


def test_no_variable_is_set_on_a_task_unless_it_is_asked_for() -> None:
    """KFP's Docker runner gives a task its own variables in place of all others."""
    containers = executors_of(compiled(build_pipeline, request_for(plan_for("1"))))
    assert not any("env" in container for container in containers.values())


def test_every_step_is_told_the_pushgateway() -> None:
    request = request_for(plan_for("1"), pushgateway="http://push:9091")
    for container in executors_of(compiled(build_pipeline, request)).values():
        assert {"name": "ACCRETE_PUSHGATEWAY", "value": "http://push:9091"} in container["env"]


@pytest.mark.parametrize(("ttl_s", "kept"), [(None, None), (1, 1), (3600, 3600)])
def test_a_finished_run_goes_when_it_is_told_to(
    ttl_s: int | None, kept: int | None, tmp_path: Path
) -> None:
    documents = compiled(build_pipeline, request_for(plan_for("1"), ttl_s=ttl_s))
    config = documents[1]["platforms"]["kubernetes"].get("pipelineConfig", {})
    for field in ("OnCompletion", "OnSuccess", "OnFailure"):  # a stock Kubeflow's has all three
        assert config.get(f"resourceTtl{field}") == kept


def test_a_long_plan_packs_its_small_stages_into_at_most_thirty_steps() -> None:
    counts = even_counts(100)
    plan = Plan(
        rule="1 class a stage from 2",
        class_order=NAMES,
        class_images=counts,
        stage_sizes=sizes_by_increment(100, 2, 1),
    )
    tasks = compiled(build_pipeline, request_for(plan))[0]["root"]["dag"]["tasks"]
    steps = [task for name, task in tasks.items() if name.startswith("train-stage")]
    assert len(steps) <= 30
    ends = sorted(
        tuple(
            int(task["inputs"]["parameters"][name]["runtimeValue"]["constant"])
            for name in ("first_stage", "last_stage")
        )
        for task in steps
    )
    assert [index for first, last in ends for index in range(first, last + 1)] == [*range(1, 100)]


def test_the_pipeline_s_parameters_are_its_public_interface() -> None:
    spec = compiled(build_pipeline, request_for(plan_for("1")))[0]
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert {name: entry["parameterType"] for name, entry in parameters.items()} == {
        "config": "STRUCT",
        "run_name": "STRING",
        "store_uri": "STRING",
    }


def test_the_components_inputs_are_their_public_interface() -> None:
    spec = compiled(build_pipeline, request_for(plan_for("1")))[0]
    inputs = {
        name: sorted(
            [
                *entry["inputDefinitions"].get("parameters", {}),
                *entry["inputDefinitions"].get("artifacts", {}),
            ]
        )
        for name, entry in spec["components"].items()
    }
    assert inputs["comp-prepare"] == ["config", "num_stages", "planned", "run_name", "store_uri"]
    first = ["cell", "data_memory", "dataset", "first_stage", "last_stage", "plan", "run_name"]
    first.append("store_uri")
    assert inputs["comp-train-stage"] == first
    assert inputs["comp-train-stage-2"] == sorted([*first, "parent"])
    assert inputs["comp-report"] == ["model", "plan", "run_name", "store_uri"]


def nodes_request(**placement: Any) -> PipelineRequest:
    """Return a request for the paper's plan, fitted to it as the command line does."""
    plan = plan_for("1")
    request = request_for(plan, **placement)
    fitted = request.placement.fitted([stage.num_images for stage in plan.stages], batch_size=128)
    return replace(request, placement=fitted)


def test_a_stage_that_is_too_large_for_a_node_is_a_task_that_has_a_train_job() -> None:
    request = nodes_request(gpus=GrowingGpus(16), nodes=FewestNodes())
    documents = compiled(build_pipeline, request)
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert set(tasks) == {
        *("prepare", "report", "train-stage", "train-stage-2", "train-stage-3", "train-stage-4"),
        "train-on-nodes",
    }
    task = tasks["train-on-nodes"]
    assert task["taskInfo"]["name"] == "stage 5: 20 more, 100 classes"
    producer = task["inputs"]["artifacts"]["parent"]["taskOutputArtifact"]
    assert producer == {"outputArtifactKey": "model", "producerTask": "train-stage-4"}
    last = tasks["report"]["inputs"]["artifacts"]["model"]["taskOutputArtifact"]
    assert last == {"outputArtifactKey": "model", "producerTask": "train-on-nodes"}
    job = task["inputs"]["parameters"]["job"]["runtimeValue"]["constant"]
    assert job["trainer"]["numNodes"] == 2
    assert job["trainer"]["resourcesPerNode"]["requests"]["nvidia.com/gpu"] == "8"


def test_the_outputs_of_both_ways_to_train_are_the_same() -> None:
    spec = compiled(build_pipeline, nodes_request(gpus=(1, 1, 1, 1, 2), nodes=(1, 1, 1, 1, 2)))[0]
    components = spec["components"]
    assert "parent" in components["comp-train-stage-2"]["inputDefinitions"]["artifacts"]
    assert (
        components["comp-train-on-nodes"]["outputDefinitions"]
        == (components["comp-train-stage"]["outputDefinitions"])
    )
    inputs = components["comp-train-on-nodes"]["inputDefinitions"]
    assert sorted([*inputs["parameters"], *inputs["artifacts"]]) == [
        *("data_memory", "first_stage", "job", "last_stage", "parent", "plan", "run_name"),
        *("store_uri", "wait_s"),
    ]


def test_the_step_that_waits_for_a_job_asks_for_no_gpu_and_knows_its_pod() -> None:
    request = nodes_request(gpus=(2,), nodes=(2,), timeout_s=7200, node_wait_s=600)
    documents = compiled(build_pipeline, request)
    name = "exec-train-on-nodes"
    assert "resources" not in executors_of(documents)[name]
    config = kubernetes_of(documents)[name]
    assert int(config["activeDeadlineSeconds"]) > 7200 + 600
    assert {entry["name"]: entry["fieldPath"] for entry in config["fieldPathAsEnv"]} == {
        "ACCRETE_POD_NAME": "metadata.name",
        "ACCRETE_POD_UID": "metadata.uid",
        "ACCRETE_KFP_RUN_ID": "metadata.labels['pipeline/runid']",
    }
    assert "tolerations" not in config
    assert config["podMetadata"]["labels"] == POD_LABELS  # the policies let it to the API


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda path: path.stem)
def test_every_artifact_that_a_component_takes_is_handed_to_it(path: Path) -> None:
    """kfp's executor makes nothing of `Optional[…]` on a backend: it has only that to go by."""
    spec = read_documents(path)[0]
    for task in spec["root"]["dag"]["tasks"].values():
        inputs = spec["components"][task["componentRef"]["name"]]["inputDefinitions"]
        taken = inputs.get("artifacts", {})
        assert not any(each.get("isOptional") for each in taken.values())
        assert set(task["inputs"].get("artifacts", {})) == set(taken)


def test_no_secret_is_in_the_compiled_pipeline(monkeypatch: Any) -> None:
    monkeypatch.setenv("ACCRETE_S3_SECRET_KEY", "hunter2-hunter2")
    documents = compiled(build_pipeline, request_for(plan_for("1")))
    assert "hunter2" not in yaml.safe_dump_all(documents)
