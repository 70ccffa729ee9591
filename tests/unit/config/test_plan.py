"""Plans: the growth-ratio rule against an independent search, the other rules, and packing."""

import itertools
import time
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accrete.config.plan import (
    MAX_PIPELINE_STEPS,
    Plan,
    check_counts,
    check_sizes,
    default_initial,
    describe_alpha,
    even_counts,
    pack_steps,
    parse_alpha,
    parse_sizes,
    sizes_by_alpha,
    sizes_by_increment,
)
from accrete.errors import PlanError

counts = st.lists(st.integers(1, 60), min_size=1, max_size=24)
alphas = st.fractions(Fraction(1, 12), 8, max_denominator=12)


def make_plan(sizes: Sequence[int], images: Sequence[int]) -> Plan:
    """Return a plan of classes c0, c1, … with these image counts."""
    return Plan(
        rule="a test's list",
        class_order=tuple(f"c{label}" for label in range(len(images))),
        class_images=tuple(images),
        stage_sizes=tuple(sizes),
    )


def nearest_size(class_images: Sequence[int], start: int, target: Fraction) -> int:
    """Return by trying every size the smallest one whose images come nearest to a target."""
    sizes = range(1, len(class_images) - start + 1)
    return min(sizes, key=lambda n: (abs(sum(class_images[start : start + n]) - target), n))


def test_plan_gives_the_paper_s_five_stages_at_alpha_one() -> None:
    assert sizes_by_alpha(even_counts(100), 10, Fraction(1)) == (10, 10, 20, 40, 20)


@pytest.mark.parametrize(
    ("alpha", "sizes"),
    [("0.5", (10, 5, 7, 11, 16, 24, 27)), ("2", (10, 20, 60, 10)), ("1/3", (10, 3, 4, 6, 8, 10))],
)
def test_alpha_rule_counts_equal_classes(alpha: str, sizes: tuple[int, ...]) -> None:
    num_classes = 100 if sum(sizes) == 100 else sum(sizes)
    assert sizes_by_alpha(even_counts(num_classes), 10, parse_alpha(alpha)) == sizes


def test_alpha_rule_does_not_depend_on_images_per_class_where_all_are_equal() -> None:
    expected = sizes_by_alpha(even_counts(100, 1), 10, Fraction(1, 2))
    assert sizes_by_alpha(even_counts(100, 777), 10, Fraction(1, 2)) == expected


def test_alpha_rule_counts_images_and_not_classes() -> None:
    # 20 images seen: four classes of 5 double them; then 40 seen, and one class of 40 does.
    images = (10, 10, 5, 5, 5, 5, 40, 1, 1)
    assert sizes_by_alpha(images, 2, Fraction(1)) == (2, 4, 1, 2)


def test_alpha_rule_stops_before_a_large_class_that_would_lead_further_away() -> None:
    assert sizes_by_alpha((10, 6, 9, 1), 1, Fraction(1)) == (1, 1, 2)


def test_alpha_rule_takes_a_large_class_that_leads_nearer() -> None:
    assert sizes_by_alpha((10, 6, 7, 1), 1, Fraction(1)) == (1, 2, 1)


def test_alpha_rule_takes_fewer_classes_on_a_tie() -> None:
    # Target 10: 8 is as near as 12.
    assert sizes_by_alpha((10, 8, 4, 1), 1, Fraction(1)) == (1, 1, 2)


def test_alpha_rule_adds_at_least_one_class_a_stage() -> None:
    assert sizes_by_alpha((1, 100, 100, 100), 1, Fraction(1, 1000)) == (1, 1, 1, 1)


def test_last_stage_takes_what_is_left() -> None:
    assert sizes_by_alpha(even_counts(11), 10, Fraction(5)) == (10, 1)


def test_initial_of_all_classes_is_a_single_stage() -> None:
    assert sizes_by_alpha(even_counts(7), 7, Fraction(1)) == (7,)


