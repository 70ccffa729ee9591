"""From options of where steps run to what they ask for."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from accrete.cli._adapter import Group
from accrete.cli._options import SpotOption
from accrete.config.allocation import FewestNodes, GrowingGpus, parse_gpus
from accrete.config.placement import SPOT_TOLERATIONS, Placement
from accrete.config.plan import Plan
from accrete.core.options import Given, Option, option_fields
from accrete.errors import ConfigError


def make_placement(given: Given[Placement], spot: Given[SpotOption], *, local: bool) -> Placement:
    """Return what the steps ask for.

    Args:
        given: what the user says of it.
        spot: whether spot nodes will do.
        local: whether the run stays on this machine, where a retry would not help, and a variable
            on a task would take the place of all others in a container.

    Raises:
        ConfigError: a value is outside its range, or has no effect here.
    """
    if not local:
        placement = given.over(Placement(gpus=(1,)))
        tolerations = placement.tolerations + (SPOT_TOLERATIONS if spot.alone().spot else ())
        return replace(placement, tolerations=tolerations)
    num_gpus = gpus_here()
    given = given.without(refuse_typed_here(given, spot))
    placement = given.over(Placement(gpus=(min(1, num_gpus),), retries=0))
    _check_here(placement, num_gpus)
    return placement


def gpus_here() -> int:
    """Return how many GPUs this machine has, without torch."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def refuse_typed_here(*parts: Given[Any]) -> set[str]:
    """Return the fields that have no effect on a run on this machine.

    Raises:
        ConfigError: one of them was typed; a variable holds for all runs, and may.
    """
    found: set[str] = set()
    for part in parts:
        for each in option_fields(part.kind):
            if each.option.on_cluster:
                found.add(each.name)
                if each.name in part.typed:
                    raise ConfigError(
                        f"--{each.flag} has no effect on a run on this machine: leave it out, or "
                        "submit the run with --endpoint"
                    )
    return found


def _check_here(placement: Placement, num_gpus: int) -> None:
    if placement.nodes != (1,):
        asked = "auto" if isinstance(placement.nodes, FewestNodes) else _listed(placement.nodes)
        raise ConfigError(
            f"--nodes {asked}: a run on this machine has one node; leave it out, or submit the run "
            "with --endpoint"
        )
    gpus = placement.gpus
    most = min(gpus.most, num_gpus) if isinstance(gpus, GrowingGpus) else max(gpus, default=0)
    if most > num_gpus or (isinstance(gpus, GrowingGpus) and not num_gpus):
        asked = f"auto:{gpus.most}" if isinstance(gpus, GrowingGpus) else _listed(gpus)
        has = f"{num_gpus} GPU{'' if num_gpus == 1 else 's'}" if num_gpus else "no GPU"
        raise ConfigError(
            f"--gpus {asked}: this machine has {has}; leave it out, or submit the run with "
            "--endpoint"
        )


def _listed(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGpus:
    """The GPUs that `accrete plan` shows; it asks for none."""

    gpus: Annotated[
        tuple[int, ...] | GrowingGpus | None,
        Option(
            "Show the GPUs of each stage too: one number, a list, or auto:8 to grow up to 8 with "
            "the seen images; for batches of 128.",
            parse=parse_gpus,
        ),
    ] = None

    def of_stages(self, plan: Plan) -> tuple[int, ...]:
        """Return each stage's GPUs; none where none are asked for.

        Raises:
            ConfigError: they do not fit the plan.
        """
        if self.gpus is None:
            return ()
        placement = Placement(gpus=self.gpus, max_gpus_per_node=64)
        placement = placement.fitted([stage.num_images for stage in plan.stages], batch_size=128)
        return tuple(placement.gpus_of(range(s.index, s.index + 1)) for s in plan.stages)


Planned = Annotated[PlannedGpus, Group("Cluster (what each step asks for)")]
