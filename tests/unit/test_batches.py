"""Training batches: which images, in which order, cut and mirrored how, and scaled to what."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from accrete.batches import Augmentation, TrainingBatches, epoch_order, normalize
from accrete.manifests import Normalization

PLAIN = Augmentation(flip=False, crop_padding=0)
AS_IT_IS = Normalization(mean=(0.0,) * 3, std=(1 / 255,) * 3)


def random_images(num_images: int, channels: int = 3, size: tuple[int, int] = (6, 5)) -> Tensor:
    """Return uint8 images (num_images, height, width, channels)."""
    generator = torch.Generator().manual_seed(0)
    shape = (num_images, *size, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def make_batches(images_NHWC: Tensor, **options: Any) -> TrainingBatches:
    """Return batches whose labels are the images' positions."""
    arguments: dict[str, Any] = {
        "batch_size": 4,
        "seed": 0,
        "stage": 1,
        "normalization": AS_IT_IS,
        "augmentation": PLAIN,
    }
    labels_N = torch.arange(len(images_NHWC))
    return TrainingBatches(images_NHWC, labels_N, **arguments | options)


def labels_of(batches: TrainingBatches, num_batches: int) -> list[int]:
    """Return the labels of the first batches, one after the other."""
    return [
        label for position in range(num_batches) for label in batches.batch(position, 0)[1].tolist()
    ]


def pixels_of(images_NCHW: Tensor) -> np.ndarray[Any, Any]:
    """Return the uint8 pixels (N, H, W, C) of images that AS_IT_IS scaled."""
    values = images_NCHW.permute(0, 2, 3, 1).numpy()
    assert np.abs(values - values.round()).max() < 1e-3
    return values.round().astype(np.uint8)


@pytest.mark.parametrize(
    ("num_images", "batch_size"), [(10, 4), (10, 5), (10, 10), (7, 3), (3, 8), (1, 4), (13, 40)]
)
def test_every_image_comes_exactly_once_an_epoch(num_images: int, batch_size: int) -> None:
    batches = make_batches(random_images(num_images), batch_size=batch_size)
    labels = labels_of(batches, 4 * num_images)
    assert len(labels) == 4 * num_images * batch_size
    epochs = [labels[i : i + num_images] for i in range(0, len(labels), num_images)]
    assert all(sorted(epoch) == list(range(num_images)) for epoch in epochs[: 4 * batch_size])


def test_epochs_follow_their_own_orders_across_batch_borders() -> None:
    labels = labels_of(make_batches(random_images(10), seed=3, stage=2), 10)
    orders = [epoch_order(10, seed=3, stage=2, epoch=epoch).tolist() for epoch in range(4)]
    assert labels == [label for order in orders for label in order]
    assert len(set(map(tuple, orders))) == 4


def test_order_is_a_function_of_seed_stage_and_epoch() -> None:
    def order(**changes: int) -> list[int]:
        return epoch_order(50, **{"seed": 0, "stage": 1, "epoch": 0} | changes).tolist()

    assert order() == order()
    assert sorted(order()) == list(range(50))
    different = [order(), order(seed=1), order(stage=2), order(epoch=1)]
    assert len(set(map(tuple, different))) == 4


def test_order_does_not_depend_on_the_global_generator() -> None:
    first = epoch_order(50, seed=0, stage=1, epoch=0)
    torch.manual_seed(123)
    torch.rand(7)
    assert torch.equal(epoch_order(50, seed=0, stage=1, epoch=0), first)


@pytest.mark.parametrize("num_images", [23, 3])
def test_batch_is_a_function_of_position_and_step_alone(num_images: int) -> None:
    options = {"augmentation": Augmentation(flip=True, crop_padding=2), "batch_size": 8}
    images = random_images(num_images)
    in_order = make_batches(images, **options)
    expected = {position: in_order.batch(position, 100 + position) for position in range(12)}
    batches = make_batches(images, **options)
    for position in (11, 0, 7, 7, 1, 10, 2, 0, 5):
        images_BCHW, labels_B = batches.batch(position, 100 + position)
        assert torch.equal(images_BCHW, expected[position][0])
        assert torch.equal(labels_B, expected[position][1])


def test_step_changes_the_augmentation_and_not_the_images() -> None:
    augmentation = Augmentation(flip=True, crop_padding=2)
    batches = make_batches(random_images(40), augmentation=augmentation, batch_size=40)
    first, other = batches.batch(0, 0), batches.batch(0, 1)
    assert torch.equal(first[1], other[1])
    assert not torch.equal(first[0], other[0])


