"""The main pipeline: prepare, then one stage after another, then the report.

    kfp run pipelines/incremental.py --help
    kfp dsl compile --py pipelines/incremental.py --output incremental.yaml

The second form takes no options: there the plan comes from ACCRETE_… variables, such as
ACCRETE_ALPHA=0.5, named like the first form's options.
"""

from typing import Any

from accrete_components.prepare.component import prepare
from accrete_components.report.component import report
from accrete_components.train_stage.component import train_stage
from accrete_pipelines.placing import pipeline_config, place_task, place_training
from kfp import dsl

from accrete.codec import to_json, without_nones
from accrete.config import RunConfig
from accrete.pipeline_file import PipelineRequest
from accrete.plan import pack_steps
from accrete.run_command import compile_command, environment_request, run_command


def build_pipeline(request: PipelineRequest) -> Any:
    """Return the pipeline of a plan: its stages become a chain of tasks.

    Args:
        request: configuration, placement, run name and store.
    """
    config, placement = request.config, request.placement
    stages = config.plan.stages
    default_config = without_nones(to_json(config))
    steps = pack_steps([stage.num_images for stage in stages])

    @dsl.pipeline(
        name="accrete-incremental",
        description=f"{config.plan.rule}: {len(stages)} stages, {stages[-1].num_classes} classes.",
        display_name="accrete incremental training",
        pipeline_config=pipeline_config(placement),
    )
    def incremental(
        run_name: str = request.run_name,
        store_uri: str = request.store_uri,
        config: dict = default_config,
    ) -> None:
        prepared = prepare(
            config=config, num_stages=len(stages), run_name=run_name, store_uri=store_uri
        )
        place_task(prepared, placement).set_display_name("prepare")
        shared = {
            "run_name": run_name,
            "store_uri": store_uri,
            "plan": prepared.outputs["plan"],
        }
        parent: dict[str, Any] = {}
        for step in steps:
            task = train_stage(
                stages=list(step),
                dataset=prepared.outputs["dataset"],
                data_memory=placement.data_memory or "",
                **shared,
                **parent,
            )
            place_training(task, placement, step).set_display_name(_title(request.config, step))
            parent = {"parent": task.outputs["model"]}
        final = report(model=parent["parent"], **shared)
        place_task(final, placement).set_display_name("report")

    return incremental


def _title(config: RunConfig, step: range) -> str:
    """Return a training step's name for people: `stage 3: 20 more, 40 classes`."""
    last = config.plan.stages[step[-1] - 1]
    added = sum(config.plan.stages[index - 1].num_new_classes for index in step)
    which = f"stage {step[0]}" if len(step) == 1 else f"stages {step[0]}-{step[-1]}"
    return f"{which}: {added} more, {last.num_classes} classes"


run = run_command(build_pipeline)
compile = compile_command(build_pipeline)  # noqa: A001  the subcommand's name


def __dir__() -> list[str]:
    """List the pipeline beside what is here: `kfp dsl compile` looks it up by listing."""
    return [*globals(), "incremental"]


def __getattr__(name: str) -> Any:
    """Build the pipeline of the environment's options when it is asked for, not at import."""
    if name == "incremental":
        return build_pipeline(environment_request())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
