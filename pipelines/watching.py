"""The tasks of a pipeline that recurs: look; where something has come, prepare, train, report."""

from typing import Any

from accrete_components.look.component import look
from accrete_components.prepare.component import prepare
from accrete_components.report.component import report
from accrete_pipelines.placing import pipeline_config, place_task
from accrete_pipelines.staging import training_task
from kfp import dsl

from accrete.config.arrivals import watch_parameter
from accrete.config.planned import planned_argument
from accrete.runners.pipeline_file import WatchRequest

_ONE_STAGE = range(1, 2)
"""What has come is one stage: nothing is known of it while the pipeline is compiled."""


def watching_pipeline(request: WatchRequest) -> Any:
    """Return the pipeline of a watch.

    Args:
        request: what is looked at, placement and store.
    """
    placement = request.placement
    asked = planned_argument(watch_parameter(request.watch))

    def watched(store_uri: str = request.store_uri, watch: dict = asked) -> None:
        looked = look(watch=watch, store_uri=store_uri)
        place_task(looked, placement).set_display_name("look")
        with dsl.If(looked.outputs["arrived"] == "yes", name="arrived"):
            run_name = looked.outputs["run_name"]
            prepared = prepare(
                config=looked.outputs["config"],
                planned=looked.outputs["planned"],
                num_stages=len(_ONE_STAGE),
                run_name=run_name,
                store_uri=store_uri,
            )
            place_task(prepared, placement).set_display_name("prepare")
            shared = {
                "run_name": run_name,
                "store_uri": store_uri,
                "plan": prepared.outputs["plan"],
            }
            trained = training_task(placement, _ONE_STAGE, prepared, **shared)
            trained.set_display_name("train on what has come")
            final = report(model=trained.outputs["model"], **shared)
            place_task(final, placement).set_display_name("report")

    watched.__doc__ = (
        "Extend a model when classes have come.\n\n"
        "Args:\n"
        "    store_uri: s3://bucket[/prefix] of shards and checkpoints.\n"
        "    watch: Where is looked, for which model, when it is extended and how."
    )
    decorate = dsl.pipeline(
        name="accrete-watch",
        description=f"Looks at {request.watch.place} for run {request.watch.name}.",
        display_name="accrete watch",
        pipeline_config=pipeline_config(placement),
    )
    return decorate(watched)
