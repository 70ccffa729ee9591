"""Prepare: images to class shards and a dataset manifest, and the run's resolved plan."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Output

from accrete.config.placement import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def prepare(
    config: dict,
    planned: dict,
    num_stages: int,
    run_name: str,
    store_uri: str,
    dataset: Output[Dataset],
    plan: Output[Artifact],
):
    """Decode and check every image, store class shards, resolve the plan against them.

    Args:
        config: What may be edited of the run's configuration (source, model, recipe, seed).
        planned: What the pipeline was compiled for: plan and base, or their document's SHA-256.
        num_stages: Stages that the pipeline was compiled for.
        run_name: Name of the run in the object store.
        store_uri: s3://bucket[/prefix] of shards, checkpoints and manifests.
        dataset: The dataset manifest.
        plan: The run's record: configuration, data set and the identity of each stage.
    """
    from accrete.steps.prepare import prepare_step

    dataset.metadata.update(
        prepare_step(
            config=config,
            planned=planned,
            num_stages=num_stages,
            run_name=run_name,
            store_uri=store_uri,
            dataset_path=dataset.path,
            plan_path=plan.path,
        )
    )
