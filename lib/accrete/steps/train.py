"""The step that trains a run's consecutive stages, mostly one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accrete.catalog.manifests import dump_stage
from accrete.config.sweep import CELLS_BETWEEN
from accrete.steps._supervision import train_task
from accrete.steps.frame import Attempt, failures_in_journal, one_line_errors
from accrete.steps.training_task import (
    model_facts,
    read_dataset,
    read_record,
    read_stage,
    training_task,
)
from accrete.store import keys
from accrete.store.object_store import ObjectStore


def train_step(
    *,
    stages: Sequence[float],
    run_name: str,
    store_uri: str,
    dataset_path: str,
    plan_path: str,
    parent_path: str | None,
    model_path: str,
    data_memory: str = "",
    cell: str = "",
) -> dict[str, Any]:
    """Train consecutive stages, mostly one; reuse those that exist. Or several cells of a sweep.

    Args:
        stages: indices, from 1; whole floats do, since KFP holds every number as one.
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        dataset_path: the dataset manifest.
        plan_path: the run's or the sweep's record.
        parent_path: manifest of the stage before the first; None for stage 1.
        model_path: where the last stage's manifest goes.
        data_memory: memory for images, such as `4G`; empty: two fifths of what the step has.
        cell: of a sweep, whose stages they are; empty: a run's. Of several, with commas between
            them, those of `stages` that each has.

    Returns:
        Metadata of the model artifact, which is the last cell's.
    """
    indices = tuple(map(int, stages))
    with one_line_errors():
        for name in cell.split(CELLS_BETWEEN):
            step = keys.train_step_name(indices[0], name)
            attempt = Attempt(run_name=run_name, step=step, store_uri=store_uri)
            with failures_in_journal(attempt):
                record = read_record(plan_path, name)
                own = indices
                if name != cell:
                    own = tuple(index for index in indices if index <= len(record.stages))
                task = training_task(
                    record,
                    read_dataset(dataset_path, record),
                    own,
                    read_stage(parent_path),
                    data_memory=data_memory or None,
                    cell=name,
                )
            manifest = train_task(task, attempt)
    assert manifest is not None, "this is the only node"
    Path(model_path).write_bytes(dump_stage(manifest))
    return model_facts(manifest, ObjectStore.open(store_uri))


def headline(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return which of a model artifact's facts the metrics artifact beside it shows."""
    names = ("num_classes", "top1", "top1_old", "top1_new", "images_seen", "train_s")
    return {name: facts[name] for name in names if name in facts}
