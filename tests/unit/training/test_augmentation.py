"""What happens to a batch's images: cut where, mirrored when, scaled down and to what values."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from batch_sample import batch_at, make_batches, pixels_of, random_images

from accrete.config.image_format import Normalization
from accrete.training.augmentation import Augmentation, Augmenter, normalize


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
    augmentation = Augmentation(flip="none", crop_padding=pad)
    batches = make_batches(images, augmentation=augmentation, batch_size=150)
    windows = [windows_of(image.numpy(), pad) for image in images]
    found = set()
    for step in range(10):
        images_BCHW, labels_B = batch_at(batches, step, step)
        for pixels, label in zip(pixels_of(images_BCHW), labels_B.tolist(), strict=True):
            found.add(windows[label][np.ascontiguousarray(pixels).tobytes()])
    # Far out, several windows are the same black one and not every other is drawn.
    if pad <= 2:
        assert found == {(y, x) for y in range(2 * pad + 1) for x in range(2 * pad + 1)}


def test_padding_is_black_before_and_not_after_scaling() -> None:
    images = torch.full((1, 4, 4, 1), 255, dtype=torch.uint8)
    normalization = Normalization(mean=(0.5,), std=(0.25,))
    augmentation = Augmentation(flip="none", crop_padding=2)
    batches = make_batches(
        images, normalization=normalization, augmentation=augmentation, batch_size=64
    )
    values = batch_at(batches, 0, 0)[0].unique()
    assert values.tolist() == pytest.approx([-2.0, 2.0])


def test_random_flip_mirrors_half_of_the_images_left_to_right() -> None:
    image = random_images(1)
    augmentation = Augmentation(flip="random", crop_padding=0)
    batches = make_batches(image, augmentation=augmentation, batch_size=2000)
    pixels = pixels_of(batch_at(batches, 0, 0)[0])
    mirrored = (pixels == image.numpy()[:, :, ::-1]).all((1, 2, 3))
    kept = (pixels == image.numpy()).all((1, 2, 3))
    assert (mirrored ^ kept).all()
    # Four standard deviations of 2000 fair coins are 89.
    assert abs(mirrored.sum() - 1000) < 89


def test_flips_and_crops_are_drawn_for_each_image_alone() -> None:
    image = random_images(1)
    augmentation = Augmentation(flip="random", crop_padding=1)
    batches = make_batches(image, augmentation=augmentation, batch_size=900)
    pixels = pixels_of(batch_at(batches, 0, 0)[0])
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


@pytest.mark.parametrize(("num_images", "batch_size"), [(7, 3), (8, 8), (3, 8), (40, 16)])
def test_alternating_flip_mirrors_each_image_in_every_other_epoch(
    num_images: int, batch_size: int
) -> None:
    images = random_images(num_images)
    augmentation = Augmentation(flip="alternating", crop_padding=0)
    batches = make_batches(images, augmentation=augmentation, batch_size=batch_size)
    sides: dict[int, list[bool]] = {label: [] for label in range(num_images)}
    for position in range(8 * num_images // batch_size):
        images_BCHW, labels_B = batch_at(batches, position, position)
        for pixels, label in zip(pixels_of(images_BCHW), labels_B.tolist(), strict=True):
            is_mirrored = bool((pixels == images[label].numpy()[:, ::-1]).all())
            assert is_mirrored or (pixels == images[label].numpy()).all()
            sides[label].append(is_mirrored)
    for seen in sides.values():
        assert len(seen) >= 7
        assert all(first != second for first, second in itertools.pairwise(seen))


def test_alternating_flip_begins_with_half_of_the_images_by_seed() -> None:
    augmentation = Augmentation(flip="alternating", crop_padding=0)
    indices, epochs = torch.arange(2000), torch.zeros(2000, dtype=torch.int64)
    first, other = (
        Augmenter(augmentation, seed=seed, batch_size=4).alternating_flips(indices, epochs)
        for seed in (0, 1)
    )
    assert abs(int(first.sum()) - 1000) < 89
    assert abs(int((first == other).sum()) - 1000) < 89


def test_normalize_agrees_with_double_precision() -> None:
    images_NHWC = random_images(16, size=(8, 8))
    normalization = Normalization(mean=(0.507, 0.4865, 0.441), std=(0.2673, 0.2564, 0.05))
    scaled = normalize(images_NHWC, normalization)
    reference = images_NHWC.numpy().astype(np.float64) / 255
    reference = (reference - np.array(normalization.mean)) / np.array(normalization.std)
    assert scaled.dtype == torch.float32
    assert scaled.shape == (16, 3, 8, 8)
    assert scaled.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(scaled.permute(0, 2, 3, 1).numpy(), reference, atol=2e-5)


def test_normalize_leaves_its_input_as_it_was() -> None:
    images_NHWC = random_images(2)
    before = images_NHWC.clone()
    normalize(images_NHWC, Normalization(mean=(0.5,) * 3, std=(0.2,) * 3))
    assert torch.equal(images_NHWC, before)


def scaled_down(images_BCHW: torch.Tensor, side: int | None) -> torch.Tensor:
    """Return images scaled down to a shorter side."""
    augmentation = Augmentation(flip="none", crop_padding=0, side=side)
    return Augmenter(augmentation, seed=0, batch_size=4).scaled_down(images_BCHW)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((8, 8), 4, (4, 4)),
        ((8, 8), 7, (7, 7)),
        ((8, 12), 4, (4, 6)),
        ((12, 8), 4, (6, 4)),
        ((10, 25), 6, (6, 15)),
        ((8, 100), 4, (4, 50)),
    ],
)
def test_images_are_scaled_down_to_the_shorter_side_and_keep_their_shape(
    size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    images_BCHW = torch.rand(2, 3, *size).to(memory_format=torch.channels_last)
    scaled = scaled_down(images_BCHW, side)
    assert scaled.shape == (2, 3, *expected)
    assert scaled.dtype == torch.float32
    assert scaled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [None, 8, 9, 100])
def test_images_no_larger_than_the_side_stay_as_they_are(side: int | None) -> None:
    images_BCHW = torch.rand(2, 3, 8, 12)
    assert scaled_down(images_BCHW, side) is images_BCHW


@pytest.mark.parametrize("side", [3, 4, 5, 7])
def test_scaling_down_keeps_the_brightness(side: int) -> None:
    even = torch.full((1, 3, 8, 12), 0.3)
    assert torch.allclose(scaled_down(even, side), torch.tensor(0.3), atol=1e-6)
    ramp = torch.arange(12.0).expand(1, 3, 8, 12)
    assert scaled_down(ramp, side).mean().item() == pytest.approx(5.5, abs=1e-4)
    noise = torch.rand(64, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    assert scaled_down(noise, side).mean().item() == pytest.approx(noise.mean().item(), rel=0.01)


def test_scaling_down_by_two_blurs_what_alternates() -> None:
    stripes = (torch.arange(16.0) % 2).expand(1, 1, 16, 16)
    inner = scaled_down(stripes, 8)[:, :, :, 1:-1]
    assert torch.allclose(inner, torch.tensor(0.5), atol=1e-6)


def test_batches_have_the_side_that_is_asked_for_after_the_crop() -> None:
    augmentation = Augmentation(flip="random", crop_padding=1, side=3)
    batches = make_batches(random_images(9, size=(6, 8)), augmentation=augmentation)
    images_BCHW, labels_B = batch_at(batches, 2, 2)
    assert images_BCHW.shape == (4, 3, 3, 4)
    assert images_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert len(labels_B) == 4
