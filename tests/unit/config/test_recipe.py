"""Recipes: what a plan's budget becomes in steps, and the learning rate over them."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accrete.config.plan import Plan, even_counts, sizes_by_alpha
from accrete.config.recipe import Recipe, assumptions, recipe_named
from accrete.config.schedule import MIN_DEFAULT_STEPS, StageSchedule, lr_at, resolve, round_of
from accrete.core.serialization import to_json
from accrete.errors import ConfigError


def make_plan(sizes: Sequence[int], images: Sequence[int]) -> Plan:
    """Return a plan of classes c0, c1, … with these image counts."""
    return Plan(
        rule="a test's list",
        class_order=tuple(f"c{label}" for label in range(len(images))),
        class_images=tuple(images),
        stage_sizes=tuple(sizes),
    )


CIFAR100 = make_plan(sizes_by_alpha(even_counts(100), 10, Fraction(1)), even_counts(100))
ONE_STAGE = make_plan((100,), even_counts(100))
THREE_STAGES = make_plan((1, 1, 1), (15, 15, 10))


OTHER_VALUES: dict[str, Any] = {
    "batch_size": 64,
    "lr": 0.3,
    "lr_shape": "step",
    "lr_scope": "stage",
    "warmup_fraction": 0.2,
    "decay_fraction": 0.5,
    "momentum": 0.8,
    "nesterov": False,
    "weight_decay": 1e-3,
    "label_smoothing": 0.2,
    "carry_momentum": False,
    "flip": "alternating",
    "precision": "fp32",
    "compile": "never",
    "deterministic": True,
    "replay": 0.5,
    "head_init": "means",
    "trained": "head",
    "until": "0.75",
    "round_growth": 2,
    "stop_gradient": 0.1,
    "stop_patience": 5,
}


def rates(schedule: StageSchedule) -> list[float]:
    """Return the learning rate of each step of a stage."""
    first = schedule.first_step
    return [lr_at(schedule, step) for step in range(first, first + schedule.num_steps)]


def check_windows(schedules: Sequence[StageSchedule]) -> None:
    """Fail unless the windows follow each other from 0 to the total, none empty."""
    end = 0
    for schedule in schedules:
        assert schedule.first_step == end
        assert schedule.num_steps >= 1
        end += schedule.num_steps
        if schedule.lr_scope == "stage":
            assert schedule.total_steps == end
        else:
            assert schedule.total_steps == schedules[-1].first_step + schedules[-1].num_steps


def test_default_budget_is_seven_epochs_over_all_images() -> None:
    schedules = resolve(Recipe(), CIFAR100, 32)
    check_windows(schedules)
    assert schedules[0].total_steps == 7 * 50_000 // 128


def test_default_budget_of_one_stage_is_that_of_five() -> None:
    (schedule,) = resolve(Recipe(), ONE_STAGE, 32)
    assert (schedule.first_step, schedule.num_steps) == (0, 7 * 50_000 // 128)


def test_early_stages_share_their_part_of_the_budget_by_the_images_they_add() -> None:
    ends = [s.first_step + s.num_steps for s in resolve(Recipe(), CIFAR100, 32)]
    early = 0.28 * 350_000
    shares = [int(early * part / 128) for part in (1 / 8, 2 / 8, 4 / 8, 1)]
    assert ends == [*shares, 2734]


@pytest.mark.parametrize("images", [(144,) * 10, (3, 1), (5,)])
def test_small_data_set_gets_four_hundred_steps(images: tuple[int, ...]) -> None:
    plan = make_plan((1, len(images) - 1) if len(images) > 1 else (1,), images)
    schedules = resolve(Recipe(), plan, 8)
    check_windows(schedules)
    assert schedules[0].total_steps == MIN_DEFAULT_STEPS == 400


def test_no_step_is_lost_to_rounding_of_the_shares() -> None:
    for count in range(3, 300):
        plan = make_plan((1, 1, 1), (count, count + 1, 2 * count))
        assert resolve(Recipe(), plan, 8)[0].total_steps == 400, count


def test_budget_that_is_given_is_kept_below_four_hundred_steps() -> None:
    (schedule,) = resolve(Recipe(budget_epochs=0.5), make_plan((2,), (1000, 1000)), 8)
    assert schedule.num_steps == 1000 // 128


def test_epochs_that_are_given_count_over_each_stage_s_own_images() -> None:
    plan = make_plan((1, 1), (1000, 3000))
    schedules = resolve(Recipe(epochs=(2, 0.5), batch_size=10), plan, 8)
    assert [(s.first_step, s.num_steps) for s in schedules] == [(0, 200), (200, 200)]


def test_epochs_of_another_number_of_stages_are_refused() -> None:
    with pytest.raises(ConfigError, match="epochs lists 3 stages but the plan has 5"):
        resolve(Recipe(epochs=(1, 1, 1)), CIFAR100, 32)


def test_stage_boundaries_are_rounded_down_as_a_running_sum() -> None:
    # 15, 30 and 45 images in batches of 10: ends at 1, 3 and 4, not three times 1.
    schedules = resolve(Recipe(epochs=(1, 0.5, 0.375), batch_size=10), THREE_STAGES, 8)
    assert [s.num_steps for s in schedules] == [1, 2, 1]


def test_stage_of_less_than_a_batch_gets_one_step() -> None:
    schedules = resolve(Recipe(budget_epochs=0.01, batch_size=100), THREE_STAGES, 8)
    check_windows(schedules)
    assert [s.num_steps for s in schedules] == [1, 1, 1]


@given(
    images=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    batch_size=st.integers(2, 300),
    budget=st.none() | st.floats(0.01, 30),
    early_share=st.floats(0, 0.95),
    data=st.data(),
)
@settings(max_examples=150)
def test_windows_are_contiguous_and_never_above_the_budget(
    images: list[int],
    batch_size: int,
    budget: float | None,
    early_share: float,
    data: st.DataObject,
) -> None:
    initial = data.draw(st.integers(1, len(images)))
    plan = make_plan((initial, *[1] * (len(images) - initial)), images)
    recipe = Recipe(batch_size=batch_size, budget_epochs=budget, early_share=early_share)
    schedules = resolve(recipe, plan, 8)
    check_windows(schedules)
    total = sum(images)
    allowed = max(7 * total, 400 * batch_size) if budget is None else budget * total
    seen = sum(schedule.num_images_seen for schedule in schedules)
    if all(schedule.num_steps > 1 for schedule in schedules):
        assert seen <= allowed + 1e-3
    assert seen > min(allowed, len(schedules) * batch_size) - batch_size


def test_paper_recipe_splits_three_hundred_epochs_evenly_over_the_stages() -> None:
    schedules = resolve(recipe_named("paper"), CIFAR100, 32)
    check_windows(schedules)
    running = itertools.accumulate(60 * classes * 500 for classes in (10, 20, 40, 80, 100))
    assert [s.first_step + s.num_steps for s in schedules] == [r // 128 for r in running]
    assert {s.batch_size for s in schedules} == {128}


def test_plans_that_begin_alike_share_schedules_where_each_stage_has_its_own_rate() -> None:
    longer = dataclasses.replace(CIFAR100, stage_sizes=(10, 10, 20, 60))
    own = Recipe(lr_scope="stage", epochs=(2.0,) * 5)
    first = resolve(own, CIFAR100, 32)[:3]
    assert first == resolve(dataclasses.replace(own, epochs=(2.0,) * 4), longer, 32)[:3]


def test_paper_recipe_trains_one_stage_for_three_hundred_epochs() -> None:
    (schedule,) = resolve(recipe_named("paper"), ONE_STAGE, 32)
    assert schedule.num_steps == 300 * 50_000 // 128


def test_paper_recipe_takes_another_budget() -> None:
    (schedule,) = resolve(recipe_named("paper", budget_epochs=3.0), ONE_STAGE, 32)
    assert schedule.num_steps == 3 * 50_000 // 128


def test_paper_recipe_has_the_paper_s_values() -> None:
    (schedule,) = resolve(recipe_named("paper"), ONE_STAGE, 32)
    assert (schedule.lr, schedule.momentum, schedule.weight_decay) == (0.1, 0.9, 5e-4)
    assert (schedule.nesterov, schedule.label_smoothing, schedule.crop_padding) == (False, 0, 4)


def test_paper_rate_is_divided_by_ten_after_each_third_of_each_stage() -> None:
    plan = make_plan((1, 1, 1), (100, 200, 310))
    for schedule in resolve(recipe_named("paper", budget_epochs=30.0), plan, 32):
        runs = [(lr, len(list(run))) for lr, run in itertools.groupby(rates(schedule))]
        assert [lr for lr, _ in runs] == pytest.approx([0.1, 0.01, 0.001])
        assert sum(length for _, length in runs) == schedule.num_steps
        assert all(abs(length - schedule.num_steps / 3) <= 1 for _, length in runs)


def test_step_shape_over_the_plan_falls_at_thirds_of_the_plan() -> None:
    recipe = dataclasses.replace(recipe_named("paper", budget_epochs=30.0), lr_scope="plan")
    schedules = resolve(recipe, make_plan((1, 1), (1000, 1000)), 32)
    values = [lr for schedule in schedules for lr in rates(schedule)]
    firsts = [values.index(value) for value in sorted(set(values), reverse=True)]
    assert firsts == pytest.approx([0, len(values) / 3, 2 * len(values) / 3], abs=1)


def test_rate_rises_holds_and_falls_to_nearly_zero() -> None:
    (schedule,) = resolve(Recipe(), ONE_STAGE, 32)
    values = rates(schedule)
    rise, hold_end = int(0.1 * len(values)), int(0.25 * len(values))
    assert all(a < b for a, b in itertools.pairwise(values[:rise]))
    assert values[rise + 1 : hold_end] == [0.2] * (hold_end - rise - 1)
    assert all(a > b for a, b in itertools.pairwise(values[hold_end + 1 :]))
    assert 0 < values[0] <= 0.2 / (rise - 1)
    assert 0 < values[-1] <= 0.2 / (len(values) * 0.74)


def test_rate_over_the_plan_is_one_shape_whatever_the_stages() -> None:
    (whole,) = resolve(Recipe(), ONE_STAGE, 32)
    staged = [lr for schedule in resolve(Recipe(), CIFAR100, 32) for lr in rates(schedule)]
    assert staged == rates(whole)


def test_rate_over_the_plan_is_continuous_over_stage_borders() -> None:
    values = [lr for schedule in resolve(Recipe(), CIFAR100, 32) for lr in rates(schedule)]
    steepest = 0.2 / (0.1 * len(values))
    assert max(abs(b - a) for a, b in itertools.pairwise(values)) <= steepest * 1.001


def test_rate_per_stage_starts_anew_in_each_stage() -> None:
    schedules = resolve(Recipe(lr_scope="stage"), CIFAR100, 32)
    for schedule in schedules:
        values = rates(schedule)
        assert max(values) == pytest.approx(0.2)
        assert values[0] < 0.2 * 12 / schedule.num_steps
        assert values[-1] < 0.2 * 2 / schedule.num_steps


def test_rate_without_warmup_and_decay_is_constant() -> None:
    (schedule,) = resolve(
        Recipe(warmup_fraction=0, decay_fraction=0, budget_epochs=1), ONE_STAGE, 32
    )
    assert set(rates(schedule)) == {0.2}


@given(
    warmup=st.floats(0, 1),
    decay=st.floats(0, 1),
    scope=st.sampled_from(["plan", "stage"]),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
)
@settings(max_examples=100)
def test_rate_is_never_negative_nor_above_its_peak(
    warmup: float, decay: float, scope: str, sizes: list[int]
) -> None:
    recipe = Recipe(
        warmup_fraction=warmup,
        decay_fraction=decay * round(1 - warmup, 9),
        lr_scope=scope,
        batch_size=8,
        budget_epochs=3,
    )
    for schedule in resolve(recipe, make_plan(sizes, [20] * sum(sizes)), 8):
        assert all(0 < lr <= 0.2 for lr in rates(schedule))


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (8, 1), (28, 3), (4, 0), (224, 28)])
def test_crop_padding_is_an_eighth_of_the_side_where_none_is_given(side: int, padding: int) -> None:
    assert resolve(Recipe(), ONE_STAGE, side)[0].crop_padding == padding


def test_crop_padding_that_is_given_is_kept_even_if_zero() -> None:
    assert resolve(Recipe(crop_padding=0), ONE_STAGE, 32)[0].crop_padding == 0


def test_image_sides_of_another_number_of_stages_are_refused() -> None:
    with pytest.raises(ConfigError, match="image sides lists 2 stages but the plan has 3"):
        resolve(Recipe(image_sides=(16, 32)), THREE_STAGES, 32)


def test_each_stage_has_its_image_side_and_none_scales_up() -> None:
    schedules = resolve(Recipe(image_sides=(16, 32, 48)), THREE_STAGES, 32)
    assert [schedule.image_side for schedule in schedules] == [16, None, None]
    assert {schedule.crop_padding for schedule in schedules} == {4}


def test_images_keep_their_size_where_no_side_is_given() -> None:
    assert [s.image_side for s in resolve(Recipe(), THREE_STAGES, 32)] == [None] * 3


def test_no_stage_ends_early_unless_asked_to() -> None:
    for name in ("fast", "paper"):
        (schedule,) = resolve(recipe_named(name), ONE_STAGE, 32)
        assert (schedule.stop_gradient, schedule.stop_patience) == (None, None)


def test_schedule_carries_every_value_of_the_recipe() -> None:
    recipe = Recipe(**OTHER_VALUES)
    schedule = resolve(recipe, THREE_STAGES, 32)[1]
    shared = {field.name for field in dataclasses.fields(StageSchedule)} & set(OTHER_VALUES)
    # What training reads is in a stage's schedule; these became its steps, side and padding.
    resolved = {"name", "epochs", "budget_epochs", "early_share", "round_epochs"}
    resolved |= {"image_sides", "crop_padding"}
    assert {field.name for field in dataclasses.fields(Recipe)} - shared == resolved
    for name in shared:
        assert getattr(schedule, name) == getattr(recipe, name) != getattr(Recipe(), name)


def test_what_has_no_effect_without_new_classes_is_no_part_of_a_stage_that_trains_on() -> None:
    plan = Plan(rule="", class_order=("a", "b"), class_images=(9, 9), stage_sizes=(0,), num_given=2)
    (stage,) = resolve(Recipe(replay=0.5, head_init="means", until="0.75"), plan, 32)
    assert (stage.replay, stage.head_init, stage.until) == (1.0, "random", "0.75")


def test_what_is_about_old_classes_is_no_part_of_a_stage_without_any() -> None:
    recipe = Recipe(replay=0.5, head_init="means", until="0.75", lr_scope="stage")
    first, second, _ = resolve(recipe, THREE_STAGES, 32)
    assert first == resolve(Recipe(lr_scope="stage"), THREE_STAGES, 32)[0]
    assert (second.replay, second.head_init, second.until) == (0.5, "means", "0.75")
    rounds = {"until", "round_steps", "round_growth"}
    assert not ({"replay", "head_init"} | rounds) & to_json(first).keys()
    _, without, _ = resolve(Recipe(round_growth=2), THREE_STAGES, 32)
    assert not rounds & to_json(without).keys()


@pytest.mark.parametrize(
    ("epochs", "round_epochs", "rounds"),
    [(4.0, 1.0, 4), (4.0, 2.0, 2), (0.5, 1.0, 1), (6.0, 2.0, 3), (7.0, 4.0, 2), (5.0, 4.0, 1)],
)
def test_rounds_are_as_many_as_fit_a_stage_s_budget_best(
    epochs: float, round_epochs: float, rounds: int
) -> None:
    plan = make_plan((1, 1), (770, 370))
    recipe = Recipe(
        epochs=(2.0, epochs), until="retrained-accuracy", round_epochs=round_epochs, batch_size=8
    )
    first, second = resolve(recipe, plan, 32)
    assert (first.num_steps, first.round_steps) == (1540 // 8, None)
    num_steps = int(epochs * 1140 / 8)
    assert second.round_steps == num_steps // rounds
    assert num_steps - rounds < second.num_steps <= num_steps
    assert second.num_steps == rounds * second.round_steps


@pytest.mark.parametrize(
    ("epochs", "lengths", "windows"),
    [
        (2.0, 1, [(0, 285)]),
        (3.0, 3, [(0, 142), (142, 284)]),
        (6.0, 3, [(0, 285), (285, 570)]),
        (7.0, 7, [(0, 142), (142, 284), (426, 568)]),
    ],
)
def test_each_round_may_be_twice_as_long_as_the_one_before(
    epochs: float, lengths: int, windows: list[tuple[int, int]]
) -> None:
    recipe = Recipe(
        epochs=(2.0, epochs), until="0.9", round_epochs=1.0, round_growth=2, batch_size=8
    )
    first, second = resolve(recipe, make_plan((1, 1), (770, 370)), 32)
    assert (first.round_growth, second.round_growth) == (1, 2)
    assert second.round_steps is not None
    assert second.num_steps == lengths * second.round_steps
    found = [round_of(second, start + length - 1) for start, length in windows]
    assert found == windows == [round_of(second, start) for start, _ in windows]
    assert sum(windows[-1]) == second.num_steps


def test_few_images_get_fewer_rounds_within_the_same_budget() -> None:
    recipe = Recipe(epochs=(2.0, 20.0), until="retrained-accuracy", batch_size=8)
    _, second = resolve(recipe, make_plan((1, 1), (77, 37)), 32)
    assert (second.round_steps, second.num_steps) == (71, 284)
    _, second = resolve(
        dataclasses.replace(recipe, epochs=(2.0, 4.0)), make_plan((1, 1), (77, 37)), 32
    )
    assert (second.round_steps, second.num_steps) == (57, 57)


def test_each_round_has_the_whole_shape_of_the_rate() -> None:
    recipe = Recipe(epochs=(1.0, 3.0), until="0.9", batch_size=2, lr_scope="stage")
    _, second = resolve(recipe, make_plan((1, 1), (200, 200)), 32)
    found = rates(second)
    assert second.round_steps == 200
    assert found[:200] == found[200:400] == found[400:]
    assert max(found) == found[20] == 0.2
    assert found[199] < 0.01


def test_a_longer_round_has_the_same_shape_drawn_out() -> None:
    recipe = Recipe(epochs=(1.0, 3.0), until="0.9", batch_size=2, lr_scope="stage", round_growth=2)
    _, second = resolve(recipe, make_plan((1, 1), (200, 200)), 32)
    found = rates(second)
    assert len(found) == 600
    assert [max(found[:200]), max(found[200:])] == [0.2, 0.2]
    assert (found.index(0.2), found.index(0.2, 200)) == (19, 200 + 39)
    assert found[199] < 0.01
    assert found[599] < 0.01


REFUSED: list[tuple[str, Any, str]] = [
    ("name", "slow", "recipe is 'slow': choose one of fast, paper"),
    ("lr_shape", "cosine", "lr shape is 'cosine': choose one of linear, step"),
    ("lr_scope", "epoch", "lr scope is 'epoch': choose one of plan, stage"),
    ("precision", "fp16", "precision is 'fp16': choose one of auto, bf16, fp32"),
    ("lr", 0.0, "lr is 0.0:"),
    ("lr", -0.1, "lr is -0.1:"),
    ("lr", 1001.0, "lr is 1001.0:"),
    ("lr", float("nan"), "lr is nan:"),
    ("lr", float("inf"), "lr is inf:"),
    ("momentum", -0.1, "momentum is -0.1:"),
    ("momentum", 1.0, "momentum is 1.0:"),
    ("weight_decay", -1e-4, "weight decay is -0.0001:"),
    ("weight_decay", 11.0, "weight decay is 11.0:"),
    ("label_smoothing", -0.1, "label smoothing is -0.1:"),
    ("label_smoothing", 0.95, "label smoothing is 0.95:"),
    ("early_share", -0.1, "early share is -0.1:"),
    ("early_share", 0.96, "early share is 0.96:"),
    ("warmup_fraction", -0.1, "warmup fraction is -0.1:"),
    ("warmup_fraction", 1.1, "warmup fraction is 1.1:"),
    ("decay_fraction", -0.1, "decay fraction is -0.1:"),
    ("decay_fraction", 0.95, "decay fraction is 0.95:"),
    ("batch_size", 1, "batch size is 1:"),
    ("batch_size", 2**20 + 1, "batch size is 1048577:"),
    ("flip", "vertical", "flip is 'vertical': choose one of random, alternating, none"),
    ("compile", "maybe", "compile is 'maybe': choose one of auto, always, never"),
    ("image_sides", (32, 3), "image side is 3:"),
    ("image_sides", (4097,), "image side is 4097:"),
    ("replay", -0.1, "replay is -0.1:"),
    ("replay", 1.1, "replay is 1.1:"),
    ("replay", float("nan"), "replay is nan:"),
    ("head_init", "zero", "head init is 'zero': choose one of random, means"),
    ("trained", "tail", "trained is 'tail': choose one of all, head"),
    ("until", "best", "until is 'best': give retrained-accuracy, or a validation accuracy"),
    ("until", "75", "until is '75': give"),
    ("until", "0", "until is '0': give"),
    ("until", "nan", "until is 'nan': give"),
    ("round_epochs", 0.0, "round epochs is 0.0:"),
    ("round_growth", 0, "round growth is 0:"),
    ("stop_gradient", 0.0, "stop gradient is 0.0:"),
    ("stop_gradient", float("nan"), "stop gradient is nan:"),
    ("stop_patience", 0, "stop patience is 0:"),
    ("stop_patience", 10_001, "stop patience is 10001:"),
    ("crop_padding", -1, "crop padding is -1:"),
    ("crop_padding", 513, "crop padding is 513:"),
    ("budget_epochs", 0.0, "budget epochs is 0.0:"),
    ("budget_epochs", 1e6, "budget epochs is 1000000.0:"),
    ("epochs", (1.0, 0.0), "epochs is 0.0:"),
    ("epochs", (float("nan"),), "epochs is nan:"),
]


@pytest.mark.parametrize(("field", "value", "what"), REFUSED)
def test_recipe_value_outside_its_range_is_refused(field: str, value: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(what)):
        Recipe(**{field: value})


def test_every_recipe_field_with_a_range_is_tried() -> None:
    tried = {field for field, _, _ in REFUSED}
    flags = {"nesterov", "carry_momentum", "deterministic"}
    assert tried | flags == {field.name for field in dataclasses.fields(Recipe)}


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ConfigError, match="nesterov needs a momentum above 0"):
        Recipe(momentum=0)
    assert Recipe(momentum=0, nesterov=False).momentum == 0


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 0.4, 0.7, 0.8, 0.9, 1.0])
def test_warmup_and_decay_may_fill_the_whole_schedule(warmup: float) -> None:
    decay = float(f"{1 - warmup:.1f}")
    assert Recipe(warmup_fraction=warmup, decay_fraction=decay).decay_fraction == decay


def test_unknown_recipe_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="recipe is 'best': choose one of fast, paper"):
        recipe_named("best")


def test_each_recipe_says_what_it_assumes() -> None:
    fast, paper = assumptions(recipe_named("fast")), assumptions(recipe_named("paper"))
    assert fast != paper
    assert any("batch size 128" in line for line in paper)
