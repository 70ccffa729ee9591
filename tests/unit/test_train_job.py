"""Training on several nodes: the TrainJob fits Trainer's schema, the runtime, and the package."""

import copy
import importlib
import runpy
import sys
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api import models
from manifest_sample import MANIFESTS, Document, breaches, documents_of, of_kind, render

from accrete.placement import DEFAULT_IMAGE, POD_ANNOTATIONS, POD_LABELS

SCHEMAS = {
    "TrainJob": models.TrainerV1alpha1TrainJob,
    "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
}


def fits(document: Document) -> bool:
    """Return whether a document is read without loss: a field that is unknown would be dropped."""
    read = SCHEMAS[document["kind"]].from_dict(copy.deepcopy(document))
    return bool(read.to_dict() == document)


@pytest.fixture
def train_job() -> Document:
    return yaml.safe_load((MANIFESTS / "trainjob" / "trainjob.yaml").read_text())


@pytest.fixture
def runtime() -> Document:
    (document,) = of_kind(documents_of("gpu-multi-node"), "TrainingRuntime")
    return document


def job_of(runtime: Document) -> Document:
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    return job


def pod_of(runtime: Document) -> Document:
    return job_of(runtime)["template"]["spec"]["template"]


def test_job_and_runtime_fit_trainer_s_schema(train_job: Document, runtime: Document) -> None:
    assert fits(train_job)
    assert fits(runtime)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "trainer", "numNode"), 2),
        (("spec", "trainer", "numNodes"), "two"),
        (("spec", "runtimeRef", "names"), "x"),
        (("spec", "trainer", "command"), "python3"),
    ],
)
def test_a_misspelt_field_or_a_wrong_type_does_not_fit(
    train_job: Document, path: tuple[str, ...], value: object
) -> None:
    holder: Any = train_job
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    try:
        fitting = fits(train_job)
    except ValueError:  # pydantic's own is one
        fitting = False
    assert not fitting


def test_the_runtime_s_pod_is_a_valid_and_restricted_one(runtime: Document) -> None:
    template = pod_of(runtime)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"} | template["metadata"]}
    pod["spec"] = template["spec"]
    kubernetes_validate.validate(pod, "1.33.0", strict=True)
    assert breaches(template["spec"]) == []


def test_the_job_names_the_runtime_and_its_container_is_trainer_s(
    train_job: Document, runtime: Document
) -> None:
    reference = train_job["spec"]["runtimeRef"]
    assert reference["apiGroup"] == runtime["apiVersion"].partition("/")[0]
    assert (reference["kind"], reference["name"]) == (
        runtime["kind"],
        runtime["metadata"]["name"],
    )
    assert train_job["metadata"]["namespace"] == runtime["metadata"]["namespace"]
    # Trainer finds by these names where to put its variables, the command and the resources.
    assert job_of(runtime)["name"] == "node"
    label = job_of(runtime)["template"]["metadata"]["labels"]
    assert label["trainer.kubeflow.org/trainjob-ancestor-step"] == "trainer"
    (container,) = pod_of(runtime)["spec"]["containers"]
    assert container["name"] == "node"
    assert container["image"] == DEFAULT_IMAGE
    assert not any(variable["name"].startswith("PET_") for variable in container["env"])


def test_the_job_s_command_is_one_that_the_package_has(
    train_job: Document, monkeypatch: Any, capsys: Any
) -> None:
    python, flag, module, *arguments = train_job["spec"]["trainer"]["command"]
    assert (python, flag) == ("python3", "-m")
    importlib.import_module(module)
    for name in ("ACCRETE_S3_ENDPOINT", "PET_NNODES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit):
        runpy.run_module(module, run_name="__main__")
    assert capsys.readouterr().err.startswith("accrete: error: no object store: set ACCRETE_S3_")


def test_the_nodes_are_labelled_and_scraped_as_steps_are(runtime: Document) -> None:
    metadata = pod_of(runtime)["metadata"]
    assert metadata["labels"].items() >= POD_LABELS.items()
    assert metadata["annotations"] == POD_ANNOTATIONS


def test_what_the_runtime_names_is_there(runtime: Document) -> None:
    documents = documents_of("gpu-multi-node")
    names = {(document["kind"], document["metadata"]["name"]) for document in documents}
    spec = pod_of(runtime)["spec"]
    assert ("ServiceAccount", spec["serviceAccountName"]) in names
    assert ("PriorityClass", spec["priorityClassName"]) in names
    (container,) = spec["containers"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"/tmp", "/cache", "/dev/shm"}  # noqa: S108  mounts
    for variable in container["env"]:
        config = variable.get("valueFrom", {}).get("configMapKeyRef")
        assert config is None or ("ConfigMap", config["name"]) in names


def test_the_component_adds_the_runtime_and_its_policy_and_nothing_else() -> None:
    def listed(form: str) -> set[tuple[str, str]]:
        return {(d["kind"], d["metadata"]["name"]) for d in documents_of(form)}

    assert listed("gpu-multi-node") - listed("gpu") == {
        ("TrainingRuntime", "accrete-torch"),
        ("NetworkPolicy", "accrete-nodes"),
    }
    assert listed("gpu") <= listed("gpu-multi-node")
    for document in documents_of("gpu-multi-node"):
        if document["kind"] != "TrainingRuntime":
            kubernetes_validate.validate(document, "1.33.0", strict=True)
    assert "REPLACE-ME" not in render("gpu-multi-node")


def test_the_policy_selects_the_nodes_and_lets_them_talk_to_each_other(runtime: Document) -> None:
    (policy,) = [
        d["spec"]
        for d in of_kind(documents_of("gpu-multi-node"), "NetworkPolicy")
        if d["metadata"]["name"] == "accrete-nodes"
    ]
    wanted = policy["podSelector"]["matchLabels"]
    assert wanted.items() <= pod_of(runtime)["metadata"]["labels"].items()
    assert not wanted.items() <= POD_LABELS.items()  # steps of a pipeline are not among them
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": wanted}}]}]
    assert policy["egress"] == [{"to": [{"podSelector": {"matchLabels": wanted}}]}]


def test_the_quota_admits_the_job(train_job: Document) -> None:
    (quota,) = of_kind(documents_of("gpu-multi-node"), "ResourceQuota")
    trainer = train_job["spec"]["trainer"]
    gpus = trainer["numNodes"] * trainer["resourcesPerNode"]["requests"]["nvidia.com/gpu"]
    cpus = trainer["numNodes"] * int(trainer["resourcesPerNode"]["requests"]["cpu"])
    assert gpus <= int(quota["spec"]["hard"]["requests.nvidia.com/gpu"])
    assert cpus <= int(quota["spec"]["hard"]["requests.cpu"]) / 2
