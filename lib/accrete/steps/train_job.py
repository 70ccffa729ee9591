"""The TrainJob of a stage on several nodes, as Kubeflow Trainer v2 takes it, and how it stands.

It names a Secret, and has none of its values. What a placement decides is in the compiled pipeline;
what only the run knows is added by the step that creates the job.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from accrete.config.placement import Placement
from accrete.config.pod import RUN_LABEL, PodRequest, node_pod
from accrete.core.environment import ENV_STORE

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"

RUNTIME = "accrete-torch"
"""The TrainingRuntime of manifests/components/multi-node."""

NODE = "node"
"""Its job and container: Trainer finds by this name what to change."""

PATCH_MANAGER = "accrete.local/pipeline"
"""Who patches the runtime; Trainer wants a name with a domain before it."""

LABELS = {"app.kubernetes.io/name": "accrete", "app.kubernetes.io/component": "train-job"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The pod whose end takes the job with it."""

    name: str
    """The pod's name."""
    uid: str
    """Its unique id: another pod of that name owns nothing."""


def train_job_spec(placement: Placement, stages: range) -> dict[str, Any]:
    """Return the part of a TrainJob's spec that a placement decides.

    Args:
        placement: fitted to the plan.
        stages: of the step; each becomes a job of its own.
    """
    pod = node_pod(placement, stages)
    nodes = {"name": NODE, "template": {"spec": {"template": _template_patch(pod)}}}
    return {
        "activeDeadlineSeconds": pod.active_deadline_seconds,
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
        "trainer": {
            "numNodes": placement.nodes_of(stages),
            "image": pod.image,
            "resourcesPerNode": {"requests": pod.resources, "limits": pod.resources},
            "env": list(pod.env),
        },
        "runtimePatches": [
            {
                "manager": PATCH_MANAGER,
                "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [nodes]}}},
            }
        ],
    }


def _template_patch(pod: PodRequest) -> dict[str, Any]:
    """Return what changes in the pods of the runtime.

    Trainer merges it as Kubernetes does: volumes by name, mounts by path, what is a mapping by key;
    tolerations and terms of affinity take the place of the runtime's.
    """
    mounts = [{"name": each["name"], "mountPath": path} for path, each in pod.volumes.items()]
    container = {"name": NODE, "securityContext": pod.security_context, "volumeMounts": mounts}
    terms = [{"matchExpressions": list(pod.node_requirements)}]
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    spec = {
        "containers": [container],
        "volumes": list(pod.volumes.values()),
        "tolerations": list(pod.tolerations),
        "nodeSelector": pod.node_selector,
        "imagePullSecrets": list(pod.image_pull_secrets),
        "affinity": {"nodeAffinity": affinity} if pod.node_requirements else {},
    }
    return {
        "metadata": {"labels": pod.labels, "annotations": pod.annotations},
        "spec": {field: value for field, value in spec.items() if value},
    }


def train_job_name(run_name: str, stage: int, identity: str) -> str:
    """Return the name of a stage's job: one job for one stage of one run, whoever asks for it.

    Trainer makes host names of it, `NAME-node-0-0`, and pods with six characters more, which must
    stay within 63: so it has at most 47.

    Args:
        run_name: the run.
        stage: its index, from 1.
        identity: of the stage, 64 hexadecimal digits.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", run_name.lower())[:22].strip("-")
    digest = hashlib.sha256(f"{run_name}/{identity}".encode()).hexdigest()[:10]
    return f"accrete-{readable}-{stage}-{digest}"


def train_job(
    spec: Mapping[str, Any],
    *,
    name: str,
    namespace: str,
    owner: Owner | None,
    arguments: list[str],
    store_uri: str,
    run_id: str | None = None,
) -> dict[str, Any]:
    """Return the whole object.

    Args:
        spec: from `train_job_spec`, on its way through KFP, which makes floats of numbers.
        name: of the job.
        namespace: where it runs.
        owner: the pod that asks for it; None: nobody takes the job with it.
        arguments: of `accrete.node_step`.
        store_uri: `s3://bucket[/prefix]`.
        run_id: Kubeflow's, by which its pods are found; None: they are not looked for.
    """
    whole = _with_integers(spec)
    trainer = whole["trainer"]
    trainer["command"] = ["python3", "-m", "accrete.node_step", *arguments]
    trainer["env"] = [*trainer["env"], {"name": ENV_STORE, "value": store_uri}]
    of_run = {RUN_LABEL: run_id} if run_id else {}
    for pod in _pod_patches(whole) if run_id else ():
        pod.setdefault("metadata", {}).setdefault("labels", {}).update(of_run)
    labels = LABELS | of_run
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels}
    if owner is not None:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}
        ]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": metadata,
        "spec": whole,
    }


def _pod_patches(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what changes in the runtime's pods, from a spec of `train_job_spec`."""
    for patch in spec["runtimePatches"]:
        for job in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
            yield job["template"]["spec"]["template"]


def _with_integers(value: Any) -> Any:
    """Return a copy whose whole floats are integers."""
    if isinstance(value, Mapping):
        return {str(key): _with_integers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


Phase = Literal["waiting", "running", "complete", "failed", "going"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJobState:
    """Where a job is on its way."""

    phase: Phase
    """`waiting` for room or to be let on, `running` on all nodes, done either way, or `going`: told
    to end, but not gone yet."""
    text: str
    """The same for people, with the reason that Kubernetes gives."""


def state_of(job: Mapping[str, Any]) -> TrainJobState:
    """Return how a job stands.

    Args:
        job: as the API has it; a job that nobody has taken up yet has no status.
    """
    if job["metadata"].get("deletionTimestamp"):
        return TrainJobState(phase="going", text="is told to end")
    status = job.get("status") or {}
    conditions = {
        condition["type"]: condition
        for condition in status.get("conditions") or []
        if condition["status"] == "True"
    }
    if "Failed" in conditions:
        return TrainJobState(phase="failed", text=f"failed: {_reason(conditions['Failed'])}")
    if "Complete" in conditions:
        return TrainJobState(phase="complete", text="is complete")
    if "Suspended" in conditions:
        reason = _reason(conditions["Suspended"])
        return TrainJobState(phase="waiting", text=f"is suspended: {reason}")
    return _state_of_nodes(status.get("jobsStatus"), job["spec"]["trainer"]["numNodes"])


def _state_of_nodes(jobs: list[dict[str, Any]] | None, num_nodes: int) -> TrainJobState:
    """Return how a job stands whose conditions say nothing. One child job has all nodes."""
    if not jobs:
        text = "was not taken up: is the controller of Kubeflow Trainer running?"
        return TrainJobState(phase="waiting", text=text)
    nodes = [job for job in jobs if job["name"] == NODE]
    if nodes and all(job["ready"] or job["succeeded"] for job in nodes):
        return TrainJobState(phase="running", text=f"runs on {num_nodes} nodes")
    return TrainJobState(
        phase="waiting",
        text=f"waits for {num_nodes} nodes: there is no room, or an image or a Secret is missing",
    )


def _reason(condition: Mapping[str, Any]) -> str:
    message = " ".join(str(condition.get("message") or "").split())
    return ": ".join(part for part in (str(condition.get("reason") or ""), message) if part)
