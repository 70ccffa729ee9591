"""Speed-ups at equal accuracy: interpolated between budgets, never beyond them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.reports import statistics
from accrete.reports.statistics import Trial, cost_at, mean_curve, speed_up, spread

CURVE = [(100.0, 0.4), (400.0, 0.6), (800.0, 0.7)]


def trials(budget: float, *top1s: float, cost: float | None = None) -> list[Trial]:
    """Return trials of one budget, of seeds 0, 1, …, at a cost of the budget."""
    return [
        Trial(budget=budget, seed=seed, cost=cost or budget, top1=top1)
        for seed, top1 in enumerate(top1s)
    ]


@pytest.mark.parametrize(
    ("top1", "cost"), [(0.4, 100), (0.5, 200), (0.6, 400), (0.65, 565.685), (0.7, 800)]
)
def test_cost_lies_between_the_budgets_in_logarithm(top1: float, cost: float) -> None:
    assert cost_at(top1, CURVE) == pytest.approx(cost, rel=1e-5)


@pytest.mark.parametrize("top1", [0.0, 0.399, 0.701, 1.0])
def test_beyond_the_budgets_there_is_no_cost(top1: float) -> None:
    assert cost_at(top1, CURVE) is None


def test_a_curve_that_sags_gives_the_least_cost() -> None:
    assert cost_at(0.5, [(100, 0.4), (200, 0.6), (300, 0.45), (400, 0.7)]) == pytest.approx(
        141.42, rel=1e-4
    )


def test_mean_curve_averages_the_seeds_of_a_budget() -> None:
    assert mean_curve(trials(200, 0.5, 0.7) + trials(100, 0.3, 0.5)) == [
        (100, pytest.approx(0.4)),
        (200, pytest.approx(0.6)),
    ]


def test_a_speed_up_is_the_curve_s_cost_over_the_point_s() -> None:
    curve = trials(100, 0.4, 0.4) + trials(400, 0.6, 0.6)
    found = speed_up(trials(7, 0.5, 0.5, cost=100), curve)
    assert found.top1 == 0.5
    assert found.ratio == pytest.approx(2.0)
    assert found.low == pytest.approx(2.0)
    assert found.high == pytest.approx(2.0)


def test_seeds_that_differ_give_a_spread_around_the_ratio() -> None:
    curve = trials(100, 0.38, 0.40, 0.42) + trials(400, 0.59, 0.60, 0.61)
    found = speed_up(trials(200, 0.49, 0.50, 0.54, cost=200), curve)
    assert found.ratio is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.ratio < found.high
    assert speed_up(trials(200, 0.49, 0.50, 0.54, cost=200), curve) == found


def test_a_point_above_the_curve_has_no_ratio() -> None:
    curve = trials(100, 0.4) + trials(400, 0.6)
    found = speed_up(trials(300, 0.9), curve)
    assert (found.ratio, found.low, found.high) == (None, None, None)
    assert found.top1 == 0.9


def test_a_point_near_the_curve_s_end_has_a_ratio_without_a_spread() -> None:
    curve = trials(100, 0.4, 0.4) + trials(400, 0.6, 0.6)
    found = speed_up(trials(300, 0.55, 0.64), curve)
    assert found.ratio is not None
    assert (found.low, found.high) == (None, None)


@given(st.floats(0.01, 0.99), st.floats(1.0, 1e6), st.floats(1.01, 50))
def test_a_way_that_costs_less_everywhere_has_just_that_ratio(
    top1: float, cost: float, factor: float
) -> None:
    curve = trials(1, top1 / 2, cost=cost / 2 * factor) + trials(2, top1, cost=cost * factor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "DRAWS", 20)  # of the spread, which is not looked at
        found = speed_up(trials(3, top1, cost=cost), curve)
    assert found.ratio == pytest.approx(factor)


def test_spread_is_mean_lowest_and_highest() -> None:
    assert spread([3.0, 1.0, 5.0, 3.0]) == (3.0, 1.0, 5.0)
    assert spread([0.5]) == (0.5, 0.5, 0.5)


def test_spread_of_nothing_or_with_a_repetition_missing_is_none() -> None:
    assert spread([]) is None
    assert spread([0.5, None, 0.7]) is None
