"""The schedules of a run's stages, where its classes may arrive over time.

Pure. A plan that is known from the beginning has one recipe. In a life nobody knows what arrives
next: its first stage is a plan of its own, and so is each arrival, which extends what there is.
"""

from dataclasses import replace

from accrete.config.run import RunConfig
from accrete.config.schedule import StageSchedule, resolve


def resolve_life(config: RunConfig, image_side: int) -> tuple[StageSchedule, ...]:
    """Return the schedule of each stage of a run.

    Where the run has a recipe for arrivals, a stage's schedule is that of a plan which it is alone
    in: its budget is counted over all of its images, old and new, and its rate goes its own way,
    from optimizer step 0. The first stage has the run's recipe, the others the arrivals'. So runs
    that begin alike share what they have in common, and an arrival is what `accrete extend` makes.

    Args:
        config: the run.
        image_side: the image's shorter side in pixels, for the default crop padding.

    Raises:
        ConfigError: a recipe lists another number of stages than it is for.
    """
    plan = config.plan
    if config.arrival is None:
        return resolve(config.recipe, plan, image_side)
    schedules: list[StageSchedule] = []
    for stage in plan.stages:
        alone = replace(plan, stage_sizes=(stage.num_new_classes,), num_given=stage.num_old_classes)
        recipe = config.arrival if is_arrival(config, stage.index) else config.recipe
        schedules += resolve(recipe, alone, image_side)
    return tuple(schedules)


def is_arrival(config: RunConfig, index: int) -> bool:
    """Return whether a stage (from 1) of a run is trained as an extension of its own."""
    return config.arrival is not None and index > 1
