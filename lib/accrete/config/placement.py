"""Where a pipeline's steps run: image, nodes, GPUs, memory, retries. Changes no result."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from accrete.config.allocation import (
    FewestNodes,
    GrowingGpus,
    check_spread,
    parse_gpus,
    parse_nodes,
)
from accrete.config.kubernetes import (
    Toleration,
    check_cpu,
    check_image,
    check_label_key,
    check_label_value,
    check_memory,
    check_mounted_name,
    check_node_selector,
    check_object_name,
    check_resource_name,
    parse_node_label,
    parse_toleration,
)
from accrete.core.environment import DEFAULT_STORE_WAIT_S, MOST_STORE_WAIT_S
from accrete.core.options import Option
from accrete.core.validation import check_choice, check_plain_address, check_range
from accrete.errors import ConfigError

DEFAULT_IMAGE = "accrete-trainer:0.1.0"
"""The trainer image; `images/` builds it and `manifests/` names the same."""

SPOT_TOLERATIONS = (
    Toleration(key="cloud.google.com/gke-spot", value="true", effect="NoSchedule"),
    Toleration(key="kubernetes.azure.com/scalesetpriority", value="spot", effect="NoSchedule"),
)
"""Taints of spot nodes. Source: cloud.google.com/kubernetes-engine/docs/concepts/spot-vms and
learn.microsoft.com/azure/aks/spot-node-pool; EKS sets none of its own."""

STORE_CREDENTIALS = ("secret", "service-account")

PULL_POLICIES = ("Always", "IfNotPresent", "Never")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What each step of the compiled pipeline asks of the cluster."""

    image: Annotated[str, Option("Trainer image; here, of --runner docker.", metavar="IMAGE")] = (
        DEFAULT_IMAGE
    )
    pull_policy: Annotated[
        str | None,
        Option(
            "When a node fetches the image.",
            choices=PULL_POLICIES,
            default="Kubernetes' own",
            on_cluster=True,
        ),
    ] = None
    pull_secrets: Annotated[
        tuple[str, ...],
        Option(
            "Secret with a registry's credentials; may be repeated.",
            flag="pull-secret",
            repeated=True,
            on_cluster=True,
        ),
    ] = ()
    gpus: Annotated[
        tuple[int, ...] | GrowingGpus,
        Option(
            "GPUs of each training step, or a list, one a stage, e.g. 1,1,2,4,4, or auto:8: up to "
            "8 as the seen images grow.",
            parse=parse_gpus,
            default="1; locally, 1 where there is one",
        ),
    ] = (1,)
    """0 trains on the CPU. Where a stage has several nodes, those of all together."""
    nodes: Annotated[
        tuple[int, ...] | FewestNodes,
        Option(
            "Nodes that a stage's GPUs are spread over, by Kubeflow Trainer: one number, a list, "
            "one a stage, e.g. 1,1,1,1,2, or auto: as few as hold them.",
            parse=parse_nodes,
        ),
    ] = (1,)
    node_wait_s: Annotated[
        int,
        Option(
            "Seconds that a stage on several nodes may wait until all of them are there.",
            flag="node-wait",
            metavar="S",
            needs=(("nodes", ()),),
        ),
    ] = 3600
    max_gpus_per_node: Annotated[
        int, Option("Refuse steps that ask for more: they would wait for ever.")
    ] = 8
    gpu_resource: Annotated[
        str, Option("Kubernetes resource name of the GPU; its taint is tolerated.", on_cluster=True)
    ] = "nvidia.com/gpu"
    gpu_kinds: Annotated[
        tuple[str, ...],
        Option(
            "Only nodes whose GPU label says this, e.g. NVIDIA-H100-80GB-HBM3; may be repeated.",
            flag="gpu-kind",
            metavar="KIND",
            repeated=True,
            on_cluster=True,
        ),
    ] = ()
    gpu_label: Annotated[
        str,
        Option(
            "The nodes' label that --gpu-kind is about.",
            metavar="KEY",
            needs=(("gpu-kind", ()),),
            on_cluster=True,
        ),
    ] = "nvidia.com/gpu.product"
    """NVIDIA's GPU feature discovery sets this one."""
    train_cpu: Annotated[
        str,
        Option(
            "CPUs of each training step, or of each of its nodes.",
            flag="cpu",
            metavar="N",
            on_cluster=True,
        ),
    ] = "4"
    """Request and limit, as of memory."""
    train_memory: Annotated[
        str,
        Option(
            "Memory of each training step, or of each of its nodes.",
            flag="memory",
            metavar="SIZE",
            on_cluster=True,
        ),
    ] = "16G"
    other_cpu: Annotated[
        str | None,
        Option(
            "CPUs of each step that does not train: prepare, report, what waits for nodes.",
            flag="prepare-cpu",
            metavar="N",
            default="the namespace's",
            on_cluster=True,
        ),
    ] = None
    other_memory: Annotated[
        str | None,
        Option(
            "Memory of each step that does not train.",
            flag="prepare-memory",
            metavar="SIZE",
            default="the namespace's",
            on_cluster=True,
        ),
    ] = None
    shared_memory: Annotated[
        str, Option("Size of /dev/shm there.", metavar="SIZE", on_cluster=True)
    ] = "2Gi"
    data_memory: Annotated[
        str | None,
        Option(
            "Memory that images may take, e.g. 4G; what is larger is read from disk while "
            "training.",
            metavar="SIZE",
            default="two fifths of the step's memory",
        ),
    ] = None
    node_selector: Annotated[
        tuple[tuple[str, str], ...],
        Option(
            "Only nodes with this label, for training steps; may be repeated.",
            metavar="KEY=VALUE",
            repeated=True,
            parse=parse_node_label,
            on_cluster=True,
        ),
    ] = ()
    tolerations: Annotated[
        tuple[Toleration, ...],
        Option(
            "A taint that training steps do not mind; may be repeated.",
            flag="toleration",
            metavar="KEY[=VALUE]:EFFECT",
            repeated=True,
            parse=parse_toleration,
            on_cluster=True,
        ),
    ] = ()
    cache_claim: Annotated[
        str | None,
        Option(
            "PersistentVolumeClaim of the node cache.",
            default="the cache goes with its pod",
            on_cluster=True,
        ),
    ] = None
    pushgateway: Annotated[
        str | None,
        Option(
            "Where steps leave their last metrics; a local run takes it from $ACCRETE_PUSHGATEWAY.",
            metavar="URL",
            on_cluster=True,
        ),
    ] = None
    retries: Annotated[
        int,
        Option(
            "Tries of a step whose pod was deleted (a drain, preemption), after the first; a stock "
            "Kubeflow makes two in any case. One whose pod failed (an exit code, the kubelet's "
            "eviction) is tried again only where Argo's retryPolicy is Always.",
            default="2; locally 0",
        ),
    ] = 2
    timeout_s: Annotated[
        int,
        Option(
            "Seconds that one attempt at a step may take.",
            flag="step-timeout",
            metavar="S",
            on_cluster=True,
        ),
    ] = 24 * 3600
    ttl_s: Annotated[
        int | None,
        Option(
            "Seconds that a finished run's workflow and pods stay, a day at most on Kubeflow.",
            flag="run-ttl",
            metavar="S",
            default="Kubeflow's own",
            on_cluster=True,
        ),
    ] = None
    store_config: Annotated[
        str,
        Option(
            "ConfigMap (endpoint, region) and Secret (access-key, secret-key) of the object store "
            "in the run's namespace.",
            on_cluster=True,
        ),
    ] = "accrete-store"
    store_credentials: Annotated[
        str,
        Option(
            "Where steps have the store's keys from: the Secret of --store-config, or what AWS "
            "gives their service account (EKS's IRSA, Pod Identity).",
            choices=STORE_CREDENTIALS,
            on_cluster=True,
        ),
    ] = "secret"
    store_ca: Annotated[
        str | None,
        Option(
            "ConfigMap there whose ca.crt is the CA of the store's certificate; a local run takes "
            "$ACCRETE_S3_CA_BUNDLE.",
            default="the image's CAs",
            on_cluster=True,
        ),
    ] = None
    store_wait_s: Annotated[
        int | None,
        Option(
            "Seconds that a step waits for a store that is away; 0: it fails at once.",
            flag="store-wait",
            metavar="S",
            default=DEFAULT_STORE_WAIT_S,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_image("image", self.image)
        if self.pull_policy is not None:
            check_choice("image pull policy", self.pull_policy, PULL_POLICIES)
        check_choice("store credentials", self.store_credentials, STORE_CREDENTIALS)
        check_range("GPUs per node", self.max_gpus_per_node, 0, 64)
        self._check_gpus()
        check_range("seconds that nodes may be waited for", self.node_wait_s, 60, 30 * 24 * 3600)
        check_cpu("CPU of a training step", self.train_cpu)
        check_memory("memory of a training step", self.train_memory)
        if self.other_cpu is not None:
            check_cpu("CPU of a step that does not train", self.other_cpu)
        if self.other_memory is not None:
            check_memory("memory of a step that does not train", self.other_memory)
        check_memory("size of /dev/shm", self.shared_memory)
        self._check_names()
        if self.pushgateway is not None:
            check_plain_address("Pushgateway", self.pushgateway)
        check_range("retries", self.retries, 0, 20)
        check_range("step timeout in seconds", self.timeout_s, 60, 30 * 24 * 3600)
        check_range("seconds to wait for the store", self.store_wait_s or 0, 0, MOST_STORE_WAIT_S)
        if self.ttl_s is not None:
            # 0 would be lost on the way: kfp 2.17 leaves a field of value 0 out
            check_range("seconds that a finished run stays", self.ttl_s, 1, 365 * 24 * 3600)

    def _check_gpus(self) -> None:
        listed = (self.gpus.most,) if isinstance(self.gpus, GrowingGpus) else self.gpus
        if not listed:
            raise ConfigError("GPUs per step are an empty list: give one number, or one a stage")
        for gpus in listed:
            check_range("GPUs per step", gpus, 0, 1024 if self.has_several_nodes else 64)
            if not self.has_several_nodes:
                check_spread(1, gpus, 1, self.max_gpus_per_node)
        if isinstance(self.nodes, FewestNodes):
            return
        if not self.nodes:
            raise ConfigError("nodes per step are an empty list: give one number, or one a stage")
        for nodes in self.nodes:
            check_range("nodes per step", nodes, 1, 64)

    def _check_names(self) -> None:
        check_object_name("the store's ConfigMap and Secret", self.store_config)
        if self.store_ca is not None:
            check_mounted_name("ConfigMap of the store's CA", self.store_ca)
        for name in self.pull_secrets:
            check_object_name("image pull secret", name)
        if self.cache_claim is not None:
            check_mounted_name("claim of the node cache", self.cache_claim)
            if self.cache_claim == self.store_ca:
                raise ConfigError(
                    f"claim of the node cache and ConfigMap of the store's CA are both "
                    f"{self.store_ca!r}: Kubeflow Pipelines names a step's volumes like them, and "
                    "a pod has each once; give one of them another name"
                )
        check_resource_name("GPU resource", self.gpu_resource)
        check_label_key("label of the GPU kind", self.gpu_label)
        for kind in self.gpu_kinds:
            if not kind:
                raise ConfigError("a GPU kind is empty: give the value of the nodes' label")
            check_label_value("GPU kind", kind)
        check_node_selector(self.node_selector)

    @property
    def wants_gpus(self) -> bool:
        """Whether any stage asks for a GPU."""
        return isinstance(self.gpus, GrowingGpus) or max(self.gpus) > 0

    @property
    def has_several_nodes(self) -> bool:
        """Whether a stage may be trained on more than one node."""
        return isinstance(self.nodes, FewestNodes) or max(self.nodes, default=1) > 1

    def gpus_of(self, stages: range) -> int:
        """Return the GPUs of the step that trains these stages, counted from 1."""
        return max(self._place_of(stage)[0] for stage in stages)

    def nodes_of(self, stages: range) -> int:
        """Return the nodes of that step: those of the stage with the most GPUs."""
        return max(self._place_of(stage) for stage in stages)[1]

    def _place_of(self, stage: int) -> tuple[int, int]:
        """Return GPUs and nodes of a stage."""
        assert not isinstance(self.gpus, GrowingGpus), "fit them to a plan first"
        assert not isinstance(self.nodes, FewestNodes), "fit them to a plan first"
        gpus, nodes = (listed[min(stage, len(listed)) - 1] for listed in (self.gpus, self.nodes))
        return gpus, nodes

    def fitted(self, num_images: Sequence[int], batch_size: int) -> "Placement":
        """Return this placement for a plan: GPUs that grow become a number for each stage.

        Args:
            num_images: |D_j| of each stage.
            batch_size: images of a step.

        Raises:
            ConfigError: the GPUs do not fit the plan's stages, or do not divide its batches.
        """
        gpus = self.gpus
        if isinstance(gpus, GrowingGpus):
            gpus = gpus.of_stages(num_images, batch_size)
        _check_listed("GPUs", gpus, len(num_images))
        for each in gpus:
            if batch_size % max(1, each):
                raise ConfigError(
                    f"batch size {batch_size} does not divide among {each} GPUs: "
                    f"choose a multiple of {each}"
                )
        nodes = self.nodes
        if isinstance(nodes, FewestNodes):
            nodes = nodes.of_stages(gpus, self.max_gpus_per_node)
        _check_listed("nodes", nodes, len(num_images))
        placement = replace(self, gpus=gpus, nodes=nodes)
        for stage in range(1, len(num_images) + 1):
            check_spread(stage, *placement._place_of(stage), self.max_gpus_per_node)
        return placement


def _check_listed(what: str, listed: tuple[int, ...], num_stages: int) -> None:
    if len(listed) not in (1, num_stages):
        raise ConfigError(
            f"{what} are listed for {len(listed)} stages, but the plan has {num_stages}: "
            "give one number for each stage, or one for all"
        )
