"""Train a further stage: pull parent and shards, grow the head, train, evaluate, push."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from accrete.config.placement import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def train_stage(
    first_stage: int,
    last_stage: int,
    run_name: str,
    store_uri: str,
    dataset: Input[Dataset],
    plan: Input[Artifact],
    parent: Input[Model],
    model: Output[Model],
    metrics: Output[Metrics],
    data_memory: str = "",
    cell: str = "",
):
    """Grow a model by one stage (or a few small consecutive ones) and publish its checkpoint.

    Args:
        first_stage: Index of the first of these stages, from 1.
        last_stage: Index of the last.
        run_name: Name of the run in the object store.
        store_uri: s3://bucket[/prefix] of shards, checkpoints and manifests.
        dataset: The dataset manifest.
        plan: The run's record.
        parent: Manifest of the stage before.
        model: Manifest of the last of these stages.
        metrics: Its headline figures.
        data_memory: Memory for images, such as 4G; empty: two fifths of the step's.
        cell: Cell of a sweep whose stages they are; empty: a run's.
    """
    from accrete.steps.train import headline, train_step

    facts = train_step(
        stages=range(first_stage, last_stage + 1),
        run_name=run_name,
        store_uri=store_uri,
        dataset_path=dataset.path,
        plan_path=plan.path,
        parent_path=parent.path,
        model_path=model.path,
        data_memory=data_memory,
        cell=cell,
    )
    model.metadata.update(facts)
    metrics.metadata.update(headline(facts))
