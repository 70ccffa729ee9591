"""The step that trains a run's consecutive stages, mostly one."""

from collections.abc import Mapping, Sequence
from typing import Any

from accrete.steps._peer_launch import num_processes, train_among_peers
from accrete.steps._train_stages import TrainArguments, are_finished, train_stages
from accrete.steps.frame import one_line_errors


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
    """Train consecutive stages, mostly one; reuse those that exist.

    Args:
        stages: indices, from 1; whole floats do, since KFP holds every number as one.
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        dataset_path: the dataset manifest.
        plan_path: the run's or the sweep's record.
        parent_path: manifest of the stage before the first; None for stage 1.
        model_path: where the last stage's manifest goes.
        data_memory: memory for images, such as `4G`; empty: two fifths of what the step has.
        cell: of a sweep, whose stages they are; empty: a run's.

    Returns:
        Metadata of the model artifact.
    """
    arguments = TrainArguments(
        stages=tuple(map(int, stages)),
        run_name=run_name,
        store_uri=store_uri,
        dataset_path=dataset_path,
        plan_path=plan_path,
        parent_path=parent_path,
        model_path=model_path,
        data_memory=data_memory or None,
        cell=cell,
    )
    with one_line_errors():
        count = 1 if are_finished(arguments) else num_processes()
        return train_stages(arguments) if count == 1 else train_among_peers(arguments, count)


def headline(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return which of a model artifact's facts the metrics artifact beside it shows."""
    names = ("num_classes", "top1", "top1_old", "top1_new", "images_seen", "train_s")
    return {name: facts[name] for name in names if name in facts}
