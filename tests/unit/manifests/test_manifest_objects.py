"""The manifests' objects fit each other: what one names, another is."""

import re
import shutil
import socket
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import HANGS_S
from manifest_sample import (
    FORMS,
    MANIFESTS,
    Document,
    containers,
    documents_of,
    environment,
    of_kind,
    pod_specs,
    pod_templates,
    render,
)
from yaml_sample import document_in, documents_in

from accrete.config.placement import Placement
from accrete.store._ports import free_ports

CLUSTER_SCOPED = ("Namespace", "PriorityClass")
STORE = {
    ("StatefulSet", "accrete-store"), ("Service", "accrete-store"),
    ("Service", "accrete-store-pods"),
    ("PriorityClass", "accrete-store"), ("NetworkPolicy", "accrete-store"),
    ("NetworkPolicy", "accrete-pods-to-store"),
}  # fmt: skip
RUNS = {
    ("ServiceAccount", "accrete-step"), ("ConfigMap", "accrete-store"),
    ("PersistentVolumeClaim", "accrete-cache"), ("Job", "accrete-cache"),
    *(("NetworkPolicy", f"accrete-{name}") for name in
      ("pods-deny", "pods-to-dns", "pods-to-store", "steps-to-kubeflow", "steps-monitoring")),
}  # fmt: skip
BASE = STORE | RUNS | {
    ("Namespace", "accrete"), ("ResourceQuota", "accrete"), ("LimitRange", "accrete"),
    ("PriorityClass", "accrete-train"), ("Job", "accrete-doctor"),
    ("NetworkPolicy", "default-deny"), ("NetworkPolicy", "kubeflow-drivers"),
}  # fmt: skip
UNITS = {"": 1, "m": Fraction(1, 1000), "k": 1000, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@pytest.fixture(params=FORMS)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return documents_of(request.param)


def amount(quantity: Any) -> Fraction:
    """Return a Kubernetes quantity as a number."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity)).groups()
    return Fraction(number) * UNITS[unit]


def in_namespace(documents: list[Document], namespace: str) -> set[tuple[str, str]]:
    return {
        (document["kind"], document["metadata"]["name"])
        for document in documents
        if document["metadata"].get("namespace", "accrete") == namespace
    }


def with_defaults(pod: Document, limits: Document) -> dict[str, Fraction]:
    """Return what a pod asks for once a LimitRange's defaults are filled in."""
    (default,) = [limit for limit in limits["spec"]["limits"] if limit["type"] == "Container"]
    total: dict[str, Fraction] = {}
    for container in pod["containers"]:
        own = container.get("resources", {})
        asked = {**default["defaultRequest"], **own.get("limits", {}), **own.get("requests", {})}
        for name, quantity in asked.items():
            total[name] = total.get(name, Fraction(0)) + amount(quantity)
    return total


def test_each_form_has_the_objects_that_it_should() -> None:
    assert in_namespace(documents_of("base"), "accrete") == BASE
    assert in_namespace(documents_of("gpu"), "accrete") == BASE
    assert in_namespace(documents_of("kind"), "accrete") == BASE
    assert in_namespace(documents_of("kind"), "kubeflow") == RUNS
    external = BASE - STORE | {("NetworkPolicy", "accrete-pods-to-external-store")}
    assert in_namespace(documents_of("external"), "accrete") == external


def test_every_object_is_marked_as_ours_and_has_a_namespace_where_it_can(
    documents: list[Document],
) -> None:
    for document in documents:
        metadata = document["metadata"]
        assert metadata["labels"]["app.kubernetes.io/name"] == "accrete"
        assert ("namespace" in metadata) == (document["kind"] not in CLUSTER_SCOPED)


def test_no_object_grants_a_right(documents: list[Document]) -> None:
    kinds = {document["kind"] for document in documents}
    assert not {kind for kind in kinds if "Role" in kind}


def test_no_pod_gets_the_sidecar_of_a_mesh() -> None:
    """A Job's would never let it end; steps have none, by Kubeflow's own annotation."""
    found = 0
    for path in MANIFESTS.rglob("*.yaml"):
        documents = [each for each in documents_in(path.read_text()) if each]
        for document in documents:
            spec = document.get("spec", {})
            for job in spec.get("template", {}).get("spec", {}).get("replicatedJobs", []):
                spec = job["template"]["spec"]
            if document["kind"] in ("StatefulSet", "Deployment", "Job", "TrainingRuntime"):
                labels = spec["template"]["metadata"]["labels"]
                assert labels["sidecar.istio.io/inject"] == "false", path
                found += 1
    assert found == 5


def test_services_select_pods_that_have_their_ports(documents: list[Document]) -> None:
    for service in of_kind(documents, "Service"):
        spec = service["spec"]
        selected = [
            template
            for namespace, template in pod_templates(documents)
            if namespace == service["metadata"]["namespace"]
            and spec["selector"].items() <= template["metadata"]["labels"].items()
        ]
        (template,) = selected
        ports = {
            port["name"]: port["containerPort"]
            for container in containers(template["spec"])
            for port in container.get("ports", [])
        }
        assert [ports[port["targetPort"]] for port in spec["ports"]] == [8333]


def test_the_stateful_set_selects_its_pods_and_has_its_headless_service(
    documents: list[Document],
) -> None:
    services = {s["metadata"]["name"]: s["spec"] for s in of_kind(documents, "Service")}
    for stateful in of_kind(documents, "StatefulSet"):
        spec = stateful["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert services[spec["serviceName"]]["clusterIP"] == "None"


@pytest.mark.parametrize("form", ["base", "kind", "gpu"])
def test_the_store_s_address_is_that_of_its_service(form: str) -> None:
    documents = documents_of(form)
    for config in of_kind(documents, "ConfigMap"):
        url = urlsplit(config["data"]["endpoint"])
        name, namespace, last = str(url.hostname).split(".")
        (service,) = [s for s in of_kind(documents, "Service") if s["metadata"]["name"] == name]
        assert (namespace, last) == (service["metadata"]["namespace"], "svc")
        assert url.port in [port["port"] for port in service["spec"]["ports"]]


def test_what_pods_name_is_there(documents: list[Document]) -> None:
    names = {
        (document["metadata"].get("namespace"), document["kind"], document["metadata"]["name"])
        for document in documents
    }
    secret = document_in((MANIFESTS / "base" / "secret.example.yaml").read_text())
    for namespace, template in pod_templates(documents):
        spec = template["spec"]
        assert (namespace, "ServiceAccount", spec["serviceAccountName"]) in names
        if "priorityClassName" in spec:
            assert (None, "PriorityClass", spec["priorityClassName"]) in names
        for volume in spec.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert (namespace, "PersistentVolumeClaim", claim) in names
        for container in containers(spec):
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {})
                if "secretKeyRef" in source:
                    assert source["secretKeyRef"]["name"] == secret["metadata"]["name"]
                    key = source["secretKeyRef"]["key"]
                    is_optional = source["secretKeyRef"].get("optional", False)
                    assert is_optional == (key == "session-token")
                    assert is_optional or key in secret["stringData"]
                if "configMapKeyRef" in source:
                    assert (namespace, "ConfigMap", source["configMapKeyRef"]["name"]) in names


def test_every_mount_has_its_volume(documents: list[Document]) -> None:
    for document in documents:
        spec = document.get("spec", {})
        if "template" not in spec:
            continue
        pod = spec["template"]["spec"]
        claims = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
        volumes = claims | {volume["name"] for volume in pod.get("volumes", [])}
        used = {mount["name"] for c in containers(pod) for mount in c.get("volumeMounts", [])}
        assert used == volumes


def test_every_container_says_what_it_needs_and_what_it_may_take(
    documents: list[Document],
) -> None:
    for pod in pod_specs(documents):
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys()
            assert amount(resources["requests"]["memory"]) <= amount(resources["limits"]["memory"])


@pytest.mark.parametrize("form", FORMS)
def test_the_quota_admits_eight_gpus_of_training_beside_all_else_and_no_ninth(form: str) -> None:
    documents = documents_of(form)
    (quota,) = of_kind(documents, "ResourceQuota")
    (limits,) = of_kind(documents, "LimitRange")
    hard = {name: amount(quantity) for name, quantity in quota["spec"]["hard"].items()}
    placement = Placement(gpus=(1,))
    training = {
        "containers": [
            {
                "resources": {
                    "requests": {
                        "cpu": placement.train_cpu,
                        "memory": placement.train_memory,
                        placement.gpu_resource: "1",
                    }
                }
            },
            {},  # Argo's
        ]
    }
    ours = [t["spec"] for namespace, t in pod_templates(documents) if namespace == "accrete"]
    pods = ours + [training] * 8
    for resource in ("cpu", "memory", "nvidia.com/gpu"):
        asked = [with_defaults(pod, limits).get(resource, Fraction(0)) for pod in pods]
        assert sum(asked) <= hard[f"requests.{resource}"]
    assert hard["requests.nvidia.com/gpu"] == 8
    assert len(pods) <= hard["pods"]


def test_the_quota_admits_the_volumes(documents: list[Document]) -> None:
    (quota,) = of_kind(documents, "ResourceQuota")
    (limits,) = of_kind(documents, "LimitRange")
    (most,) = [x["max"]["storage"] for x in limits["spec"]["limits"] if "max" in x]
    claims = of_kind(documents, "PersistentVolumeClaim")
    for stateful in of_kind(documents, "StatefulSet"):
        claims += [
            claim | {"metadata": claim["metadata"] | {"namespace": "accrete"}}
            for claim in stateful["spec"]["volumeClaimTemplates"]
        ]
    sizes = [
        amount(claim["spec"]["resources"]["requests"]["storage"])
        for claim in claims
        if claim["metadata"]["namespace"] == "accrete"
    ]
    assert max(sizes) <= amount(most)
    assert sum(sizes) <= amount(quota["spec"]["hard"]["requests.storage"])
    assert len(sizes) <= int(quota["spec"]["hard"]["persistentvolumeclaims"])


def test_the_cache_is_given_to_the_group_that_steps_run_in(documents: list[Document]) -> None:
    jobs = [j for j in of_kind(documents, "Job") if j["metadata"]["name"] == "accrete-cache"]
    assert jobs
    for job in jobs:
        security = job["spec"]["template"]["spec"]["securityContext"]
        assert security["fsGroup"] == security["runAsGroup"] == 65532


def test_the_gpu_overlay_binds_the_cache_to_a_node_with_gpus() -> None:
    (job,) = [
        j for j in of_kind(documents_of("gpu"), "Job") if j["metadata"]["name"] == "accrete-cache"
    ]
    spec = job["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu"]


def test_the_classes_of_priority_put_the_store_before_training() -> None:
    values = {
        c["metadata"]["name"]: c["value"] for c in of_kind(documents_of("base"), "PriorityClass")
    }
    assert 0 < values["accrete-train"] < values["accrete-store"] < 1_000_000_000


@pytest.mark.parametrize("form", FORMS)
def test_rendering_twice_gives_the_same(form: str) -> None:
    first = render(form)
    render.cache_clear()
    assert render(form) == first


def test_shell_scripts_in_manifests_pass_shellcheck(documents: list[Document]) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip(f"no shellcheck beside {sys.executable}: install the package's dev extra")
    scripts = []
    for pod in pod_specs(documents):
        for container in containers(pod):
            command = container.get("command", [])
            if command[:1] == ["/bin/sh"]:
                scripts += [*command[2:], *container.get("args", [])]
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                words = container.get(probe, {}).get("exec", {}).get("command", [])
                if words[:1] == ["/bin/sh"]:
                    scripts += words[2:]
    assert scripts
    for script in scripts:
        done = subprocess.run(
            [shellcheck, "--shell=sh", "-"],
            input=script, capture_output=True, text=True, timeout=HANGS_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_the_kind_cluster_with_trainer_has_what_steps_need_where_they_run() -> None:
    def listed(form: str) -> set[tuple[str, str, str]]:
        return {
            (d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"])
            for d in documents_of(form)
        }

    assert listed("kind") <= listed("kind-multi-node")
    assert listed("kind-multi-node") - listed("kind") == {
        ("NetworkPolicy", "kubeflow", "accrete-nodes"),
        ("Role", "kubeflow", "accrete-train-jobs"),
        ("RoleBinding", "kubeflow", "accrete-train-jobs"),
        ("TrainingRuntime", "kubeflow", "accrete-torch"),
    }
    (binding,) = of_kind(documents_of("kind-multi-node"), "RoleBinding")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "kubeflow"}
    ]


def cache_script(folder: Path) -> list[str]:
    """Return the command line of the cache's Job, on another folder and without its pauses."""
    (job,) = [
        j for j in of_kind(documents_of("base"), "Job") if j["metadata"]["name"] == "accrete-cache"
    ]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    script = script.replace("/cache", str(folder)).replace("sleep 2", "sleep 0.02")
    return [str(shutil.which("sh")), *container["command"][1:], script]


@pytest.mark.parametrize("writable", [True, False])
def test_the_cache_s_job_says_what_to_do_where_it_cannot_write(
    writable: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "cache" if writable else tmp_path / "missing"
    (tmp_path / "cache").mkdir()
    done = subprocess.run(
        cache_script(folder), capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.returncode == (0 if writable else 1)
    assert ("ignores fsGroup" in done.stderr) != writable
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_cache_s_job_waits_for_a_volume_that_becomes_writable(tmp_path: Path) -> None:
    process = subprocess.Popen(
        cache_script(tmp_path / "cache"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    with process:
        time.sleep(0.2)
        assert process.poll() is None
        (tmp_path / "cache").mkdir()
        _, said = process.communicate(timeout=HANGS_S)
    assert (process.returncode, said) == (0, b"")


def waiting(endpoint: str, limit_s: str) -> "subprocess.Popen[str]":
    """Start what the doctor's Job does before its checks."""
    (job,) = [
        j for j in of_kind(documents_of("base"), "Job") if j["metadata"]["name"] == "accrete-doctor"
    ]
    (container,) = job["spec"]["template"]["spec"]["initContainers"]
    assert container["command"] == ["python3", "-c"]
    limit = float(environment(container)["WAIT_S"]["value"])
    assert 0 < limit < job["spec"]["activeDeadlineSeconds"]
    return subprocess.Popen(
        [sys.executable, "-c", *container["args"]],
        env={"ACCRETE_S3_ENDPOINT": endpoint, "WAIT_S": limit_s},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_doctor_s_job_waits_for_the_store_and_says_so_once() -> None:
    (port,) = free_ports(1)
    with waiting(f"http://127.0.0.1:{port}", "60") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith(f"waiting for the store at 127.0.0.1:{port}: ")
        with socket.create_server(("127.0.0.1", port)):
            rest, said = process.communicate(timeout=HANGS_S)
    assert (process.returncode, said) == (0, "")
    assert re.fullmatch(rf"the store at 127\.0\.0\.1:{port} is there after \d+ s\n", rest)


def test_the_doctor_s_job_does_not_wait_for_ever() -> None:
    (port,) = free_ports(1)
    with waiting(f"http://127.0.0.1:{port}", "0") as process:
        _, said = process.communicate(timeout=HANGS_S)
    assert process.returncode == 1
    assert said.startswith(f"the store at 127.0.0.1:{port} was not there for 0 s: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("endpoint", ["accrete-store:8333", "ftp://store", "http://", "http://a:b"])
def test_an_address_that_is_none_is_one_line_of_the_doctor_s_job(endpoint: str) -> None:
    with waiting(endpoint, "60") as process:
        _, said = process.communicate(timeout=HANGS_S)
    assert process.returncode == 1
    assert said == "ConfigMap accrete-store: endpoint is no http:// or https:// address\n"
