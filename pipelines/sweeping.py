"""The tasks that sweeps share: prepare, the cells' stages, a report on all of them."""

from typing import Any

from accrete_components.prepare.component import prepare
from accrete_components.sweep_report.component import sweep_report
from accrete_components.train_first_stage.component import train_stage as first_stage
from accrete_components.train_stage.component import train_stage
from accrete_pipelines.placing import pipeline_config, place_task, place_training
from kfp import dsl

from accrete.config.planned import planned_argument, split_config
from accrete.config.rules import shown_rule
from accrete.config.sweep import CELLS_BETWEEN, Sweep, SweepTask, sweep_tasks
from accrete.core.units import format_counted
from accrete.runners.pipeline_file import PipelineRequest, parameters_help


def sweep_pipeline(request: PipelineRequest, *, name: str, display_name: str) -> Any:
    """Return the pipeline of a sweep: cells side by side, each one's stages in a chain.

    Args:
        request: a sweep, placement, run name and store.
        name: of the pipeline, as Kubeflow knows it.
        display_name: of the pipeline, for people.
    """
    sweep, placement = request.config, request.placement
    assert isinstance(sweep, Sweep)
    editable, planned = split_config(sweep)
    made_for = planned_argument(planned)
    planned_tasks = sweep_tasks(sweep, request.packing)
    num_stages = sum(len(cell.stage_sizes) for cell in sweep.cells)

    def swept(
        run_name: str = request.run_name,
        store_uri: str = request.store_uri,
        config: dict = editable,
    ) -> None:
        prepared = prepare(
            config=config,
            planned=made_for,
            num_stages=num_stages,
            run_name=run_name,
            store_uri=store_uri,
        )
        place_task(prepared, placement).set_display_name("prepare")
        shared = {
            "run_name": run_name,
            "store_uri": store_uri,
            "plan": prepared.outputs["plan"],
        }
        tasks: list[dsl.PipelineTask] = []
        for each in planned_tasks:
            parent = {} if each.parent is None else {"parent": tasks[each.parent].outputs["model"]}
            train = train_stage if parent else first_stage
            task = train(
                first_stage=each.stages[0],
                last_stage=each.stages[-1],
                cell=each.cell,
                dataset=prepared.outputs["dataset"],
                data_memory=placement.data_memory or "",
                **shared,
                **parent,
            )
            place_training(task, placement, each.stages)
            tasks.append(task.set_display_name(_title(each)))
        final = sweep_report(**shared).after(*tasks)
        place_task(final, placement).set_display_name("report")

    swept.__doc__ = parameters_help()
    decorate = dsl.pipeline(
        name=name,
        description=f"{shown_rule(sweep.rule)}: {len(sweep.cells)} cells.",
        display_name=display_name,
        pipeline_config=pipeline_config(placement),
    )
    return decorate(swept)


def _title(task: SweepTask) -> str:
    """Return a training task's name for people: `n10-d5-s0: stage 2`."""
    first, *others = task.cell.split(CELLS_BETWEEN)
    if others:
        return f"{first} and {format_counted(len(others), 'cell')} more"
    stages = task.stages
    which = f"stage {stages[0]}" if len(stages) == 1 else f"stages {stages[0]}-{stages[-1]}"
    return f"{first}: {which}"
