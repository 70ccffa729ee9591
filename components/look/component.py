"""Look: what has come to a source since a model was trained, and the run that is to train on it."""

from kfp import dsl

from accrete.config.placement import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def look(
    watch: dict,
    store_uri: str,
    arrived: dsl.OutputPath(str),
    run_name: dsl.OutputPath(str),
    config: dsl.OutputPath(dict),
    planned: dsl.OutputPath(dict),
):
    """Store the images that have come, and record the run that extends the newest model by them.

    Args:
        watch: Where is looked, for which model, when it is extended and how.
        store_uri: s3://bucket[/prefix] of shards, checkpoints and manifests.
        arrived: `yes` where there is something to train.
        run_name: Name of the run that trains it.
        config: What may be edited of its configuration.
        planned: Its plan, base and data set, or their document's SHA-256.
    """
    from accrete.steps.look import look_step

    look_step(
        watch=watch,
        store_uri=store_uri,
        arrived_path=arrived,
        run_name_path=run_name,
        config_path=config,
        planned_path=planned,
    )
