"""A life: a first stage, and arrivals that are extensions of their own."""

import dataclasses
from typing import Any

import pytest

from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import (
    FORMAT,
    ClassEntry,
    DatasetManifest,
    ShardRef,
    Skipped,
    SplitPolicy,
)
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.life import resolve_life
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import BaseModel, ModelConfig, RunConfig, SourceConfig
from accrete.config.schedule import lr_at, resolve
from accrete.errors import ConfigError

NAMES = ("a", "b", "c", "d", "e")
IMAGE = ImageFormat(encoding="raw", height=8, width=8, channels=1, preprocessing="none")
SCALING = Normalization(mean=(0.5,), std=(0.25,))
FIRST = Recipe(budget_epochs=4.0, batch_size=10)
ARRIVAL = Recipe(budget_epochs=2.0, batch_size=10, lr=0.1)


def config(*sizes: int, **changes: Any) -> RunConfig:
    plan = Plan(
        rule="a test",
        class_order=NAMES,
        class_images=(100,) * 5,
        stage_sizes=sizes,
        num_given=changes.pop("num_given", 0),
    )
    values = {
        "source": SourceConfig(kind="digits"),
        "plan": plan,
        "model": ModelConfig(name="small"),
        "recipe": FIRST,
        "arrival": ARRIVAL,
    }
    return RunConfig(**(values | changes))


def chain(of: RunConfig) -> tuple[StageSpec, ...]:
    entries = tuple(
        ClassEntry(
            name=name,
            num_skipped_train=0,
            train=(ShardRef(sha256=f"{number:064x}", num_bytes=9, num_images=100),),
            validation=(),
            test=(),
        )
        for number, name in enumerate(NAMES)
    )
    dataset = DatasetManifest(
        format=FORMAT,
        classes=entries,
        image=IMAGE,
        normalization=SCALING,
        split=SplitPolicy(test="stratified", test_fraction=0.2, validation_fraction=0.0, seed=0),
        skipped=Skipped(count=0, places=()),
    )
    return stage_chain(of, dataset)


def test_each_arrival_has_a_budget_over_its_own_images_and_a_rate_from_step_0() -> None:
    first, second, third = resolve_life(config(2, 1, 2), 8)
    assert (first.num_steps, first.lr) == (4 * 200 // 10, 0.2)
    assert (second.num_steps, third.num_steps) == (2 * 300 // 10, 2 * 500 // 10)
    for each in (first, second, third):
        assert (each.first_step, each.total_steps) == (0, each.num_steps)
        assert lr_at(each, each.num_steps // 8) == each.lr  # warmed up, not yet falling
        assert lr_at(each, each.num_steps - 1) < each.lr / 10


def test_a_run_without_arrivals_has_one_recipe_over_its_plan() -> None:
    plain = config(2, 1, 2, arrival=None)
    assert resolve_life(plain, 8) == resolve(plain.recipe, plain.plan, 8)


def test_lives_that_begin_alike_share_stages_with_each_other_and_with_from_scratch() -> None:
    life, longer = chain(config(2, 1)), chain(config(2, 1, 2))
    scratch = chain(config(2, arrival=None))
    assert [spec.digest for spec in life] == [spec.digest for spec in longer[:2]]
    assert scratch[0].digest == life[0].digest
    other = chain(config(2, 1, arrival=dataclasses.replace(ARRIVAL, budget_epochs=1.0)))
    assert other[0].digest == life[0].digest
    assert other[1].digest != life[1].digest


def test_an_arrival_is_the_extension_that_the_same_recipe_gives() -> None:
    life = chain(config(2, 1, 2))
    base = BaseModel(
        origin="stage 2 of run x",
        identity=life[1].digest,
        checkpoint_sha256="b" * 64,
        checkpoint_bytes=9,
        image=IMAGE,
        normalization=SCALING,
    )
    (extension,) = chain(config(2, num_given=3, base=base, recipe=ARRIVAL, arrival=None))
    assert (extension.digest, extension.draw) == (life[2].digest, life[2].draw)
    assert (extension.index, life[2].index) == (1, 3)


def test_a_list_for_the_whole_plan_does_not_fit_a_life() -> None:
    listed = dataclasses.replace(FIRST, budget_epochs=None, epochs=(1.0, 2.0))
    with pytest.raises(ConfigError, match="epochs lists 2 stages but the plan has 1"):
        resolve_life(config(2, 3, recipe=listed), 8)
