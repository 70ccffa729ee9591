"""Command-line options of where steps run, and what they amount to."""

from typing import Any

import click
from click_option_group import optgroup

from accrete.cli._options import F, _group
from accrete.config.allocation import parse_gpus, parse_nodes
from accrete.config.kubernetes import parse_node_label, parse_toleration
from accrete.config.placement import DEFAULT_IMAGE, PULL_POLICIES, SPOT_TOLERATIONS, Placement
from accrete.config.plan import Plan
from accrete.errors import ConfigError

placement_options = _group(
    "Cluster (what each step asks for)",
    optgroup.option("--image", default=DEFAULT_IMAGE, show_default=True, help="Trainer image."),
    optgroup.option(
        "--pull-policy",
        type=click.Choice(PULL_POLICIES),
        help="When a node fetches the image. [default: Kubernetes' own]",
    ),
    optgroup.option(
        "--pull-secret",
        multiple=True,
        metavar="NAME",
        help="Secret with a registry's credentials; may be repeated.",
    ),
    optgroup.option(
        "--gpus",
        metavar="N",
        help="GPUs of each training step, or a list, one a stage, e.g. 1,1,2,4,4, or auto:8: up to "
        "8 as the seen images grow. [default: 1; locally, 1 where there is one]",
    ),
    optgroup.option(
        "--nodes",
        metavar="N",
        help="Nodes that a stage's GPUs are spread over, by Kubeflow Trainer: one number, a list, "
        "one a stage, e.g. 1,1,1,1,2, or auto: as few as hold them. [default: 1]",
    ),
    optgroup.option(
        "--node-wait",
        type=int,
        default=3600,
        show_default=True,
        metavar="S",
        help="Seconds that a stage on several nodes may wait until all of them are there.",
    ),
    optgroup.option(
        "--max-gpus-per-node",
        type=int,
        default=8,
        show_default=True,
        metavar="N",
        help="Refuse steps that ask for more.",
    ),
    optgroup.option(
        "--gpu-resource",
        default="nvidia.com/gpu",
        show_default=True,
        help="Kubernetes resource name of the GPU; its taint is tolerated.",
    ),
    optgroup.option(
        "--gpu-kind",
        multiple=True,
        metavar="KIND",
        help="Only nodes whose GPU label says this, e.g. NVIDIA-H100-80GB-HBM3; may be repeated.",
    ),
    optgroup.option(
        "--gpu-label",
        default="nvidia.com/gpu.product",
        show_default=True,
        metavar="KEY",
        help="The nodes' label that --gpu-kind is about.",
    ),
    optgroup.option("--cpu", default="4", show_default=True, help="CPUs of each training step."),
    optgroup.option(
        "--memory", default="16G", show_default=True, help="Memory of each training step."
    ),
    optgroup.option(
        "--shared-memory", default="2Gi", show_default=True, help="Size of /dev/shm there."
    ),
    optgroup.option(
        "--data-memory",
        metavar="SIZE",
        help="Memory that images may take, e.g. 4G; what is larger is read from disk while "
        "training. [default: two fifths of the step's memory]",
    ),
    optgroup.option(
        "--node-selector",
        multiple=True,
        metavar="KEY=VALUE",
        help="Only nodes with this label, for training steps; may be repeated.",
    ),
    optgroup.option(
        "--toleration",
        multiple=True,
        metavar="KEY[=VALUE]:EFFECT",
        help="A taint that training steps do not mind; may be repeated.",
    ),
    optgroup.option(
        "--spot", is_flag=True, help="Tolerate the taints of spot nodes on GKE and AKS too."
    ),
    optgroup.option(
        "--cache-claim",
        metavar="NAME",
        help="Claim of a volume for the node cache. [default: the cache goes with its pod]",
    ),
    optgroup.option(
        "--pushgateway",
        metavar="URL",
        help="Where steps on a cluster leave their last metrics; a local run takes it from "
        "$ACCRETE_PUSHGATEWAY alone.",
    ),
    optgroup.option(
        "--retries",
        type=int,
        help="Tries after a failure of a step; a stock Kubeflow tries lost pods only, and those "
        "always. [default: 2; locally 0]",
    ),
    optgroup.option(
        "--step-timeout",
        type=int,
        default=86400,
        show_default=True,
        metavar="S",
        help="Seconds that one attempt at a step may take.",
    ),
    optgroup.option(
        "--run-ttl",
        type=int,
        metavar="S",
        help="Seconds that a finished run's workflow and pods stay. [default: Kubeflow's own]",
    ),
    optgroup.option(
        "--store-config",
        default="accrete-store",
        show_default=True,
        metavar="NAME",
        help="ConfigMap and Secret of the object store in the run's namespace.",
    ),
    optgroup.option(
        "--store-ca",
        metavar="NAME",
        help="ConfigMap there whose ca.crt is the CA of the store's certificate; a local run takes "
        "$ACCRETE_S3_CA_BUNDLE. [default: the image's CAs]",
    ),
)


