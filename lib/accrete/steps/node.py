"""One of the nodes that train a stage together: `python -m accrete.steps.node RUN STAGE`.

A TrainJob runs this on every node: one that the pipeline's step made, or somebody by hand. No
artifacts of Kubeflow are there: the run's record, the data set's manifest and the parent's come
from the store. The stage that is published is the pipeline's own: whoever asks for it finds it.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import dump_dataset, dump_stage
from accrete.catalog.records import RunRecord, dump_record, find_record
from accrete.core.settings import place_among_nodes
from accrete.errors import CheckpointMismatchError, ConfigError, RunNotFoundError
from accrete.steps._peer_launch import num_processes, train_among_peers
from accrete.steps._train_stages import TrainArguments, train_stages
from accrete.steps.frame import one_line_errors
from accrete.store.object_store import ObjectStore
from accrete.store.settings import default_store_uri


def train_stage_on_nodes(
    run_name: str, stage: int, store_uri: str, data_memory: str | None = None
) -> dict[str, Any]:
    """Train one stage of a run that was prepared, among all nodes that do the same.

    Args:
        run_name: the run.
        stage: its index, from 1; the stages before it must exist.
        store_uri: `s3://bucket[/prefix]`.
        data_memory: memory for images, such as `4G`; None: two fifths of what the node has.

    Returns:
        Facts of the stage; on another node than the first, nothing.

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
    with TemporaryDirectory(prefix="accrete-node-") as name:
        arguments = _arguments(record, stage, store_uri, Catalog(store), Path(name))
        arguments = replace(arguments, data_memory=data_memory)
        count = num_processes()
        if count * place_among_nodes()[1] == 1:
            return train_stages(arguments)
        return train_among_peers(arguments, count)


def _arguments(
    record: RunRecord, stage: int, store_uri: str, catalog: Catalog, folder: Path
) -> TrainArguments:
    """Write what a step gets as artifacts to files, and return its arguments."""
    if not 1 <= stage <= len(record.stages):
        raise ConfigError(
            f"stage {stage} is asked for, run {record.name!r} has {len(record.stages)}"
        )
    dataset, plan, parent = (folder / name for name in ("dataset", "plan", "parent"))
    dataset.write_bytes(dump_dataset(catalog.dataset(record.dataset)))
    plan.write_bytes(dump_record(record))
    if stage > 1:
        before = catalog.stage(record.stages[stage - 2])
        if before is None:
            raise CheckpointMismatchError(
                f"stage {stage} of run {record.name!r} grows from stage {stage - 1}, which does "
                "not exist yet: train that first"
            )
        parent.write_bytes(dump_stage(before))
    return TrainArguments(
        stages=(stage,),
        run_name=record.name,
        store_uri=store_uri,
        dataset_path=str(dataset),
        plan_path=str(plan),
        parent_path=str(parent) if stage > 1 else None,
        model_path=str(folder / "model"),
    )


def main() -> None:
    """Train as the command line says; errors are one line and an exit code."""
    parser = argparse.ArgumentParser(prog="python -m accrete.steps.node", description=__doc__)
    parser.add_argument("run", help="name of the run")
    parser.add_argument("stage", type=int, help="index of the stage, from 1")
    parser.add_argument("--data-memory", metavar="SIZE", help="memory that images may take")
    given = parser.parse_args()
    with one_line_errors():
        facts = train_stage_on_nodes(given.run, given.stage, default_store_uri(), given.data_memory)
    if facts:
        print(f"stage {facts['stage']}: {facts['manifest_uri']}")  # noqa: T201  the pod's log


if __name__ == "__main__":
    main()
