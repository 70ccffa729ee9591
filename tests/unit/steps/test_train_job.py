"""Training on several nodes: the TrainJob fits Trainer's schema, the runtime, and the package."""

import copy
import importlib
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from conftest import HANGS_S
from kubeflow_trainer_api import models
from manifest_sample import (
    MANIFESTS,
    Document,
    breaches,
    documents_of,
    kustomize,
    of_kind,
    render,
)
from yaml_sample import document_in, documents_in

from accrete.config.kubernetes import Toleration
from accrete.config.placement import DEFAULT_IMAGE, Placement
from accrete.config.pod import POD_ANNOTATIONS, POD_LABELS
from accrete.steps.train_job import NODE, RUNTIME, Owner, train_job_name, train_job_spec
from accrete.steps.train_job import train_job as make_train_job

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
    return document_in((MANIFESTS / "trainjob" / "trainjob.yaml").read_text())


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
        ("Role", "accrete-train-jobs"),
        ("RoleBinding", "accrete-train-jobs"),
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


EVERYTHING = Placement(
    gpus=(16,),
    nodes=(2,),
    gpu_kinds=("MI300X",),
    gpu_label="amd.com/gpu.product-name",
    gpu_resource="amd.com/gpu",
    pull_secrets=("registry",),
    node_selector=(("disk", "ssd"),),
    tolerations=(Toleration(key="dedicated", value=None, effect="NoExecute"),),
    pushgateway="http://push:9091",
    store_config="team-store",
    store_ca="team-ca",
    shared_memory="8Gi",
)


def made(placement: Placement, owner: Owner | None = None) -> Document:
    return make_train_job(
        train_job_spec(placement, range(1, 2)),
        name=train_job_name("a run", 1, "0f" * 32),
        namespace="accrete",
        owner=owner,
        arguments=["a run", "1"],
        store_uri="s3://accrete/team",
    )


@pytest.mark.parametrize("placement", [Placement(gpus=(2,), nodes=(2,)), EVERYTHING])
def test_the_job_that_a_step_makes_fits_trainer_s_schema(placement: Placement) -> None:
    assert fits(made(placement, Owner(name="pod", uid="1")))


