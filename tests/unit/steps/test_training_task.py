"""What a training step is told: the run's own stages, and the same in another process."""

import json
from dataclasses import replace
from typing import Any

import pytest
from stage_sample import stage_manifest

from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import (
    FORMAT,
    ClassEntry,
    DatasetManifest,
    ShardRef,
    Skipped,
    SplitPolicy,
)
from accrete.catalog.records import RunRecord, make_record
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.core.hashing import canonical_json
from accrete.core.serialization import from_json, to_json
from accrete.errors import CheckpointMismatchError, ConfigError, IntegrityError
from accrete.steps.training_task import TrainingTask, training_task


def shard(letter: str) -> ShardRef:
    return ShardRef(sha256=letter * 64, num_bytes=100, num_images=9)


DATASET = DatasetManifest(
    format=FORMAT,
    classes=tuple(
        ClassEntry(name=name, train=(shard(name),), validation=(), test=(shard(name),))
        for name in "abcdef"
    ),
    image=ImageFormat(encoding="raw", height=8, width=8, channels=1, preprocessing="none"),
    normalization=Normalization(mean=(0.5,), std=(0.25,)),
    split=SplitPolicy(test="source", test_fraction=0.2, validation_fraction=0.0, seed=0),
    skipped=Skipped(count=0, places=()),
)


def record(recipe: Recipe | None = None) -> RunRecord:
    config = RunConfig(
        source=SourceConfig(kind="digits"),
        plan=Plan(
            rule="two", class_order=tuple("abcdef"), class_images=(9,) * 6, stage_sizes=(2, 2, 2)
        ),
        model=ModelConfig(name="small"),
        recipe=recipe or Recipe(),
    )
    return make_record("run", config, DATASET.digest, stage_chain(config, DATASET))


def parent(digest: str) -> Any:
    return stage_manifest(digest=digest, index=1, class_names=("a", "b"), num_old_classes=0)


def test_a_task_has_the_stages_asked_for_and_the_one_after_them() -> None:
    run = record()
    task = training_task(run, DATASET, (1, 2), None)
    assert [spec.digest for spec in task.stages] == list(run.stages[:2])
    assert task.following is not None
    assert task.following.digest == run.stages[2]
    assert task.num_stages == 3
    assert training_task(run, DATASET, (2, 3), parent(run.stages[0])).following is None


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(name="paper")])
def test_another_process_is_told_the_very_same(recipe: Recipe) -> None:
    task = training_task(record(recipe), DATASET, (1,), None, data_memory="4G", cell="a")
    told = from_json(TrainingTask, json.loads(json.dumps(to_json(task))), "the task")
    assert told == task
    assert canonical_json(to_json(told)) == canonical_json(to_json(task))


def test_what_is_not_the_run_s_is_refused() -> None:
    run = record()
    with pytest.raises(ConfigError, match="stage 4 is asked for, the plan has 3: compile again"):
        training_task(run, DATASET, (4,), None)
    with pytest.raises(CheckpointMismatchError, match="stage 2 starts from 2 classes"):
        training_task(run, DATASET, (2,), parent("9" * 64))
    with pytest.raises(IntegrityError, match="was recorded with other stages than this version"):
        training_task(replace(run, stages=("1" * 64,) * 3), DATASET, (1,), None)
