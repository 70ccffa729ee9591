"""The mean of a figure over repetitions, with its lowest and its highest."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Spread(NamedTuple):
    """A figure of several repetitions."""

    mean: float
    low: float
    high: float


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return mean, lowest and highest; None if a repetition has no figure, or there is none."""
    present = list(values)
    known = [value for value in present if value is not None]
    if not known or len(known) < len(present):
        return None
    return Spread(statistics.fmean(known), min(known), max(known))