def test_alpha_rule_is_exact_where_a_float_would_miss_a_tie() -> None:
    # alpha 0.1 of 15 classes is 1.5, a tie; the float 0.1 is a little more than a tenth.
    assert sizes_by_alpha(even_counts(20, 1), 15, parse_alpha("0.1"))[1] == 1
    assert sizes_by_alpha(even_counts(20, 1), 15, Fraction(0.1))[1] == 2


@given(images=counts, alpha=alphas, data=st.data())
@settings(max_examples=150)
def test_every_alpha_stage_is_the_nearest_that_classes_allow(
    images: list[int], alpha: Fraction, data: st.DataObject
) -> None:
    initial = data.draw(st.integers(1, len(images)))
    sizes = sizes_by_alpha(images, initial, alpha)
    assert sizes[0] == initial
    position = initial
    for size in sizes[1:]:
        assert size == nearest_size(images, position, alpha * sum(images[:position]))
        position += size
    assert position == len(images)


@given(images=counts, alpha=alphas, data=st.data())
@settings(max_examples=100)
def test_every_plan_covers_each_class_once_in_order_and_grows(
    images: list[int], alpha: Fraction, data: st.DataObject
) -> None:
    initial = data.draw(st.integers(1, len(images)))
    plan = make_plan(sizes_by_alpha(images, initial, alpha), images)
    covered: list[str] = []
    for index, stage in enumerate(plan.stages, start=1):
        assert stage.index == index
        assert stage.num_old_classes == len(covered)
        covered += plan.class_order[stage.num_old_classes : stage.num_classes]
        assert len(covered) == stage.num_classes
        assert stage.num_images == sum(images[: stage.num_classes])
        assert stage.num_new_images == sum(images[stage.num_old_classes : stage.num_classes])
    assert covered == list(plan.class_order)
    totals = [stage.num_images for stage in plan.stages]
    assert all(before < after for before, after in itertools.pairwise(totals))


@given(
    num_classes=st.integers(1, 80), pair=st.lists(alphas, min_size=2, max_size=2), data=st.data()
)
@settings(max_examples=150)
def test_smaller_alpha_never_gives_fewer_stages_for_equal_classes(
    num_classes: int, pair: list[Fraction], data: st.DataObject
) -> None:
    initial = data.draw(st.integers(1, num_classes))
    small, large = sorted(pair)
    images = even_counts(num_classes, 10)
    assert len(sizes_by_alpha(images, initial, small)) >= len(
        sizes_by_alpha(images, initial, large)
    )


@pytest.mark.parametrize("initial", [0, -1, 101])
def test_initial_outside_the_classes_is_refused(initial: int) -> None:
    match = f"initial classes are {initial}: give a number from 1 to 100"
    with pytest.raises(PlanError, match=match):
        sizes_by_alpha(even_counts(100), initial, Fraction(1))
    with pytest.raises(PlanError, match=match):
        sizes_by_increment(100, initial, 10)


@pytest.mark.parametrize(
    ("initial", "step", "sizes"),
    [
        (10, 10, (10,) * 10),
        (10, 20, (10, 20, 20, 20, 20, 10)),
        (50, 50, (50, 50)),
        (10, 1000, (10, 90)),
        (100, 10, (100,)),
        (99, 5, (99, 1)),
    ],
)
def test_fixed_step_adds_as_many_classes_each_time(
    initial: int, step: int, sizes: tuple[int, ...]
) -> None:
    assert sizes_by_increment(100, initial, step) == sizes


@pytest.mark.parametrize("step", [0, -3])
def test_fixed_step_below_one_is_refused(step: int) -> None:
    with pytest.raises(PlanError, match=f"classes per stage are {step}: give at least 1"):
        sizes_by_increment(100, 10, step)


def test_list_of_sizes_is_read_with_spaces() -> None:
    assert parse_sizes("10, 10,20 ,40,20") == (10, 10, 20, 40, 20)


