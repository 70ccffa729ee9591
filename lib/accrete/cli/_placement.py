"""From options of where steps run to what they ask for."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from accrete.cli._adapter import Group
from accrete.cli._options import CostOptions, SpeedOption, SpotOption
from accrete.config.allocation import FewestNodes, GrowingGpus, parse_gpus
from accrete.config.packing import UNPACKED, Packing
from accrete.config.placement import SPOT_TOLERATIONS, Placement
from accrete.config.plan import Plan
from accrete.core.options import Given, Option, option_fields
from accrete.core.settings import wait_for_store
from accrete.core.units import format_counted
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
        _check_typed(given.typed, placement)
        tolerations = placement.tolerations + (SPOT_TOLERATIONS if spot.alone().spot else ())
        return replace(placement, tolerations=tolerations)
    num_gpus = gpus_here()
    base = Placement(gpus=(min(1, num_gpus),), retries=0)
    # A variable holds for all runs: a cluster's nodes, and GPUs that are not here, do not count.
    here = given.without(refuse_typed_here(given, spot) | ({"nodes"} - given.typed))
    if _most_gpus(here.over(base)) > num_gpus:
        here = here.without({"gpus"} - given.typed)
    placement = here.over(base)
    _check_here(placement, num_gpus)
    if placement.store_wait_s is not None:
        wait_for_store(placement.store_wait_s)
    return placement


def make_packing(
    given: Given[Packing], speed: Given[CostOptions] | Given[SpeedOption], *, local: bool
) -> Packing:
    """Return which stages share a step.

    Args:
        given: what the user says of it.
        speed: of training.
        local: whether the run stays on this machine, where a step costs next to nothing.

    Raises:
        ConfigError: a value is outside its range, or has no effect here.
    """
    if local:
        has_other_use = speed.kind is CostOptions
        is_typed = "images_per_second" in speed.typed
        if has_other_use and is_typed and "stage_seconds" not in speed.values:
            raise ConfigError(
                "--images-per-second has no effect without --stage-seconds on a run on this "
                "machine: leave it out"
            )
        refuse_typed_here(given, speed)
        return UNPACKED
    return replace(given.alone(), images_per_second=speed.alone().images_per_second)


def _check_typed(typed: Collection[str], placement: Placement) -> None:
    """Refuse what was typed and has no effect on these GPUs and nodes."""
    for each in option_fields(Placement):
        if each.name not in typed:
            continue
        if each.name.startswith("gpu_") and not placement.wants_gpus:
            raise ConfigError(f"--{each.flag} has no effect on steps without GPUs: leave it out")
        if each.name == "node_wait_s" and not placement.has_several_nodes:
            raise ConfigError(f"--{each.flag} has no effect on stages of one node: leave it out")
        if each.name == "cache_claim" and _are_all_spread(placement):
            raise ConfigError(
                f"--{each.flag} has no effect on stages of several nodes, whose caches go with "
                "their pods: leave it out"
            )


def _are_all_spread(placement: Placement) -> bool:
    return not isinstance(placement.nodes, FewestNodes) and min(placement.nodes, default=1) > 1


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
    if _most_gpus(placement) > num_gpus:
        asked = f"auto:{gpus.most}" if isinstance(gpus, GrowingGpus) else _listed(gpus)
        has = format_counted(num_gpus, "GPU") if num_gpus else "no GPU"
        raise ConfigError(
            f"--gpus {asked}: this machine has {has}; leave it out, or submit the run with "
            "--endpoint"
        )


def _most_gpus(placement: Placement) -> int:
    gpus = placement.gpus
    return gpus.most if isinstance(gpus, GrowingGpus) else max(gpus)


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
