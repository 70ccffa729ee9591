"""Which stages share a step of the pipeline: what a step costs is weighed against what it trains.

Pure. Packing changes no stage: its identity, and so its result, says nothing of the step around it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated

from accrete.config.life import resolve_life
from accrete.config.placement import Placement
from accrete.config.plan import MAX_PIPELINE_STEPS, pack_steps
from accrete.config.run import RunConfig
from accrete.core.options import Option
from accrete.core.validation import check_range

STEP_OVERHEAD_S = 20.0
"""What Kubeflow Pipelines takes for a step beside its work: a pod of its own that prepares it
(4 s), and Argo, which looks every 10 s. Measured on a kind cluster of two cores, KFP 2.17.0."""

IMAGES_PER_SECOND = 10_000.0
"""A guess, where nothing says how fast training is: VGG-19 at 32 pixels does five times as many on
an H200. Too high a guess packs more, which costs nothing but a step's own place on a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How stages are shared out to the steps of a pipeline."""

    step_overhead_s: Annotated[
        float,
        Option(
            "Seconds that Kubeflow takes for a step beside its work: stages that train for less "
            "share a step with their neighbours (by --images-per-second). 0: a step a stage.",
            flag="step-overhead",
            metavar="S",
            on_cluster=True,
        ),
    ] = STEP_OVERHEAD_S
    max_steps: Annotated[
        int,
        Option(
            "Training steps of a pipeline at most: more stages share them.",
            on_cluster=True,
        ),
    ] = MAX_PIPELINE_STEPS
    images_per_second: float = IMAGES_PER_SECOND
    """How fast training is taken to be."""

    def __post_init__(self) -> None:
        check_range("overhead of a step in seconds", self.step_overhead_s, 0, 24 * 3600)
        check_range("training steps of a pipeline", self.max_steps, 1, 500)
        check_range("images per second", self.images_per_second, 1e-3, 1e9)

    def seconds(self, num_images: float) -> float:
        """Return how long training takes that sees so many images."""
        return num_images / self.images_per_second


UNPACKED = Packing(step_overhead_s=0.0)
"""A step a stage, as on a machine of one's own, where a step costs next to nothing."""


def steps_of(config: RunConfig, placement: Placement, packing: Packing) -> list[range]:
    """Return the stages (from 1) of each training step of a run's pipeline.

    Args:
        config: of the run.
        placement: fitted to its plan; stages that ask for other GPUs or nodes share no step, unless
            there are more steps than there may be.
        packing: how they are shared out.
    """
    stages = config.plan.stages
    seen = [each.num_images_seen for each in resolve_life(config, image_side=32)]
    places = [_place(placement, range(stage.index, stage.index + 1)) for stage in stages]
    return packed_steps(seen, [stage.num_images for stage in stages], packing, places)


def packed_steps(
    seen: Sequence[float],
    num_images: Sequence[int],
    packing: Packing,
    places: Sequence[Hashable] = (),
) -> list[range]:
    """Return the stages (from 1) of each training step.

    Args:
        seen: images that each stage trains on, repeats counted.
        num_images: |D_j| of each stage, by which they are shared out where there are too many.
        packing: how they are shared out.
        places: what each stage asks of the cluster, as of `pack_short`.
    """
    steps = pack_short(list(map(packing.seconds, seen)), packing.step_overhead_s, places)
    loads = [sum(num_images[index - 1] for index in step) for step in steps]
    fewer = pack_steps(loads, packing.max_steps)
    return [range(steps[of[0] - 1].start, steps[of[-1] - 1].stop) for of in fewer]


def pack_short(
    seconds: Sequence[float], least_s: float, places: Sequence[Hashable] = ()
) -> list[range]:
    """Return consecutive stages (from 1) in steps that train for at least so long, where they can.

    Args:
        seconds: that each stage trains for.
        least_s: what a step costs beside its work.
        places: what each stage asks of the cluster: only equals share a step; none: all are equal.
    """
    steps: list[range] = []
    loads: list[float] = []
    for index, duration in enumerate(seconds, start=1):
        is_last = index == len(seconds) or (bool(places) and places[index] != places[index - 1])
        fits = bool(steps) and (not places or places[steps[-1].start - 1] == places[index - 1])
        # What is short joins what comes next, and where nothing comes next what was before.
        if fits and (loads[-1] < least_s or (is_last and duration < least_s)):
            steps[-1] = range(steps[-1].start, index + 1)
            loads[-1] += duration
        else:
            steps.append(range(index, index + 1))
            loads.append(duration)
    return steps


def _place(placement: Placement, stages: range) -> tuple[int, int]:
    return placement.gpus_of(stages), placement.nodes_of(stages)
