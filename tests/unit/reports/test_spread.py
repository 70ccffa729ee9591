"""Mean, lowest and highest over repetitions."""

from accrete.reports.statistics import spread


def test_spread_is_mean_lowest_and_highest() -> None:
    assert spread([3.0, 1.0, 5.0, 3.0]) == (3.0, 1.0, 5.0)
    assert spread([0.5]) == (0.5, 0.5, 0.5)


def test_spread_of_nothing_or_with_a_repetition_missing_is_none() -> None:
    assert spread([]) is None
    assert spread([0.5, None, 0.7]) is None
