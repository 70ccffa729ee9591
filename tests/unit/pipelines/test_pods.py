"""A pipeline's steps and a TrainJob's nodes ask the cluster for the same, option by option.

Both are read back from the compiled pipeline. A reader takes out what it knows, and nothing may be
left: what is asked for on one side only fails here, as does a field of PodRequest that is not read.
"""

import copy
from dataclasses import fields, replace
from typing import Any

import pytest
from accrete_pipelines.incremental import build_pipeline
from compiled_sample import Document, compiled

from accrete.config.kubernetes import Toleration
from accrete.config.placement import Placement
from accrete.config.plan import Plan, even_counts
from accrete.config.pod import POD_ANNOTATIONS, POD_LABELS, USER_ID, PodRequest
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.runners.pipeline_file import PipelineRequest

EVERY_OPTION: dict[str, Any] = {
    "image": "registry.example.com/team/trainer:2",
    "pull_policy": "Always",
    "pull_secrets": ("registry", "registry-2"),
    "gpus": (4,),
    "nodes": (2,),
    "node_wait_s": 60,
    "max_gpus_per_node": 4,
    "gpu_resource": "amd.com/gpu",
    "gpu_kinds": ("MI300X", "MI325X"),
    "gpu_label": "amd.com/gpu.product-name",
    "train_cpu": "7500m",
    "train_memory": "60Gi",
    "other_cpu": "2",
    "other_memory": "12Gi",
    "shared_memory": "8Gi",
    "data_memory": "20G",
    "node_selector": (("disk", "ssd"), ("zone", "z1")),
    "tolerations": (
        Toleration(key="dedicated", value="training", effect="NoSchedule"),
        Toleration(key="empty", value="", effect="PreferNoSchedule"),
        Toleration(key="maintenance", value=None, effect="NoExecute"),
    ),
    "cache_claim": "accrete-cache",
    "pushgateway": "http://push:9091",
    "retries": 3,
    "timeout_s": 7200,
    "ttl_s": 60,
    "store_config": "team-store",
    "store_credentials": "service-account",
    "store_ca": "team-ca",
    "store_wait_s": 60,
}

NOT_OF_POD = {"nodes", "node_wait_s", "max_gpus_per_node", "data_memory", "retries", "ttl_s"}
NOT_OF_POD |= {"other_cpu", "other_memory"}  # of the steps that do not train
"""Options that are the pipeline's, or arguments of its steps: no pod asks the cluster for them."""

OF_STEPS_ONLY = {
    "pull_policy": {"image_pull_policy"},  # no patch of Trainer has it: the runtime's holds
    "cache_claim": {"env", "volumes"},  # each node has a cache of its own
}
"""The options that do not reach a TrainJob's nodes, and what of a step's pod is without them."""

GPU_TAINT = Toleration(key="nvidia.com/gpu", value=None, effect="NoSchedule")
PLACEMENTS = {
    "nothing": {},
    **{f"{name} alone": {name: value} for name, value in EVERY_OPTION.items()},
    "gpu_kinds of one label": {name: EVERY_OPTION[name] for name in ("gpu_kinds", "gpu_label")},
    "the taint that GPUs have": {"tolerations": (GPU_TAINT,)},
    "everything": EVERY_OPTION,
}


def executors(placement: Placement) -> tuple[Document, Document, Document]:
    """Return container, Kubernetes settings and task of a pipeline's only stage."""
    config = RunConfig(
        source=SourceConfig(kind="parquet", location="s3://images/two"),
        plan=Plan(
            rule="the list 2",
            class_order=("a", "b"),
            class_images=even_counts(2),
            stage_sizes=(2,),
        ),
        model=ModelConfig(name="small"),
    )
    request = PipelineRequest(
        config=config, placement=placement, run_name="pods", store_uri="s3://accrete"
    )
    spec, platform = copy.deepcopy(compiled(build_pipeline, request))
    (name,) = (task for task in spec["root"]["dag"]["tasks"] if task.startswith("train"))
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return (
        spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"],
        settings[f"exec-{name}"],
        spec["root"]["dag"]["tasks"][name],
    )