@pytest.mark.parametrize(("text", "entry"), [("10,x", "x"), ("10,,5", ""), ("10,2.5", "2.5")])
def test_list_entry_that_is_no_whole_number_is_named(text: str, entry: str) -> None:
    with pytest.raises(PlanError, match=f"stage size '{entry}' is not a whole number"):
        parse_sizes(text)


def test_list_that_does_not_add_up_is_refused_with_both_sums() -> None:
    with pytest.raises(PlanError, match=r"the stages add 90 classes but there are 100.*10,80"):
        check_sizes((10, 80), 100)
    with pytest.raises(PlanError, match="the stages add 5 classes but there are 4"):
        make_plan((2, 3), (1, 1, 1, 1))


@pytest.mark.parametrize("size", [0, -2])
def test_list_with_an_empty_stage_is_refused_by_its_number(size: int) -> None:
    with pytest.raises(PlanError, match=f"stage 2 adds {size} classes"):
        check_sizes((4 - size, size), 4)


def test_class_without_images_is_refused_by_name() -> None:
    with pytest.raises(PlanError, match="class 'c1' has 0 training images"):
        make_plan((3,), (5, 0, 5))


def test_class_without_images_is_refused_by_position_where_it_has_no_name() -> None:
    with pytest.raises(PlanError, match="class number 2 has -1 training images"):
        sizes_by_alpha((5, -1), 1, Fraction(1))


def test_plan_of_no_class_is_refused() -> None:
    with pytest.raises(PlanError, match="no classes"):
        check_counts(())
    with pytest.raises(PlanError, match="no classes"):
        make_plan((), ())


def test_class_named_twice_is_refused_by_name() -> None:
    with pytest.raises(PlanError, match="class 'cat' is in the class order twice"):
        Plan(rule="", class_order=("cat", "dog", "cat"), class_images=(1, 1, 1), stage_sizes=(1, 2))


def test_plan_with_fewer_counts_than_classes_is_refused() -> None:
    with pytest.raises(PlanError, match="2 classes but 1 image counts"):
        Plan(rule="", class_order=("a", "b"), class_images=(1,), stage_sizes=(2,))


@pytest.mark.parametrize(
    ("text", "alpha"),
    [
        ("1", Fraction(1)),
        (" 0.5 ", Fraction(1, 2)),
        ("1/3", Fraction(1, 3)),
        ("0.1", Fraction(1, 10)),
        (0.1, Fraction(1, 10)),
        (2, Fraction(2)),
        (Fraction(2, 7), Fraction(2, 7)),
        ("1e3", Fraction(1000)),
        ("0.000001", Fraction(1, 10**6)),
        ("1000000", Fraction(10**6)),
    ],
)
def test_alpha_is_read_exactly(text: str | float | Fraction, alpha: Fraction) -> None:
    assert parse_alpha(text) == alpha


@pytest.mark.parametrize(("text", "alpha"), [("1e-1", Fraction(1, 10)), (1e-5, Fraction(1, 10**5))])
def test_alpha_with_an_exponent_is_read_exactly(text: str | float, alpha: Fraction) -> None:
    assert parse_alpha(text) == alpha


@pytest.mark.parametrize("text", ["1", "0.5", "1/3", "2.25", "2/7", "1000"])
def test_alpha_is_described_as_a_person_writes_it(text: str) -> None:
    described = describe_alpha(parse_alpha(text))
    assert parse_alpha(described) == parse_alpha(text)
    if "/" in text or "." not in text:
        assert described == text


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-1", "-0.5", "0.0000001", "1000001", "1/0", "1e400"),
        *("nan", "inf", "-inf", float("nan"), float("inf"), "infinite"),
        *("", "one", "1e", "e", "1/2/3"),
    ],
)
def test_alpha_that_is_no_positive_number_is_refused(text: str | float) -> None:
    with pytest.raises(PlanError, match=f"alpha is .*{text}.*: give a number above 0"):
        parse_alpha(text)


