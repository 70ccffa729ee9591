"""On how many nodes each stage is trained: a list, one number, or as few as hold its GPUs."""

from collections.abc import Sequence
from dataclasses import dataclass

from accrete.errors import ConfigError


@dataclass(frozen=True, slots=True)
class FewestNodes:
    """As few nodes as hold a stage's GPUs, as many on each."""

    def of_stages(self, gpus: Sequence[int], max_gpus_per_node: int) -> tuple[int, ...]:
        """Return each stage's nodes.

        Args:
            gpus: of each stage, over all its nodes.
            max_gpus_per_node: what a node has.
        """
        return tuple(
            next(
                (n for n in range(1, count) if count % n == 0 and count <= n * max_gpus_per_node),
                count,
            )
            if count
            else 1
            for count in gpus
        )


def parse_nodes(text: str) -> tuple[int, ...] | FewestNodes:
    """Return the nodes of `2`, of the list `1,1,1,2`, or of `auto`.

    Raises:
        ConfigError: not of these forms.
    """
    if text == "auto":
        return FewestNodes()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"nodes are {text!r}: give 1, 1,1,1,2,2 or auto") from None


def check_spread(stage: int, gpus: int, nodes: int, max_gpus_per_node: int) -> None:
    """Refuse GPUs that cannot be shared out among nodes.

    Args:
        stage: its index, from 1.
        gpus: of all its nodes together.
        nodes: how many there are.
        max_gpus_per_node: what one has.

    Raises:
        ConfigError: a node would have a part of a GPU, none, or more than there are.
    """
    if nodes > 1 and (gpus == 0 or gpus % nodes):
        raise ConfigError(
            f"stage {stage} asks for {nodes} nodes and {gpus} GPUs: --gpus counts those of all "
            f"nodes together; give a multiple of {nodes}, or --nodes auto"
        )
    if gpus > nodes * max_gpus_per_node:
        where = "a node has" if nodes == 1 else f"{nodes} nodes have"
        raise ConfigError(
            f"a step asks for {gpus} GPUs, but {where} {nodes * max_gpus_per_node}: lower "
            "--gpus, or raise --max-gpus-per-node if there are larger nodes, or --nodes where "
            "Kubeflow Trainer is installed"
        )
