"""Stratified splits: how many images of a class go where, and which."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accrete.data.splits import SplitSizes, assign_splits, split_sizes
from accrete.errors import EmptyClassError


def sizes_of(num_images: int, test: float, validation: float = 0.0) -> tuple[int, int, int]:
    """Return training, validation and test images of a class."""
    sizes = split_sizes(
        num_images, test_fraction=test, validation_fraction=validation, name="a class"
    )
    return sizes.train, sizes.validation, sizes.test


@pytest.mark.parametrize(
    ("num_images", "test", "validation", "sizes"),
    [
        (100, 0.2, 0.0, (80, 0, 20)),
        (100, 0.2, 0.1, (72, 8, 20)),
        (100, 0.0, 0.0, (100, 0, 0)),
        (10, 0.25, 0.0, (7, 0, 3)),
        (9, 0.25, 0.0, (7, 0, 2)),
        (3, 0.01, 0.0, (2, 0, 1)),
        (3, 0.01, 0.01, (1, 1, 1)),
        (2, 0.9, 0.9, (1, 0, 1)),
        (1, 0.9, 0.9, (1, 0, 0)),
        (100, 0.999, 0.0, (1, 0, 99)),
    ],
)
def test_split_sizes_round_halves_up_and_leave_an_image_to_train_on(
    num_images: int, test: float, validation: float, sizes: tuple[int, int, int]
) -> None:
    assert sizes_of(num_images, test, validation) == sizes


@given(
    num_images=st.integers(1, 2000),
    test=st.floats(0, 0.999),
    validation=st.floats(0, 0.999),
)
@settings(max_examples=200)
def test_split_sizes_add_up_and_are_near_their_fractions(
    num_images: int, test: float, validation: float
) -> None:
    train, num_validation, num_test = sizes_of(num_images, test, validation)
    assert train >= 1
    assert train + num_validation + num_test == num_images
    assert abs(num_test - test * num_images) <= 1
    assert abs(num_validation - validation * (num_images - num_test)) <= 1


def test_class_without_images_is_refused_by_name() -> None:
    with pytest.raises(EmptyClassError, match="class 'cat' has 0 images"):
        split_sizes(0, test_fraction=0.2, validation_fraction=0.0, name="cat")


SIZES = SplitSizes(train=60, validation=15, test=25)


def test_every_image_gets_one_split_and_the_sizes_hold() -> None:
    splits = assign_splits(SIZES, "cat", 0)
    assert len(splits) == 100
    assert Counter(splits) == {"train": 60, "validation": 15, "test": 25}


def test_split_is_the_same_each_time_and_changes_with_seed_and_class() -> None:
    assert assign_splits(SIZES, "cat", 0) == assign_splits(SIZES, "cat", 0)
    assert assign_splits(SIZES, "cat", 0) != assign_splits(SIZES, "cat", 1)
    assert assign_splits(SIZES, "cat", 0) != assign_splits(SIZES, "dog", 0)


def test_split_is_the_same_on_every_machine() -> None:
    # `printf '0\0cat\0%s' 3 | sha256sum` begins with 04c1; row 1's with 0d50, 0 4cd3, 2 a018.
    splits = assign_splits(SplitSizes(train=2, validation=1, test=1), "cat", 0)
    assert splits == ["train", "validation", "train", "test"]


def test_test_images_do_not_depend_on_the_validation_share() -> None:
    without = assign_splits(SplitSizes(train=75, validation=0, test=25), "cat", 0)
    with_validation = assign_splits(SIZES, "cat", 0)
    test_rows = [row for row, split in enumerate(without) if split == "test"]
    assert test_rows == [row for row, split in enumerate(with_validation) if split == "test"]


def test_split_is_no_run_of_neighbours() -> None:
    rows = [row for row, split in enumerate(assign_splits(SIZES, "cat", 0)) if split == "test"]
    assert rows[0] < 20
    assert rows[-1] >= 80