@pytest.mark.parametrize(
    "text", ["1e999999999", "1E-999999999", "-1e999999999", "9" * 10_000, "1e" + "9" * 1000]
)
def test_alpha_of_a_huge_exponent_is_refused_at_once(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(PlanError, match=text[:40]):
        parse_alpha(text)
    assert time.monotonic() - start < 60  # to compute it would take for ever


def test_images_per_epoch_adds_up_what_every_stage_sees() -> None:
    plan = make_plan((10, 10, 20, 40, 20), even_counts(100))
    assert plan.images_per_epoch == 500 * (10 + 20 + 40 + 80 + 100)
    assert plan.scratch_images_per_epoch == 5 * 50_000


def test_images_per_epoch_counts_unbalanced_classes() -> None:
    plan = make_plan((1, 2), (3, 5, 7))
    assert plan.images_per_epoch == 3 + 15
    assert plan.scratch_images_per_epoch == 30


@pytest.mark.parametrize(
    ("num_classes", "initial"), [(1, 1), (2, 2), (10, 2), (29, 2), (30, 3), (100, 10), (1000, 100)]
)
def test_default_initial_is_a_tenth_but_at_least_two(num_classes: int, initial: int) -> None:
    assert default_initial(num_classes) == initial


@pytest.mark.parametrize(("num_classes", "images"), [(0, 500), (-1, 500), (5, 0)])
def test_even_counts_below_one_are_refused(num_classes: int, images: int) -> None:
    with pytest.raises(PlanError, match=f"{num_classes} classes of {images} images"):
        even_counts(num_classes, images)


def fewest_images_of_the_fullest_step(stage_images: Sequence[int], max_steps: int) -> int:
    """Return by trying every way to cut the stages the smallest load of the fullest step."""
    num_stages = len(stage_images)
    best = sum(stage_images)
    for num_cuts in range(min(max_steps, num_stages)):
        for cuts in itertools.combinations(range(1, num_stages), num_cuts):
            edges = (0, *cuts, num_stages)
            best = min(best, max(sum(stage_images[a:b]) for a, b in itertools.pairwise(edges)))
    return best


def test_plan_of_few_stages_has_one_stage_a_step() -> None:
    assert pack_steps([5, 9, 4]) == [range(1, 2), range(2, 3), range(3, 4)]
    assert len(pack_steps([1] * MAX_PIPELINE_STEPS)) == MAX_PIPELINE_STEPS == 30


def test_steps_are_packed_by_images_and_not_by_number_of_stages() -> None:
    assert pack_steps([1, 1, 1, 1, 10, 10], 3) == [range(1, 5), range(5, 6), range(6, 7)]


@given(images=st.lists(st.integers(1, 500), min_size=1, max_size=200))
@settings(max_examples=100)
def test_steps_are_at_most_thirty_and_hold_every_stage_once_in_order(images: list[int]) -> None:
    running = list(itertools.accumulate(images))
    steps = pack_steps(running)
    assert len(steps) <= MAX_PIPELINE_STEPS
    assert all(len(step) > 0 for step in steps)
    assert [j for step in steps for j in step] == list(range(1, len(images) + 1))


@given(images=st.lists(st.integers(1, 30), min_size=1, max_size=8), max_steps=st.integers(1, 9))
@settings(max_examples=200)
def test_the_fullest_step_is_as_small_as_it_can_be(images: list[int], max_steps: int) -> None:
    steps = pack_steps(images, max_steps)
    assert len(steps) <= max_steps
    assert [j for step in steps for j in step] == list(range(1, len(images) + 1))
    fullest = max(sum(images[j - 1] for j in step) for step in steps)
    assert fullest == fewest_images_of_the_fullest_step(images, max_steps)
