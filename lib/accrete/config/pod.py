"""What a run's pods ask of the cluster, said once for a pipeline's steps and a TrainJob's nodes.

Objects are Kubernetes' own (kubernetes.io/docs/reference/kubernetes-api, Pod v1).
`pipelines/placing.py` hands them to KFP, `steps/train_job.py` to Kubeflow Trainer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from accrete.config.kubernetes import Toleration, plain_cpu, plain_memory
from accrete.config.placement import Placement
from accrete.core.environment import (
    ENV_ACCESS_KEY,
    ENV_ADDRESSING,
    ENV_CA_BUNDLE,
    ENV_CREDENTIALS,
    ENV_ENDPOINT,
    ENV_FETCH_AHEAD,
    ENV_KFP_RUN_ID,
    ENV_POD_NAME,
    ENV_POD_UID,
    ENV_PUSHGATEWAY,
    ENV_REGION,
    ENV_SECRET_KEY,
    ENV_SESSION_TOKEN,
    ENV_STORE_WAIT,
)

POD_LABELS = {"app.kubernetes.io/name": "accrete", "app.kubernetes.io/component": "step"}
"""Labels of every step's pod: what `manifests/` selects them by."""

RUN_LABEL = "pipeline/runid"
"""Kubeflow Pipelines' label of a run's pods and of its workflow; the value is the run's id."""

POD_ANNOTATIONS = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": "9464",
    "prometheus.io/path": "/metrics",
}
"""Where a step's metrics are while it runs: its pod declares no port, KFP has no way to."""

USER_ID = 65532
"""The image's user and group. Said to KFP too: it leaves a step's user open, and the Pod Security
Standard `restricted` refuses such a pod."""

_CACHE_PATH = "/cache"
"""Where the image keeps its cache (`ACCRETE_CACHE` in images/Dockerfile)."""

_STORE_CA_PATH = "/etc/accrete/store-ca"
"""Where a step finds the CA of the store; `manifests/components/store-ca` has the same."""

_LONGEST_DEADLINE_S = 2**31 - 1
"""Kubernetes takes no longer `activeDeadlineSeconds`."""

_MARGIN_S = 600
"""A step that waits for a TrainJob may outlive it by this: the job's own deadline says more."""

Object = Mapping[str, Any]
"""An object of Kubernetes' API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRequest:
    """What a pod with one container asks for."""

    image: str
    """The container's image."""
    image_pull_policy: str | None
    """When a node fetches the image; None: Kubernetes' own rule."""
    image_pull_secrets: tuple[Object, ...]
    """A LocalObjectReference to each Secret with a registry's credentials."""
    labels: Mapping[str, str]
    """The pod's labels."""
    annotations: Mapping[str, str]
    """The pod's annotations."""
    security_context: Object
    """The container's SecurityContext: user and group."""
    env: tuple[Object, ...]
    """The container's EnvVars."""
    volumes: Mapping[str, Object]
    """The pod's Volumes, by the path at which the container has them."""
    resources: Mapping[str, str] = field(default_factory=dict)
    """The container's requests, which are its limits too; empty: what the namespace gives."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels that the node must have."""
    node_requirements: tuple[Object, ...] = ()
    """NodeSelectorRequirements, all of which the node must meet."""
    tolerations: tuple[Object, ...] = ()
    """Tolerations of taints."""
    active_deadline_seconds: int
    """How long one attempt may take."""


def step_pod(placement: Placement) -> PodRequest:
    """Return what every step asks for: image, access to the store. Credentials are environment."""
    env = _store_env(placement)
    volumes: dict[str, Object] = {}
    if placement.pushgateway:
        env.append({"name": ENV_PUSHGATEWAY, "value": placement.pushgateway})
    if placement.store_ca:
        # the component store-ca gives the volume this name: a TrainJob's takes its place
        volumes[_STORE_CA_PATH] = {"name": "store-ca", "configMap": {"name": placement.store_ca}}
        env.append({"name": ENV_CA_BUNDLE, "value": f"{_STORE_CA_PATH}/ca.crt"})
    asked = {"cpu": placement.other_cpu, "memory": placement.other_memory}
    return PodRequest(
        image=placement.image,
        image_pull_policy=placement.pull_policy,
        image_pull_secrets=tuple({"name": name} for name in placement.pull_secrets),
        labels=POD_LABELS,
        annotations=POD_ANNOTATIONS,
        security_context={"runAsUser": USER_ID, "runAsGroup": USER_ID, "runAsNonRoot": True},
        env=tuple(env),
        volumes=volumes,
        resources=_plain({name: value for name, value in asked.items() if value is not None}),
        active_deadline_seconds=placement.timeout_s,
    )


