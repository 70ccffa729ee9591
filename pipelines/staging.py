"""The chain of tasks that staged pipelines share: prepare, one stage after another, report."""

from collections.abc import Sequence
from typing import Any

from accrete_components.prepare.component import prepare
from accrete_components.report.component import report
from accrete_components.train_first_on_nodes.component import train_on_nodes as first_on_nodes
from accrete_components.train_first_stage.component import train_stage as first_stage
from accrete_components.train_on_nodes.component import train_on_nodes
from accrete_components.train_stage.component import train_stage
from accrete_pipelines.placing import (
    pipeline_config,
    place_task,
    place_training,
    place_waiting,
)
from kfp import dsl

from accrete.config.packing import steps_of
from accrete.config.placement import Placement
from accrete.config.plan import PlanStage
from accrete.config.planned import planned_argument, split_config
from accrete.config.rules import shown_rule
from accrete.config.run import RunConfig
from accrete.runners.pipeline_file import PipelineRequest, parameters_help
from accrete.steps.train_job import train_job_spec


def staged_pipeline(request: PipelineRequest, *, name: str, display_name: str) -> Any:
    """Return the pipeline of a plan: its stages become a chain of tasks.

    Args:
        request: configuration, placement, run name and store.
        name: of the pipeline, as Kubeflow knows it.
        display_name: of the pipeline, for people.
    """
    config, placement = request.config, request.placement
    assert isinstance(config, RunConfig)
    plan = config.plan
    stages = config.plan.stages
    editable, planned = split_config(config)
    made_for = planned_argument(planned)
    steps = steps_of(config, placement, request.packing)

    def staged(
        run_name: str = request.run_name,
        store_uri: str = request.store_uri,
        config: dict = editable,
    ) -> None:
        prepared = prepare(
            config=config,
            planned=made_for,
            num_stages=len(stages),
            run_name=run_name,
            store_uri=store_uri,
        )
        place_task(prepared, placement).set_display_name("prepare")
        shared = {
            "run_name": run_name,
            "store_uri": store_uri,
            "plan": prepared.outputs["plan"],
        }
        parent: dict[str, Any] = {}
        for step in steps:
            task = training_task(placement, step, prepared, **shared, **parent)
            task.set_display_name(_title(stages, step))
            parent = {"parent": task.outputs["model"]}
        final = report(model=parent["parent"], **shared)
        place_task(final, placement).set_display_name("report")

    staged.__doc__ = parameters_help()
    comes_to = f"{len(stages)} stages, {stages[-1].num_classes} classes"
    decorate = dsl.pipeline(
        name=name,
        description=f"{shown_rule(plan.rule)}: {comes_to}.",
        display_name=display_name,
        pipeline_config=pipeline_config(placement),
    )
    return decorate(staged)


def training_task(
    placement: Placement, step: range, prepared: dsl.PipelineTask, **inputs: Any
) -> dsl.PipelineTask:
    """Return the task that trains consecutive stages, in its place.

    Args:
        placement: what it asks for.
        step: indices of the stages, from 1.
        prepared: the task that prepared the run.
        inputs: run_name, store_uri and plan; parent, where a stage comes before these.
    """
    arguments = {
        "first_stage": step[0],
        "last_stage": step[-1],
        "data_memory": placement.data_memory or "",
        **inputs,
    }
    is_further = "parent" in inputs
    if placement.nodes_of(step) > 1:
        train = train_on_nodes if is_further else first_on_nodes
        job = train_job_spec(placement, step)
        task = train(job=job, wait_s=placement.node_wait_s, **arguments)
        return place_waiting(task, placement, step)
    train = train_stage if is_further else first_stage
    task = train(dataset=prepared.outputs["dataset"], **arguments)
    return place_training(task, placement, step)


def _title(stages: Sequence[PlanStage], step: range) -> str:
    """Return a training step's name for people: `stage 3: 20 more, 40 classes`."""
    last = stages[step[-1] - 1]
    added = sum(stages[index - 1].num_new_classes for index in step)
    which = f"stage {step[0]}" if len(step) == 1 else f"stages {step[0]}-{step[-1]}"
    return f"{which}: {added} more, {last.num_classes} classes"
