"""What equal accuracy costs over a life, by hand."""

from collections.abc import Mapping, Sequence

import pytest

from accrete.reports.lifecycle import (
    Intervals,
    Measured,
    Reference,
    needed,
    needed_total,
    one_budget_total,
    tuned,
)

ONE = (0,)


def at(images: float, top1: float | None, validation: float | None = None) -> Measured:
    """Return a stage that took half a second an image."""
    return Measured(images=images, seconds=images / 2, top1=top1, validation=validation)


def ladder(*steps: tuple[float, float, float]) -> dict[float, dict[int, Measured]]:
    """Return from scratch by (epochs, validation accuracy, test accuracy), of 100 images."""
    return {e: {0: at(100 * e, top1, validation)} for e, validation, top1 in steps}


def chains(**lives: Sequence[tuple[float, float]]) -> dict[float, dict[int, list[Measured]]]:
    """Return a contestant's chains of (images, accuracy), the first stage first, by budget."""
    return {float(name[1:]): {0: [at(*stage) for stage in life]} for name, life in lives.items()}


def reference(top1: float, images: float) -> Reference:
    return Reference(8.0, top1, images, images / 2, ended_at_largest=False)


def test_the_smallest_budget_within_half_a_point_of_the_best_is_taken() -> None:
    found = tuned(ladder((8, 0.70, 0.71), (16, 0.746, 0.73), (32, 0.75, 0.74)), ONE)
    assert found == Reference(16.0, 0.73, 1600.0, 800.0, ended_at_largest=False)


def test_exactly_half_a_point_is_within_it() -> None:
    found = tuned(ladder((8, 0.70, 0.7), (16, 0.705, 0.8)), ONE)
    assert found is not None
    assert found.budget == 8


def test_a_search_that_ends_at_its_largest_budget_says_so() -> None:
    found = tuned(ladder((8, 0.70, 0.71), (16, 0.74, 0.73), (32, 0.75, 0.74)), ONE)
    assert found is not None
    assert (found.budget, found.ended_at_largest) == (32.0, True)


def test_one_budget_is_no_search() -> None:
    found = tuned(ladder((8, 0.7, 0.7)), ONE)
    assert found is not None
    assert not found.ended_at_largest


def test_test_accuracy_chooses_nothing() -> None:
    found = tuned(ladder((8, 0.75, 0.60), (16, 0.70, 0.90)), ONE)
    assert found is not None
    assert (found.budget, found.top1) == (8.0, 0.60)


def test_a_budget_that_was_better_by_chance_is_no_easy_reference() -> None:
    """The second has less than the first: both count with their mean, 52.75 %."""
    found = tuned(
        ladder((8, 0.545, 0.54), (16, 0.51, 0.55), (32, 0.535, 0.56), (64, 0.548, 0.57)), ONE
    )
    assert found is not None
    assert (found.budget, found.top1) == (64.0, 0.57)


def test_of_budgets_that_are_as_good_as_each_other_the_smallest_is_taken() -> None:
    found = tuned(ladder((8, 0.50, 0.5), (16, 0.56, 0.6), (32, 0.54, 0.7), (64, 0.55, 0.7)), ONE)
    assert found is not None
    assert (found.budget, found.top1) == (16.0, 0.6)


def test_without_validation_or_test_images_there_is_no_reference() -> None:
    assert tuned({8.0: {0: at(800, 0.7, None)}}, ONE) is None
    assert tuned({8.0: {0: at(800, None, 0.7)}}, ONE) is None


TWO_BUDGETS = chains(
    b1=[(500, 0.9), (100, 0.4), (200, 0.6)], b2=[(500, 0.9), (400, 0.6), (800, 0.8)]
)


def test_what_is_needed_lies_between_budgets_in_logarithm() -> None:
    found = needed(TWO_BUDGETS, 1, ONE, 0.5, "images")
    assert found is not None
    assert found == (pytest.approx(200), False)  # halfway from 100 to 400, in logarithm
    seconds = needed(TWO_BUDGETS, 1, ONE, 0.5, "seconds")
    assert seconds is not None
    assert seconds.cost == pytest.approx(100)


