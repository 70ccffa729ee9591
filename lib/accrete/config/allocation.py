"""How many GPUs each stage asks for: a list, one number, or more as the seen data grow."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from accrete.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GrowingGpus:
    """GPUs that grow with |D_j|, up to a number."""

    most: int
    """GPUs of the stage that sees all data."""

    def of_stages(self, num_images: Sequence[int], batch_size: int) -> tuple[int, ...]:
        """Return each stage's GPUs: the most, times its share |D_j| / |D_T|, rounded down.

        Rounded down to a number that divides the batch, since every GPU takes an equal part of it,
        and at least 1. So a stage has no fewer than the one before, and the images per GPU are at
        least |D_T| / most wherever there is more than one.

        Args:
            num_images: |D_j| of each stage, not falling.
            batch_size: images of a step.
        """
        divisors = [n for n in range(1, self.most + 1) if batch_size % n == 0]
        return tuple(
            max(n for n in divisors if n == 1 or n * num_images[-1] <= self.most * images)
            for images in num_images
        )


def parse_gpus(text: str) -> tuple[int, ...] | GrowingGpus:
    """Return the GPUs of `2`, of the list `1,1,2,4`, or of `auto:8`.

    Raises:
        ConfigError: not of these forms.
    """
    if re.fullmatch(r"auto:[0-9]{1,4}", text):
        most = int(text.partition(":")[2])
        if most:
            return GrowingGpus(most)
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"GPUs are {text!r}: give 1, 1,1,2,4,4 or auto:8") from None


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