def test_the_job_and_its_pods_have_the_run_s_label_so_that_they_are_found() -> None:
    """Kubeflow labels the pods of its own steps alone."""
    spec = train_job_spec(Placement(gpus=(2,), nodes=(2,)), range(1, 2))
    job = make_train_job(
        spec, name="a", namespace="b", owner=None, arguments=[], store_uri="s3://accrete",
        run_id="e39cf6c4-4124-4348-9303-dcea88b06843",
    )  # fmt: skip
    assert fits(job)
    (patch,) = job["spec"]["runtimePatches"]
    (nodes,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = nodes["template"]["spec"]["template"]
    for labels in (job["metadata"]["labels"], pod["metadata"]["labels"]):
        assert labels["pipeline/runid"] == "e39cf6c4-4124-4348-9303-dcea88b06843"
    assert pod["metadata"]["labels"].items() >= POD_LABELS.items()
    assert "pipeline/runid" not in str(spec)  # what is compiled is of no run


def test_the_golden_pipeline_s_jobs_fit_trainer_s_schema() -> None:
    golden = MANIFESTS.parent / "tests" / "golden" / "incremental-nodes.yaml"
    spec, _ = documents_in(golden.read_text())
    jobs = [
        task["inputs"]["parameters"]["job"]["runtimeValue"]["constant"]
        for name, task in spec["root"]["dag"]["tasks"].items()
        if name.startswith("train-on-nodes")
    ]
    assert len(jobs) == 5
    for job in jobs:
        whole = make_train_job(
            job, name="a", namespace="b", owner=None, arguments=[], store_uri="s3://accrete"
        )
        assert fits(whole)
        assert whole["spec"]["trainer"]["numNodes"] == 2


def test_the_job_that_a_step_makes_changes_the_runtime_as_the_placement_says(
    runtime: Document,
) -> None:
    job = made(EVERYTHING)
    assert job["spec"]["runtimeRef"]["name"] == RUNTIME == runtime["metadata"]["name"]
    trainer = job["spec"]["trainer"]
    assert trainer["resourcesPerNode"]["limits"] == {
        "cpu": "4", "memory": "16G", "amd.com/gpu": "8",
    }  # fmt: skip
    assert trainer["command"] == ["python3", "-m", "accrete.node_step", "a run", "1"]
    values = {v["name"]: v.get("value", v.get("valueFrom")) for v in trainer["env"]}
    assert values["ACCRETE_STORE"] == "s3://accrete/team"
    assert values["ACCRETE_PUSHGATEWAY"] == "http://push:9091"
    assert values["ACCRETE_S3_SECRET_KEY"] == {
        "secretKeyRef": {"name": "team-store", "key": "secret-key"}
    }
    ours = {v["name"] for v in pod_of(runtime)["spec"]["containers"][0]["env"]}
    assert ours - {"ACCRETE_S3_BUCKET"} <= values.keys()  # nothing is left of another store
    (patch,) = job["spec"]["runtimePatches"]
    (patched,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert patched["name"] == NODE == job_of(runtime)["name"]
    pod = patched["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert [t["key"] for t in pod["tolerations"]] == ["dedicated", "amd.com/gpu"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert "MI300X" in str(pod["affinity"])


def merged(runtime: Document, placement: Placement) -> Document:
    """Return the pod that Trainer makes: it merges patches as `kubectl patch` does."""
    (patch,) = train_job_spec(placement, range(1, 2))["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = {"apiVersion": "v1", "kind": "Pod", **pod_of(runtime)}
    done = subprocess.run(
        [Path(sys.executable).with_name("kubectl"), "patch", "--local", "--filename=-",
         "--output=json", "--patch", json.dumps(job["template"]["spec"]["template"])],
        input=json.dumps(pod | {"metadata": pod["metadata"] | {"name": "node"}}),
        capture_output=True, text=True, timeout=HANGS_S, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("has_ca", [False, True])
def test_the_job_s_pods_are_valid_and_restricted_and_have_the_ca(
    runtime: Document, has_ca: bool
) -> None:
    if has_ca:  # as components/store-ca leaves the runtime
        component = document_in((MANIFESTS / "components/store-ca/kustomization.yaml").read_text())
        (adds,) = (p for p in component["patches"] if p["target"]["kind"] == "TrainingRuntime")
        volume, mount, variable = (each["value"] for each in document_in(adds["patch"]))
        spec = pod_of(runtime)["spec"]
        spec["volumes"].append(volume)
        spec["containers"][0]["volumeMounts"].append(mount)
        spec["containers"][0]["env"].append(variable)
    pod = merged(runtime, EVERYTHING)
    kubernetes_validate.validate(pod, "1.33.0", strict=True)
    assert breaches(pod["spec"]) == []
    assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "accrete-nodes"
    assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    (container,) = pod["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert all(len(volume) == 2 for volume in volumes.values())  # a name, and one source
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    assert mounts["/cache"] == "cache"
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["sizeLimit"] == "8Gi"  # noqa: S108
    assert volumes[mounts["/etc/accrete/store-ca"]]["configMap"]["name"] == "team-ca"


def test_a_spec_that_was_compiled_before_still_makes_a_job() -> None:
    pod = {"volumes": [{"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}]}
    job = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    patch = {"template": {"spec": {"replicatedJobs": [job]}}}
    spec = {
        "activeDeadlineSeconds": 7200.0,
        "runtimeRef": {"kind": "TrainingRuntime", "name": "accrete-torch"},
        "trainer": {
            "numNodes": 2.0,
            "image": DEFAULT_IMAGE,
            "resourcesPerNode": {"limits": {"nvidia.com/gpu": "8"}},
            "env": [{"name": "ACCRETE_PUSHGATEWAY", "value": "http://push:9091"}],
        },
        "runtimePatches": [{"manager": "accrete.local/pipeline", "trainingRuntimeSpec": patch}],
    }
    whole = make_train_job(
        spec, name="a", namespace="b", owner=None, arguments=["r", "1"], store_uri="s3://accrete"
    )
    assert fits(whole)
    assert whole["spec"]["runtimePatches"] == spec["runtimePatches"]
    assert whole["spec"]["trainer"]["numNodes"] == 2


@pytest.mark.parametrize("run", ["a", "x" * 200, "Digits_4.stages", "-", "123"])
def test_a_job_s_name_fits_what_trainer_makes_of_it(run: str) -> None:
    name = train_job_name(run, 999, "0f" * 32)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(f"{name}-node-0-0-abcde") <= 63


def test_a_job_s_name_is_that_of_one_stage_of_one_run() -> None:
    names = {
        train_job_name(run, stage, identity * 64)
        for run in ("a", "A", "a" * 100, "a" * 101)
        for stage, identity in ((1, "a"), (1, "b"), (2, "b"))
    }
    assert len(names) == 12
    assert train_job_name("a", 1, "b" * 64) == train_job_name("a", 1, "b" * 64)


def test_the_runtime_leaves_open_whose_gpus_its_nodes_have(runtime: Document) -> None:
    """The resource that a job asks for finds the node; a vendor's label would keep others out."""
    assert "nodeSelector" not in pod_of(runtime)["spec"]


STANDALONE = MANIFESTS / "overlays" / "gpu-multi-node" / "kubeflow"


@pytest.mark.parametrize(
    ("namespace", "account"), [("accrete", "default-editor"), ("kubeflow", "pipeline-runner")]
)
def test_the_account_of_steps_may_handle_train_jobs_there_and_nothing_else(
    namespace: str, account: str
) -> None:
    documents = documents_of("gpu-multi-node")
    if namespace == "kubeflow":
        documents = documents_in(kustomize(STANDALONE))
        assert {d["metadata"]["namespace"] for d in documents} == {"kubeflow"}
        assert {"TrainingRuntime", "ServiceAccount"} <= {d["kind"] for d in documents}
    assert not of_kind(documents, "ClusterRole") + of_kind(documents, "ClusterRoleBinding")
    (role,), (binding,) = of_kind(documents, "Role"), of_kind(documents, "RoleBinding")
    for document in (role, binding):
        kubernetes_validate.validate(document, "1.33.0", strict=True)
        assert document["metadata"]["namespace"] == namespace
    assert role["rules"] == [
        {
            "apiGroups": ["trainer.kubeflow.org"],
            "resources": ["trainjobs"],
            "verbs": ["create", "get", "list", "watch", "delete"],
        }
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    ]