def training_pod(placement: Placement, stages: range) -> PodRequest:
    """Return what a training step asks for beside that: a node, CPU, memory, GPUs, a cache.

    Args:
        placement: fitted to the plan.
        stages: of the step. Where it has several nodes, this is the pod of one of them.
    """
    pod = step_pod(placement)
    env, volumes = list(pod.env), dict(pod.volumes)
    if placement.cache_claim:
        claim = {"claimName": placement.cache_claim}
        volumes[_CACHE_PATH] = {"name": "cache-claim", "persistentVolumeClaim": claim}
        env.append({"name": ENV_FETCH_AHEAD, "value": "1"})
    memory = {"medium": "Memory", "sizeLimit": placement.shared_memory}
    # where worker processes share tensors
    volumes["/dev/shm"] = {"name": "dshm", "emptyDir": memory}  # noqa: S108
    pod = replace(
        pod,
        env=tuple(env),
        volumes=volumes,
        resources=_plain({"cpu": placement.train_cpu, "memory": placement.train_memory}),
        node_selector=dict(placement.node_selector),
        tolerations=tuple(map(_toleration, placement.tolerations)),
    )
    gpus = placement.gpus_of(stages) // placement.nodes_of(stages)
    return _with_gpus(pod, placement, gpus) if gpus else pod


def node_pod(placement: Placement, stages: range) -> PodRequest:
    """Return what each node of a TrainJob asks for: what a training step does, but for two things.

    No patch of Trainer 2.3 has a pull policy: the runtime's holds. And a claim is mostly of one
    node at a time, so that each has a cache of its own, which goes with the pod.
    """
    return training_pod(replace(placement, pull_policy=None, cache_claim=None), stages)


def waiting_pod(placement: Placement, stages: range) -> PodRequest:
    """Return what a step asks for that waits for TrainJobs: its own name, so that they end with it.

    Args:
        placement: fitted to the plan.
        stages: of the step, each of which becomes a job.
    """
    pod = step_pod(placement)
    itself = tuple(
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for name, path in (
            (ENV_POD_NAME, "metadata.name"),
            (ENV_POD_UID, "metadata.uid"),
            (ENV_KFP_RUN_ID, f"metadata.labels['{RUN_LABEL}']"),
        )
    )
    of_a_job_s = placement.timeout_s + placement.node_wait_s + _MARGIN_S
    deadline_s = min(len(stages) * of_a_job_s, _LONGEST_DEADLINE_S)
    return replace(pod, env=(*pod.env, *itself), active_deadline_seconds=deadline_s)


def _store_env(placement: Placement) -> list[Object]:
    """Return the store's variables, by reference to the ConfigMap and the Secret of one name.

    Where the service account gives the keys, no Secret is asked for.
    """
    keys: tuple[tuple[str, str, str, Object], ...] = (
        (ENV_ENDPOINT, "configMapKeyRef", "endpoint", {}),
        (ENV_REGION, "configMapKeyRef", "region", {}),
        (ENV_ADDRESSING, "configMapKeyRef", "addressing", {"optional": True}),
    )
    by_account: list[Object] = []
    if placement.store_credentials == "secret":
        keys += (
            (ENV_ACCESS_KEY, "secretKeyRef", "access-key", {}),
            (ENV_SECRET_KEY, "secretKeyRef", "secret-key", {}),
            (ENV_SESSION_TOKEN, "secretKeyRef", "session-token", {"optional": True}),
        )
    else:
        by_account.append({"name": ENV_CREDENTIALS, "value": "aws"})
    name = placement.store_config
    return (
        [
            {"name": variable, "valueFrom": {source: {"name": name, "key": key, **more}}}
            for variable, source, key, more in keys
        ]
        + by_account
        + _store_wait(placement)
    )


def _store_wait(placement: Placement) -> list[Object]:
    if placement.store_wait_s is None:
        return []
    return [{"name": ENV_STORE_WAIT, "value": str(placement.store_wait_s)}]


def _plain(resources: Mapping[str, str]) -> dict[str, str]:
    """Return amounts in a form that kfp takes, too."""
    forms = {"cpu": plain_cpu, "memory": plain_memory}
    return {name: forms[name](amount) for name, amount in resources.items()}


def _with_gpus(pod: PodRequest, placement: Placement, gpus: int) -> PodRequest:
    """Ask for so many GPUs of the chosen kinds, on nodes that are kept for pods with GPUs too."""
    kept = _toleration(Toleration(key=placement.gpu_resource, value=None, effect="NoSchedule"))
    kinds = list(placement.gpu_kinds)  # a node selector could name one kind only
    one_of = {"key": placement.gpu_label, "operator": "In", "values": kinds}
    return replace(
        pod,
        resources={**pod.resources, placement.gpu_resource: str(gpus)},
        node_requirements=(one_of,) if kinds else (),
        tolerations=(*(each for each in pod.tolerations if each != kept), kept),
    )


def _toleration(of: Toleration) -> Object:
    how = {"operator": "Exists"} if of.value is None else {"operator": "Equal", "value": of.value}
    return {"key": of.key, "effect": of.effect, **how}