def step_of(options: dict[str, Any]) -> Document:
    """Return what the pod of a training step asks for, on as many GPUs as a node has of several."""
    gpus = options.get("gpus", (2,))
    container, settings, _ = executors(
        replace(Placement(**options), gpus=(gpus[0] // 2,), nodes=(1,))
    )
    return read_step(container, settings)


def node_of(options: dict[str, Any]) -> Document:
    """Return what the pod of one of two nodes asks for."""
    _, _, task = executors(replace(Placement(**{"gpus": (2,)} | options), nodes=(2,)))
    return read_job(task["inputs"]["parameters"]["job"]["runtimeValue"]["constant"])


def read_step(container: Document, settings: Document) -> Document:
    """Return what a compiled step asks for, by the fields of PodRequest."""
    del container["command"], container["args"]
    resources = container.pop("resources", {})
    gpus = resources.pop("accelerator", {})
    metadata = settings.pop("podMetadata")
    context = settings.pop("securityContext")
    affinity = settings.pop("nodeAffinity", [])
    assert len(affinity) <= 1
    read = {
        "image": container.pop("image"),
        "image_pull_policy": settings.pop("imagePullPolicy", None),
        "image_pull_secrets": [s["secretName"] for s in settings.pop("imagePullSecret", [])],
        "labels": metadata.pop("labels"),
        "annotations": metadata.pop("annotations"),
        "security_context": {k: v if v is True else int(v) for k, v in context.items()},
        "env": env_of_step(container, settings),
        "volumes": volumes_of_step(settings),
        "resources": {
            **equal(resources.pop("resourceCpuRequest"), resources.pop("resourceCpuLimit"), "cpu"),
            **equal(
                resources.pop("resourceMemoryRequest"),
                resources.pop("resourceMemoryLimit"),
                "memory",
            ),
            **({gpus.pop("resourceType"): gpus.pop("resourceCount")} if gpus else {}),
        },
        "node_selector": settings.pop("nodeSelector", {}).get("labels", {}),
        "node_requirements": affinity[0].pop("matchExpressions") if affinity else [],
        "tolerations": [*map(toleration_of_step, settings.pop("tolerations", []))],
        "active_deadline_seconds": int(settings.pop("activeDeadlineSeconds")),
    }
    for name in ("cpuLimit", "cpuRequest", "memoryLimit", "memoryRequest"):
        del resources[name]  # for backends of before: the same as a number
    left = [container, settings, resources, metadata, gpus.keys() - {"type", "count"}, *affinity]
    assert not any(left), f"a step asks for more than this test knows of: {left}"
    return read


def toleration_of_step(toleration: Document) -> Document:
    """Return it with the empty value that a protocol buffer leaves out."""
    return ({"value": ""} if toleration["operator"] == "Equal" else {}) | toleration


def env_of_step(container: Document, settings: Document) -> Document:
    env = {each["name"]: each["value"] for each in container.pop("env", [])}
    for each in settings.pop("configMapAsEnv"):
        for pair in each["keyToEnv"]:
            source = (each["configMapName"], pair["configMapKey"], each.get("optional", False))
            env[pair["envVar"]] = ("configMapKeyRef", *source)
    for each in settings.pop("secretAsEnv", []):
        for pair in each["keyToEnv"]:
            source = (each["secretName"], pair["secretKey"], each.get("optional", False))
            env[pair["envVar"]] = ("secretKeyRef", *source)
    return env


def volumes_of_step(settings: Document) -> Document:
    volumes: Document = {}
    for each in settings.pop("configMapAsVolume", []):
        assert not each["optional"]
        volumes[each["mountPath"]] = {"configMap": {"name": each["configMapName"]}}
    for each in settings.pop("pvcMount", []):
        claim = {"claimName": each["constant"]}
        volumes[each["mountPath"]] = {"persistentVolumeClaim": claim}
    for each in settings.pop("emptyDirMounts", []):
        empty = {"medium": each["medium"], "sizeLimit": each["sizeLimit"]}
        volumes[each["mountPath"]] = {"emptyDir": empty}
    return volumes


def read_job(spec: Document) -> Document:
    """Return what a node of a TrainJob asks for, by the fields of PodRequest."""
    trainer = spec.pop("trainer")
    assert trainer.pop("numNodes") == 2
    (patch,) = spec.pop("runtimePatches")
    del spec["runtimeRef"], patch["manager"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"].pop("replicatedJobs")
    template = job["template"]["spec"]["template"]
    metadata, pod = template.pop("metadata"), template.pop("spec")
    (container,) = pod.pop("containers")
    assert container.pop("name") == job.pop("name") == "node"
    resources = trainer.pop("resourcesPerNode")
    requests = resources.pop("requests")
    mounts = {each["name"]: each["mountPath"] for each in container.pop("volumeMounts")}
    read = {
        "image": trainer.pop("image"),
        "image_pull_policy": None,
        "image_pull_secrets": [each["name"] for each in pod.pop("imagePullSecrets", [])],
        "labels": metadata.pop("labels"),
        "annotations": metadata.pop("annotations"),
        "security_context": container.pop("securityContext"),
        "env": dict(map(variable_of_job, trainer.pop("env"))),
        "volumes": {mounts.pop(each.pop("name")): each for each in pod.pop("volumes")},
        "resources": equal(requests, resources.pop("limits"), "both")["both"],
        "node_selector": pod.pop("nodeSelector", {}),
        "node_requirements": requirements_of_job(pod.pop("affinity", {})),
        "tolerations": pod.pop("tolerations"),
        "active_deadline_seconds": spec.pop("activeDeadlineSeconds"),
    }
    left = [spec, trainer, resources, metadata, pod, container, mounts, template]
    assert not any(left), f"a node asks for more than this test knows of: {left}"
    return read


def variable_of_job(variable: Document) -> tuple[str, Any]:
    if "value" in variable:
        return variable["name"], variable["value"]
    ((kind, source),) = variable["valueFrom"].items()
    return variable["name"], (kind, source["name"], source["key"], source.get("optional", False))


def requirements_of_job(affinity: Document) -> list[Document]:
    if not affinity:
        return []
    (terms,) = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"].values()
    (term,) = terms
    assert affinity.keys() == {"nodeAffinity"}
    assert len(affinity["nodeAffinity"]) == 1
    assert term.keys() == {"matchExpressions"}
    return list(term["matchExpressions"])


def equal(request: Any, limit: Any, name: str) -> Document:
    assert request == limit
    return {name: request}


@pytest.mark.parametrize("options", PLACEMENTS.values(), ids=PLACEMENTS)
def test_a_step_and_a_node_ask_for_the_same(options: dict[str, Any]) -> None:
    common = {name: value for name, value in options.items() if name not in OF_STEPS_ONLY}
    step, node = step_of(common), node_of(options)
    assert step.keys() == {field.name for field in fields(PodRequest)}
    assert node == step


@pytest.mark.parametrize("name", sorted(EVERY_OPTION.keys() - NOT_OF_POD - {"gpu_label"}))
def test_each_option_reaches_both_but_for_those_that_trainer_cannot_take(name: str) -> None:
    def changed(read: Any) -> set[str]:
        before, after = read({}), read({name: EVERY_OPTION[name]})
        return {field for field in before if before[field] != after[field]}

    assert changed(step_of)
    assert changed(step_of) - changed(node_of) == OF_STEPS_ONLY.get(name, set())


def test_every_option_is_one_that_is_tried() -> None:
    defaults = Placement()
    assert EVERY_OPTION.keys() == {field.name for field in fields(Placement)}
    assert all(getattr(defaults, name) != value for name, value in EVERY_OPTION.items())


def test_everything_is_what_kubernetes_calls_it() -> None:
    assert node_of(EVERY_OPTION) == {
        "image": "registry.example.com/team/trainer:2",
        "image_pull_policy": None,
        "image_pull_secrets": ["registry", "registry-2"],
        "labels": POD_LABELS,
        "annotations": POD_ANNOTATIONS,
        "security_context": {"runAsUser": USER_ID, "runAsGroup": USER_ID, "runAsNonRoot": True},
        "env": {
            "ACCRETE_S3_ENDPOINT": ("configMapKeyRef", "team-store", "endpoint", False),
            "ACCRETE_S3_REGION": ("configMapKeyRef", "team-store", "region", False),
            "ACCRETE_S3_ADDRESSING": ("configMapKeyRef", "team-store", "addressing", True),
            "ACCRETE_S3_CREDENTIALS": "aws",
            "ACCRETE_STORE_WAIT": "60",
            "ACCRETE_PUSHGATEWAY": "http://push:9091",
            "ACCRETE_S3_CA_BUNDLE": "/etc/accrete/store-ca/ca.crt",
        },
        "volumes": {
            "/etc/accrete/store-ca": {"configMap": {"name": "team-ca"}},
            "/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},  # noqa: S108
        },
        "resources": {"cpu": "7500m", "memory": "60Gi", "amd.com/gpu": "2"},
        "node_selector": {"disk": "ssd", "zone": "z1"},
        "node_requirements": [
            {"key": "amd.com/gpu.product-name", "operator": "In", "values": ["MI300X", "MI325X"]}
        ],
        "tolerations": [
            {"key": "dedicated", "operator": "Equal", "value": "training", "effect": "NoSchedule"},
            {"key": "empty", "operator": "Equal", "value": "", "effect": "PreferNoSchedule"},
            {"key": "maintenance", "operator": "Exists", "effect": "NoExecute"},
            {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        ],
        "active_deadline_seconds": 7200,
    }


def test_keys_come_from_the_secret_where_nothing_else_is_said_and_a_token_may_be_there() -> None:
    for read in (step_of, node_of):
        env = read({})["env"]
        assert {name: source for name, source in env.items() if source[0] == "secretKeyRef"} == {
            "ACCRETE_S3_ACCESS_KEY": ("secretKeyRef", "accrete-store", "access-key", False),
            "ACCRETE_S3_SECRET_KEY": ("secretKeyRef", "accrete-store", "secret-key", False),
            "ACCRETE_S3_SESSION_TOKEN": ("secretKeyRef", "accrete-store", "session-token", True),
        }
        assert "ACCRETE_S3_CREDENTIALS" not in env


def test_the_taint_of_gpus_is_tolerated_once() -> None:
    for read in (step_of, node_of):
        (toleration,) = read({"tolerations": (GPU_TAINT,)})["tolerations"]
        assert toleration["key"] == "nvidia.com/gpu"
