"""Random numbers as a function of key and counter: the mixing, and how uniform it is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from accrete.core.hashing import derive_seed
from accrete.training.counter_rng import random_integers

KEYS = [0, 1, 2**63 - 1, derive_seed("augment", 0)]
COUNT = 1 << 17


def drawn(key: int, first: int = 0) -> NDArray[np.int64]:
    """Return what COUNT counters in a row draw."""
    return random_integers(key, torch.arange(first, first + COUNT)).numpy()


def reference(key: int, counter: int) -> int:
    """Return the same number from integers of any length, cut to 64 bits after each step."""
    mask = (1 << 64) - 1
    bits = (counter * 0x9E3779B97F4A7C15 + key) & mask
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
    return bits >> 33


@given(
    key=st.integers(0, 2**63 - 1),
    counters=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
)
@settings(max_examples=200)
def test_draws_agree_with_integers_of_any_length(key: int, counters: list[int]) -> None:
    found = random_integers(key, torch.tensor(counters))
    assert found.tolist() == [reference(key, counter) for counter in counters]


def test_same_key_and_counters_draw_the_same_again() -> None:
    counters = torch.arange(1000).view(10, 100)
    first = random_integers(7, counters)
    torch.manual_seed(1)
    assert first.shape == (10, 100)
    assert torch.equal(random_integers(7, counters), first)
    assert torch.equal(random_integers(7, counters[3]), first[3])


def test_other_keys_draw_other_numbers() -> None:
    draws = [drawn(key) for key in (*KEYS, KEYS[-1] + 1, derive_seed("augment", 1))]
    for place, left in enumerate(draws):
        for right in draws[place + 1 :]:
            assert (left == right).sum() <= 3  # expected by chance: 2**17 / 2**31


@pytest.mark.parametrize("key", KEYS)
def test_draws_lie_from_zero_to_two_to_the_31st(key: int) -> None:
    draws = drawn(key)
    assert 0 <= draws.min() < 2**31 / 10_000
    assert 2**31 * 0.9999 < draws.max() < 2**31


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("first", [0, 2**40, -(2**30)])
@pytest.mark.parametrize("num_values", [2, 9, 256])
def test_remainders_are_uniform(key: int, first: int, num_values: int) -> None:
    counts = np.bincount(drawn(key, first) % num_values, minlength=num_values)
    expected = COUNT / num_values
    chi_square = ((counts - expected) ** 2 / expected).sum()
    degrees = num_values - 1
    # Mean of a chi-square and five of its standard deviations; the draws are always the same.
    assert chi_square < degrees + 5 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("key", KEYS)
def test_each_bit_is_set_in_half_of_the_draws(key: int) -> None:
    bits = (drawn(key)[:, None] >> np.arange(31)) & 1
    # Five standard deviations of a fair coin's mean.
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / COUNT**0.5


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("distance", [1, 2, 64, 128, 384])
def test_neighbouring_counters_are_not_correlated(key: int, distance: int) -> None:
    draws = drawn(key)
    left, right = draws[:-distance], draws[distance:]
    assert abs(np.corrcoef(left, right)[0, 1]) < 5 / COUNT**0.5
    assert abs(np.corrcoef(left % 2, right % 2)[0, 1]) < 5 / COUNT**0.5


def test_neighbouring_keys_are_not_correlated() -> None:
    assert abs(np.corrcoef(drawn(11), drawn(12))[0, 1]) < 5 / COUNT**0.5
