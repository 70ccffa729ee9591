"""Training batches: a function of position and step alone, whoever makes which part of them."""

import itertools

import numpy as np
import pytest
import torch
from batch_sample import batch_at, make_batches, pixels_of, random_images

from accrete.config.image_format import Normalization
from accrete.training.augmentation import Augmentation
from accrete.training.order import epoch_order

AUGMENTED = Augmentation(flip="random", crop_padding=2)


def test_labels_follow_the_stage_s_order() -> None:
    batches = make_batches(random_images(10), seed=3, stage=2)
    coming = itertools.islice(batches.starting_at(0, 0), 10)
    labels = [label for _, labels_B in coming for label in labels_B.tolist()]
    orders = [epoch_order(10, seed=3, stage=2, epoch=epoch).tolist() for epoch in range(4)]
    assert labels == [label for order in orders for label in order]


@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
@pytest.mark.parametrize("num_images", [23, 3])
def test_batch_is_a_function_of_position_and_step_alone(num_images: int, flip: str) -> None:
    options = {"augmentation": Augmentation(flip=flip, crop_padding=2), "batch_size": 8}
    images = random_images(num_images)
    coming = itertools.islice(make_batches(images, **options).starting_at(0, 100), 12)
    expected = dict(enumerate(coming))
    batches = make_batches(images, **options)
    for position in (11, 0, 7, 7, 1, 10, 2, 0, 5):
        images_BCHW, labels_B = batch_at(batches, position, 100 + position)
        assert torch.equal(images_BCHW, expected[position][0])
        assert torch.equal(labels_B, expected[position][1])


@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
@pytest.mark.parametrize("num_images", [23, 3])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_batches_that_are_made_several_at_once_are_those_made_one_by_one(
    num_images: int, flip: str, num_processes: int
) -> None:
    options = {
        "augmentation": Augmentation(flip=flip, crop_padding=2),
        "batch_size": 8,
        "rank": num_processes - 1,
        "num_processes": num_processes,
    }
    images = random_images(num_images)
    one_by_one = make_batches(images, **options, group_bytes=0).starting_at(3, 59)
    image_bytes = 4 * images[0].numel()
    grouped = make_batches(images, **options, group_bytes=8 * 5 * image_bytes).starting_at(3, 59)
    for expected, found in itertools.islice(zip(one_by_one, grouped, strict=False), 17):
        assert torch.equal(found[0], expected[0])
        assert found[0].stride() == expected[0].stride()
        assert torch.equal(found[1], expected[1])


def test_step_changes_the_augmentation_and_not_the_images() -> None:
    batches = make_batches(random_images(40), augmentation=AUGMENTED, batch_size=40)
    first, other = batch_at(batches, 0, 0), batch_at(batches, 0, 1)
    assert torch.equal(first[1], other[1])
    assert not torch.equal(first[0], other[0])


def test_no_two_steps_draw_the_same() -> None:
    batches = make_batches(random_images(1), augmentation=AUGMENTED, batch_size=64)
    drawn = [batch_at(batches, step, step)[0] for step in range(140)]
    assert len({images.numpy().tobytes() for images in drawn}) == 140


def test_seed_changes_the_augmentation() -> None:
    images = random_images(1).repeat(64, 1, 1, 1)
    first, other = (
        batch_at(make_batches(images, augmentation=AUGMENTED, batch_size=64, seed=seed), 0, 0)[0]
        for seed in (0, 1)
    )
    assert not torch.equal(first, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_without_augmentation_are_the_images_of_their_labels(channels: int) -> None:
    images = random_images(9, channels)
    normalization = Normalization(mean=(0.0,) * channels, std=(1 / 255,) * channels)
    batches = make_batches(images, normalization=normalization)
    for images_BCHW, labels_B in itertools.islice(batches.starting_at(0, 0), 5):
        assert images_BCHW.shape == (4, channels, 6, 5)
        np.testing.assert_array_equal(pixels_of(images_BCHW), images[labels_B].numpy())


def test_every_batch_is_full_where_there_are_fewer_images_than_a_batch() -> None:
    images_BCHW, labels_B = batch_at(make_batches(random_images(3), batch_size=8), 0, 0)
    assert len(images_BCHW) == len(labels_B) == 8
    assert sorted(labels_B[:3].tolist()) == sorted(labels_B[3:6].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("num_processes", [2, 4])
@pytest.mark.parametrize("num_images", [21, 3])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(flip="none", crop_padding=2),
        Augmentation(flip="random", crop_padding=2),
        Augmentation(flip="alternating", crop_padding=2),
        Augmentation(flip="alternating", crop_padding=0, side=4),
    ],
)
def test_parts_of_several_processes_make_up_one_process_s_batch(
    augmentation: Augmentation, num_images: int, num_processes: int
) -> None:
    options = {"augmentation": augmentation, "batch_size": 8}
    images = random_images(num_images)
    whole = make_batches(images, **options).starting_at(2, 102)
    parts = [
        make_batches(images, **options, rank=rank, num_processes=num_processes).starting_at(2, 102)
        for rank in range(num_processes)
    ]
    for images_BCHW, labels_B in itertools.islice(whole, 9):
        drawn = [next(part) for part in parts]
        assert {len(labels) for _, labels in drawn} == {8 // num_processes}
        assert torch.equal(torch.cat([pixels for pixels, _ in drawn]), images_BCHW)
        assert torch.equal(torch.cat([labels for _, labels in drawn]), labels_B)