def test_a_least_budget_that_is_good_enough_is_a_bound() -> None:
    assert needed(TWO_BUDGETS, 1, ONE, 0.3, "images") == (100, True)
    alone = chains(b2=[(500, 0.9), (400, 0.6)])
    assert needed(alone, 1, ONE, 0.3, "images") == (400, False)  # there is no smaller one to try


def test_beyond_the_largest_budget_nothing_is_known() -> None:
    assert needed(TWO_BUDGETS, 1, ONE, 0.61, "images") is None


def test_a_life_costs_its_first_stage_and_what_each_arrival_needs() -> None:
    references = [reference(0.9, 1000), reference(0.505, 2000), reference(0.705, 3000)]
    found = needed_total(TWO_BUDGETS, references, ONE, "images")
    assert found is not None
    # 500, then 200 for 50 % and, halfway from 200 to 800, 400 for 70 %
    assert (found.cost, found.scratch) == (pytest.approx(1100), 6000)
    assert found.ratio == pytest.approx(6000 / 1100)


def test_a_life_that_falls_short_once_has_no_total() -> None:
    references = [reference(0.9, 1000), reference(0.505, 2000), reference(0.9, 3000)]
    assert needed_total(TWO_BUDGETS, references, ONE, "images") is None
    assert one_budget_total(TWO_BUDGETS, references, ONE, "images") is None
    assert needed_total(TWO_BUDGETS, [*references[:2], None], ONE, "images") is None


def test_one_budget_is_the_least_that_serves_every_arrival() -> None:
    references = [reference(0.9, 1000), reference(0.404, 2000), reference(0.605, 3000)]
    found = one_budget_total(TWO_BUDGETS, references, ONE, "images")
    assert found == (500 + 100 + 200, 6000, 1.0)
    harder = [*references[:2], reference(0.7, 3000)]
    found = one_budget_total(TWO_BUDGETS, harder, ONE, "seconds")
    assert found == ((500 + 400 + 800) / 2, 3000, 2.0)


def test_means_are_taken_over_seeds() -> None:
    two: Mapping[float, Mapping[int, Measured]] = {
        8.0: {0: at(800, 0.6, 0.70), 1: at(800, 0.7, 0.72)},
        16.0: {0: at(1600, 0.8, 0.71), 1: at(1600, 0.9, 0.715)},
    }
    found = tuned(two, (0, 1))
    assert found is not None
    assert (found.budget, found.top1) == (8.0, pytest.approx(0.65))  # 71 and 71.25 % of validation
    only = tuned(two, (0, 0))
    assert only is not None
    assert only.budget == 16.0  # 70 and 71 %


def test_an_interval_goes_from_the_5th_to_the_95th_percentile_of_draws() -> None:
    intervals = Intervals((0, 1), num_draws=4000)
    values = {0: 1.0, 1: 3.0}
    low, high = intervals.of(lambda scratch, _: sum(map(values.__getitem__, scratch))) or (0, 0)
    assert (low, high) == (2.0, 6.0)  # each of two equal seeds comes in a quarter of the draws


def test_one_seed_and_figures_that_mostly_fail_have_no_interval() -> None:
    assert Intervals((0,)).of(lambda _, __: 1.0) is None
    two = Intervals((0, 1), num_draws=400)
    assert two.of(lambda scratch, _: None if scratch == (1, 1) else 1.0) is None
    assert two.of(lambda _, __: 1.0) == [1.0, 1.0]


def test_of_a_figure_that_some_draws_have_their_share_is_known() -> None:
    two = Intervals((0, 1), num_draws=4000)
    found = two.spread(lambda scratch, _: None if scratch == (1, 1) else float(sum(scratch)))
    assert found is not None
    assert found.share == pytest.approx(0.75, abs=0.03)
    assert found.interval == [0.0, 1.0]
    assert two.spread(lambda _, __: None) is None
    assert Intervals((0,)).spread(lambda _, __: 1.0) is None
