"""What a plan is said to take on Kubeflow is of the steps that a run of it has."""

from dataclasses import replace

import pytest

from accrete.cli._plan_text import plan_time
from accrete.config.packing import STEP_OVERHEAD_S, Packing, steps_of
from accrete.config.placement import GrowingGpus, Placement
from accrete.config.plan import Plan, even_counts
from accrete.config.recipe import recipe_named
from accrete.config.run import ModelConfig, RunConfig, SourceConfig


@pytest.mark.parametrize("gpus", [(1,), GrowingGpus(most=8)])
@pytest.mark.parametrize(
    "packing",
    [
        Packing(),
        Packing(images_per_second=1000.0),
        Packing(step_overhead_s=0.0),
        Packing(step_overhead_s=0.0, max_steps=3),
    ],
)
@pytest.mark.parametrize(
    ("sizes", "images"), [((10, 10, 20, 40, 20), 500), ((2,) * 31, 100), ((5,), 30)]
)
def test_the_steps_of_a_plan_are_those_of_a_run(
    sizes: tuple[int, ...], images: int, packing: Packing, gpus: tuple[int, ...] | GrowingGpus
) -> None:
    plan = Plan(
        rule="a list",
        class_order=tuple(f"c{index}" for index in range(sum(sizes))),
        class_images=even_counts(sum(sizes), images),
        stage_sizes=sizes,
    )
    source = SourceConfig(kind="parquet", location="s3://images/all")
    model = ModelConfig(name="vgg19")
    config = RunConfig(source=source, plan=plan, model=model, recipe=recipe_named("fast"))
    num_images = [stage.num_images for stage in plan.stages]
    placement = replace(Placement(image="a:1"), gpus=gpus).fitted(num_images, 128)
    steps = steps_of(config, placement, packing)
    time = plan_time(
        plan, packing, [placement.gpus_of(range(s.index, s.index + 1)) for s in plan.stages]
    )
    assert time.steps == tuple((step[0], step[-1]) for step in steps)
    each_s = packing.step_overhead_s or STEP_OVERHEAD_S
    assert time.overhead_s == (len(steps) + 2) * each_s
    assert time.total_s > time.overhead_s
