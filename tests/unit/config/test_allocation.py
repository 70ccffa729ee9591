"""GPUs that grow with the seen data."""

import re
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.config.allocation import GrowingGpus, parse_gpus
from accrete.errors import ConfigError

plans = st.lists(st.integers(1, 10_000), min_size=1, max_size=40).map(
    lambda added: list(accumulate(added))
)


@given(num_images=plans, most=st.integers(1, 64), batch_size=st.integers(2, 4096))
def test_gpus_divide_the_batch_never_fall_and_never_leave_a_gpu_with_less(
    num_images: list[int], most: int, batch_size: int
) -> None:
    gpus = GrowingGpus(most).of_stages(num_images, batch_size)
    assert len(gpus) == len(num_images)
    assert all(1 <= number <= most and batch_size % number == 0 for number in gpus)
    assert all(before <= after for before, after in pairwise(gpus))
    for number, images in zip(gpus, num_images, strict=True):
        assert number == 1 or images / number >= num_images[-1] / most


@given(num_images=plans, power=st.integers(0, 6))
def test_the_last_stage_has_the_most_where_that_divides_the_batch(
    num_images: list[int], power: int
) -> None:
    assert GrowingGpus(2**power).of_stages(num_images, 128)[-1] == 2**power


@given(num_images=plans, most=st.integers(1, 63))
def test_more_gpus_to_have_are_never_fewer_to_use(num_images: list[int], most: int) -> None:
    fewer, more = (GrowingGpus(n).of_stages(num_images, 128) for n in (most, most + 1))
    assert all(a <= b for a, b in zip(fewer, more, strict=True))


def test_the_paper_s_plan_of_cifar100_grows_to_eight_gpus() -> None:
    assert GrowingGpus(8).of_stages([5000, 10000, 20000, 40000, 50000], 128) == (1, 1, 2, 4, 8)


def test_a_batch_that_eight_do_not_divide_takes_fewer() -> None:
    assert GrowingGpus(8).of_stages([10, 50, 100], 96) == (1, 4, 8)
    assert GrowingGpus(8).of_stages([10, 50, 100], 50) == (1, 2, 5)
    assert GrowingGpus(8).of_stages([10, 50, 100], 101) == (1, 1, 1)


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("2", (2,)),
        ("0", (0,)),
        ("1,1,2", (1, 1, 2)),
        ("auto:8", GrowingGpus(8)),
        ("auto:1", GrowingGpus(1)),
    ],
)
def test_gpus_are_read(text: str, gpus: object) -> None:
    assert parse_gpus(text) == gpus


@pytest.mark.parametrize("text", ["", "auto", "auto:", "auto:0", "auto:-1", "auto:x", "1;2", "two"])
def test_gpus_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"GPUs are {text!r}: give 1, 1,1,2,4,4 or")):
        parse_gpus(text)
