"""Per-channel mean and deviation, against numpy over all pixels at once."""

import numpy as np
import pytest
from numpy.typing import NDArray

from accrete.data._intake import PixelStatistics

Images = list[NDArray[np.uint8]]


def random_images(channels: int) -> Images:
    """Return images of several sizes whose channels differ."""
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (3, 5), (8, 8), (16, 9), (31, 2)] * 4
    tops = np.array([256, 100, 30])[:channels]
    return [rng.integers(0, tops, (*size, channels)).astype(np.uint8) for size in sizes]


def statistics_of(images: Images) -> PixelStatistics:
    """Return the statistics of some images, added in this order."""
    statistics = PixelStatistics()
    for image in images:
        statistics.add(image)
    return statistics


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_deviation_are_those_of_all_pixels(channels: int) -> None:
    images = random_images(channels)
    pixels = np.concatenate([image.reshape(-1, channels) for image in images]) / 255
    found = statistics_of(images).normalization(channels)
    assert len(found.mean) == len(found.std) == channels
    np.testing.assert_allclose(found.mean, pixels.mean(0), atol=1e-9)
    np.testing.assert_allclose(found.std, pixels.std(0), atol=1e-9)


def test_statistics_do_not_depend_on_the_order_of_images() -> None:
    images = random_images(3)
    expected = statistics_of(images).normalization(3)
    for seed in range(5):
        shuffled = [images[i] for i in np.random.default_rng(seed).permutation(len(images))]
        assert statistics_of(shuffled).normalization(3) == expected


@pytest.mark.parametrize("value", [0, 1, 37, 200, 255])
def test_channel_that_never_changes_gets_deviation_one(value: int) -> None:
    image = np.full((7, 11, 3), value, np.uint8)
    image[..., 1] = np.arange(11)
    found = statistics_of([image] * 3).normalization(3)
    assert found.std[0] == found.std[2] == 1
    assert found.std[1] == pytest.approx(np.arange(11).std() / 255)
    assert found.mean[0] == pytest.approx(value / 255, abs=1e-9)


def test_smallest_change_is_not_taken_for_none() -> None:
    image = np.full((100, 100, 1), 200, np.uint8)
    image[0, 0] = 201
    (std,) = statistics_of([image]).normalization(1).std
    assert std == pytest.approx(image.std() / 255, rel=1e-4)


def test_grey_image_counts_as_three_equal_channels_beside_colour() -> None:
    grey = np.full((2, 2, 1), 100, np.uint8)
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[..., 0] = 50
    found = statistics_of([grey, colour]).normalization(3)
    assert found.mean == pytest.approx((75 / 255, 50 / 255, 50 / 255), abs=1e-9)


def test_large_sums_do_not_overflow() -> None:
    # 360,000 pixels: their squares add up to 2.3e10, over what 32 bits hold.
    image = np.full((600, 600, 1), 255, np.uint8)
    image[::2] = 254
    found = statistics_of([image]).normalization(1)
    assert found.mean[0] == pytest.approx(254.5 / 255, abs=1e-9)
    assert found.std[0] == pytest.approx(0.5 / 255, abs=1e-6)


def test_figures_are_rounded_so_that_digests_do_not_depend_on_numpy() -> None:
    found = statistics_of(random_images(3)).normalization(3)
    for value in (*found.mean, *found.std):
        assert type(value) is float
        assert round(value, 9) == value
