"""One of the nodes that train a stage together: `python -m accrete.node_step RUN STAGE`.

A TrainJob runs this on every node: one that the pipeline's step made, or somebody by hand. No
artifacts of Kubeflow are there: the run's record, the data set's manifest and the parent's come
from the store. The stage that is published is the pipeline's own: whoever asks for it finds it.
"""

import argparse
from contextlib import nullcontext

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import StageManifest
from accrete.catalog.records import RunRecord, find_record
from accrete.core.settings import place_among_nodes
from accrete.errors import CheckpointMismatchError, ConfigError, RunNotFoundError
from accrete.steps._supervision import train_task
from accrete.steps.frame import Attempt, failures_in_journal, one_line_errors
from accrete.steps.training_task import training_task
from accrete.store import keys
from accrete.store.object_store import ObjectStore
from accrete.store.settings import default_store_uri


def train_stage_on_nodes(
    run_name: str, stage: int, store_uri: str, data_memory: str | None = None
) -> StageManifest | None:
    """Train one stage of a run that was prepared, among all nodes that do the same.

    Args:
        run_name: the run.
        stage: its index, from 1; the stages before it must exist.
        store_uri: `s3://bucket[/prefix]`.
        data_memory: memory for images, such as `4G`; None: two fifths of what the node has.

    Returns:
        The stage; on another node than the first, None.

    Raises:
        RunNotFoundError: the run was never prepared.
        ConfigError: it has no such stage.
        CheckpointMismatchError: the stage before it does not exist yet.
    """
    store = ObjectStore.open(store_uri)
    store.check()
    record = find_record(store, run_name)
    if record is None:
        raise RunNotFoundError(
            f"no run {run_name!r} is prepared at {store_uri}: submit its pipeline first"
        )
    catalog = Catalog(store)
    parent = _parent(record, stage, catalog)
    attempt = Attempt(run_name=run_name, step=keys.train_step_name(stage), store_uri=store_uri)
    with failures_in_journal(attempt) if place_among_nodes()[0] == 0 else nullcontext():
        dataset = catalog.dataset(record.dataset)
        task = training_task(record, dataset, (stage,), parent, data_memory=data_memory)
    return train_task(task, attempt)


def _parent(record: RunRecord, stage: int, catalog: Catalog) -> StageManifest | None:
    """Return the stage before one, None before the first."""
    if not 1 <= stage <= len(record.stages):
        raise ConfigError(
            f"stage {stage} is asked for, run {record.name!r} has {len(record.stages)}"
        )
    if stage == 1:
        return None
    parent = catalog.stage(record.stages[stage - 2])
    if parent is None:
        raise CheckpointMismatchError(
            f"stage {stage} of run {record.name!r} grows from stage {stage - 1}, which does "
            "not exist yet: train that first"
        )
    return parent


def main() -> None:
    """Train as the command line says; errors are one line and an exit code."""
    parser = argparse.ArgumentParser(prog="python -m accrete.node_step", description=__doc__)
    parser.add_argument("run", help="name of the run")
    parser.add_argument("stage", type=int, help="index of the stage, from 1")
    parser.add_argument("--data-memory", metavar="SIZE", help="memory that images may take")
    given = parser.parse_args()
    with one_line_errors():
        uri = default_store_uri()
        manifest = train_stage_on_nodes(given.run, given.stage, uri, given.data_memory)
        if manifest is not None:
            place = ObjectStore.open(uri).uri(keys.stage_key(manifest.digest))
            print(f"stage {manifest.index}: {place}")  # noqa: T201  the pod's log