def placement_of(options: dict[str, Any], *, default_gpus: int, local: bool) -> Placement:
    """Return what the options ask for.

    Args:
        options: of the command line.
        default_gpus: where --gpus says nothing.
        local: whether the run stays on this machine. A retry would not help there, and a variable
            on a task would take the place of all others in a container.

    Raises:
        ConfigError: a value is outside its range.
    """
    text = options["gpus"]
    retries = options["retries"]
    if retries is None:
        retries = 0 if local else 2
    nodes = (1,) if options["nodes"] is None else parse_nodes(options["nodes"])
    if local and nodes != (1,):
        raise ConfigError(
            f"--nodes {options['nodes']}: a run on this machine has one node; leave it "
            "out, or submit the run with --endpoint"
        )
    tolerations = tuple(parse_toleration(given) for given in options["toleration"])
    return Placement(
        image=options["image"],
        pull_policy=options["pull_policy"],
        pull_secrets=options["pull_secret"],
        gpus=(default_gpus,) if text is None else parse_gpus(text),
        nodes=nodes,
        node_wait_s=options["node_wait"],
        max_gpus_per_node=options["max_gpus_per_node"],
        gpu_resource=options["gpu_resource"],
        gpu_kinds=options["gpu_kind"],
        gpu_label=options["gpu_label"],
        train_cpu=options["cpu"],
        train_memory=options["memory"],
        shared_memory=options["shared_memory"],
        data_memory=options["data_memory"],
        node_selector=tuple(parse_node_label(given) for given in options["node_selector"]),
        tolerations=tolerations + (SPOT_TOLERATIONS if options["spot"] else ()),
        cache_claim=None if local else options["cache_claim"],
        pushgateway=None if local else options["pushgateway"],
        retries=retries,
        timeout_s=options["step_timeout"],
        ttl_s=options["run_ttl"],
        store_config=options["store_config"],
        store_ca=None if local else options["store_ca"],
    )


def gpus_option(command: F) -> F:
    """Add to `accrete plan` what shows the GPUs that stages would have."""
    option = click.option(
        "--gpus",
        metavar="N",
        help="Show the GPUs of each stage too: one number, a list, or auto:8 to grow up to 8 with "
        "the seen images; for batches of 128.",
    )
    return option(command)


def planned_gpus(options: dict[str, Any], plan: Plan) -> tuple[int, ...]:
    """Return each stage's GPUs as a plan shows them; none where none are asked for.

    Raises:
        ConfigError: they do not fit the plan.
    """
    if options["gpus"] is None:
        return ()
    placement = Placement(gpus=parse_gpus(options["gpus"]), max_gpus_per_node=64)
    placement = placement.fitted([stage.num_images for stage in plan.stages], batch_size=128)
    return tuple(placement.gpus_of(range(stage.index, stage.index + 1)) for stage in plan.stages)
