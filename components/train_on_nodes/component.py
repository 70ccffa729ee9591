"""Train on nodes: have a TrainJob train a further stage that is too large for one node."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Metrics, Model, Output

from accrete.config.placement import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def train_on_nodes(
    first_stage: int,
    last_stage: int,
    run_name: str,
    store_uri: str,
    job: dict,
    wait_s: int,
    plan: Input[Artifact],
    parent: Input[Model],
    model: Output[Model],
    metrics: Output[Metrics],
    data_memory: str = "",
):
    """Have several nodes train one stage (or a few consecutive ones, one after another).

    Args:
        first_stage: Index of the first of these stages, from 1.
        last_stage: Index of the last.
        run_name: Name of the run in the object store.
        store_uri: s3://bucket[/prefix] of shards, checkpoints and manifests.
        job: Spec of the TrainJob; a Secret is named in it, and none of its values is.
        wait_s: Seconds that it may wait until all its nodes are there.
        plan: The run's record.
        parent: Manifest of the stage before.
        model: Manifest of the last of these stages.
        metrics: Its headline figures.
        data_memory: Memory for images, such as 4G; empty: two fifths of a node's.
    """
    from accrete.steps.train import headline
    from accrete.steps.train_on_nodes import train_job_step

    facts = train_job_step(
        stages=range(first_stage, last_stage + 1),
        run_name=run_name,
        store_uri=store_uri,
        job=job,
        wait_s=wait_s,
        plan_path=plan.path,
        parent_path=parent.path,
        model_path=model.path,
        data_memory=data_memory,
    )
    model.metadata.update(facts)
    metrics.metadata.update(headline(facts))