def test_seed_changes_the_augmentation() -> None:
    augmentation = Augmentation(flip=True, crop_padding=2)
    images = random_images(1).repeat(64, 1, 1, 1)
    first, other = (
        make_batches(images, augmentation=augmentation, batch_size=64, seed=seed).batch(0, 0)[0]
        for seed in (0, 1)
    )
    assert not torch.equal(first, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_without_augmentation_are_the_images_of_their_labels(channels: int) -> None:
    images = random_images(9, channels)
    normalization = Normalization(mean=(0.0,) * channels, std=(1 / 255,) * channels)
    batches = make_batches(images, normalization=normalization)
    for position in range(5):
        images_BCHW, labels_B = batches.batch(position, position)
        assert images_BCHW.shape == (4, channels, 6, 5)
        np.testing.assert_array_equal(pixels_of(images_BCHW), images[labels_B].numpy())


def windows_of(image: np.ndarray[Any, Any], pad: int) -> dict[bytes, tuple[int, int]]:
    """Return every window of a zero-padded image by its bytes, cut out one by one."""
    height, width, channels = image.shape
    padded = np.zeros((height + 2 * pad, width + 2 * pad, channels), np.uint8)
    for y in range(height):
        for x in range(width):
            padded[pad + y, pad + x] = image[y, x]
    return {
        np.ascontiguousarray(padded[y : y + height, x : x + width]).tobytes(): (y, x)
        for y in range(2 * pad + 1)
        for x in range(2 * pad + 1)
    }


@pytest.mark.parametrize("size", [(6, 5), (4, 9)])
@pytest.mark.parametrize("pad", [1, 2, 7])
def test_crops_are_windows_of_the_zero_padded_image(size: tuple[int, int], pad: int) -> None:
    images = random_images(3, size=size)
    augmentation = Augmentation(flip=False, crop_padding=pad)
    batches = make_batches(images, augmentation=augmentation, batch_size=150)
    windows = [windows_of(image.numpy(), pad) for image in images]
    found = set()
    for step in range(10):
        images_BCHW, labels_B = batches.batch(step, step)
        for pixels, label in zip(pixels_of(images_BCHW), labels_B.tolist(), strict=True):
            found.add(windows[label][np.ascontiguousarray(pixels).tobytes()])
    # Far out, several windows are the same black one and not every other is drawn.
    if pad <= 2:
        assert found == {(y, x) for y in range(2 * pad + 1) for x in range(2 * pad + 1)}


def test_padding_is_black_before_and_not_after_scaling() -> None:
    images = torch.full((1, 4, 4, 1), 255, dtype=torch.uint8)
    normalization = Normalization(mean=(0.5,), std=(0.25,))
    augmentation = Augmentation(flip=False, crop_padding=2)
    batches = make_batches(
        images, normalization=normalization, augmentation=augmentation, batch_size=64
    )
    values = batches.batch(0, 0)[0].unique()
    assert values.tolist() == pytest.approx([-2.0, 2.0])


def test_flip_mirrors_half_of_the_images_left_to_right() -> None:
    image = random_images(1)
    augmentation = Augmentation(flip=True, crop_padding=0)
    batches = make_batches(image, augmentation=augmentation, batch_size=2000)
    pixels = pixels_of(batches.batch(0, 0)[0])
    mirrored = (pixels == image.numpy()[:, :, ::-1]).all((1, 2, 3))
    kept = (pixels == image.numpy()).all((1, 2, 3))
    assert (mirrored ^ kept).all()
    # Four standard deviations of 2000 fair coins are 89.
    assert abs(mirrored.sum() - 1000) < 89


def test_flips_and_crops_are_drawn_for_each_image_alone() -> None:
    image = random_images(1)
    augmentation = Augmentation(flip=True, crop_padding=1)
    pixels = pixels_of(
        make_batches(image, augmentation=augmentation, batch_size=900).batch(0, 0)[0]
    )
    kept = windows_of(image[0].numpy(), 1)
    mirrored = {
        np.frombuffer(window, np.uint8).reshape(6, 5, 3)[:, ::-1].tobytes(): offset
        for window, offset in kept.items()
    }
    drawn = [np.ascontiguousarray(cut).tobytes() for cut in pixels]
    assert set(drawn) == set(kept) | set(mirrored)
    counts = np.array([drawn.count(window) for window in {**kept, **mirrored}])
    assert counts.sum() == 900
    # 18 equally likely windows: 50 each, with a deviation of about 7.
    assert counts.min() > 22
    assert counts.max() < 78


def test_normalize_agrees_with_double_precision() -> None:
    images_NHWC = random_images(16, size=(8, 8))
    normalization = Normalization(mean=(0.507, 0.4865, 0.441), std=(0.2673, 0.2564, 0.05))
    scaled = normalize(images_NHWC.permute(0, 3, 1, 2), normalization)
    reference = images_NHWC.numpy().astype(np.float64) / 255
    reference = (reference - np.array(normalization.mean)) / np.array(normalization.std)
    assert scaled.dtype == torch.float32
    assert scaled.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(scaled.permute(0, 2, 3, 1).numpy(), reference, atol=2e-5)


def test_normalize_leaves_its_input_as_it_was() -> None:
    images_NCHW = random_images(2).permute(0, 3, 1, 2)
    before = images_NCHW.clone()
    normalize(images_NCHW, Normalization(mean=(0.5,) * 3, std=(0.2,) * 3))
    assert torch.equal(images_NCHW, before)


def test_every_batch_is_full_where_there_are_fewer_images_than_a_batch() -> None:
    batches = make_batches(random_images(3), batch_size=8)
    images_BCHW, labels_B = batches.batch(0, 0)
    assert len(images_BCHW) == len(labels_B) == 8
    assert sorted(labels_B[:3].tolist()) == sorted(labels_B[3:6].tolist()) == [0, 1, 2]
