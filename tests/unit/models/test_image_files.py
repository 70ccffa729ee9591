"""Image files that a user names: which are found, and what a model gets to see of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accrete.config.image_format import ImageFormat
from accrete.data.images import resize_crop
from accrete.errors import BadImageError, SourceError
from accrete.models.image_files import find_images, read_image, to_grey

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (8, 8, 3), np.uint8)
GREY = RNG.integers(0, 256, (8, 8), np.uint8)


def image_format(channels: int, height: int = 8, width: int = 8) -> ImageFormat:
    return ImageFormat(
        encoding="raw", height=height, width=width, channels=channels, preprocessing="none"
    )


def make_files(folder: Path, *names: str) -> None:
    """Make files of these names below a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write pixels to a file that keeps them as they are."""
    Image.fromarray(pixels).save(path)
    return path


def test_folders_are_searched_to_any_depth_and_sorted(tmp_path: Path) -> None:
    make_files(tmp_path, "b.png", "a/z.JPEG", "a/b/c.webp", "c.tif", "a.bmp")
    found = find_images([tmp_path])
    names = [path.relative_to(tmp_path).as_posix() for path in found.files]
    assert names == ["a/b/c.webp", "a/z.JPEG", "a.bmp", "b.png", "c.tif"]
    assert found.left_out == ()


def test_paths_keep_their_order_and_files_may_come_twice(tmp_path: Path) -> None:
    make_files(tmp_path, "one/a.png", "two/b.png")
    paths = [tmp_path / "two", tmp_path / "one" / "a.png", tmp_path / "one"]
    assert [path.name for path in find_images(paths).files] == ["b.png", "a.png", "a.png"]


def test_other_files_in_folders_are_left_out_by_reason(tmp_path: Path) -> None:
    make_files(tmp_path, "a.png", "notes.txt", "sub/no_suffix", "sub/b.png.part", "__MACOSX/a.png")
    make_files(tmp_path, "._a.png", "sub/.ipynb_checkpoints/a-checkpoint.png", "Thumbs.db")
    (tmp_path / "empty.png").touch()
    found = find_images([tmp_path])
    assert [path.name for path in found.files] == ["a.png"]
    assert {file.place: file.reason for file in found.left_out} == {
        "notes.txt": ".txt",
        "sub/no_suffix": "no ending",
        "sub/b.png.part": ".part",
        "__MACOSX/a.png": "__MACOSX",
        "._a.png": "hidden",
        "sub/.ipynb_checkpoints/a-checkpoint.png": "hidden",
        "Thumbs.db": "Thumbs.db",
        "empty.png": "empty",
    }


def test_a_file_that_is_named_needs_no_image_s_suffix(tmp_path: Path) -> None:
    make_files(tmp_path, "upload.bin")
    assert find_images([tmp_path / "upload.bin"]).files == (tmp_path / "upload.bin",)


def test_a_folder_that_is_called_like_an_image_is_no_image(tmp_path: Path) -> None:
    make_files(tmp_path, "a.png/b.jpg")
    assert [path.name for path in find_images([tmp_path]).files] == ["b.jpg"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere does not exist: give image files or folders"):
        find_images([tmp_path, tmp_path / "nowhere"])


@pytest.mark.parametrize("name", ["x" * 300, "a.png/b.png", "a\0b"])
def test_a_path_that_cannot_be_looked_at_is_named(name: str, tmp_path: Path) -> None:
    make_files(tmp_path, "a.png")
    with pytest.raises(SourceError, match="cannot be read"):
        find_images([tmp_path / name])


def test_folders_without_an_image_are_refused(tmp_path: Path) -> None:
    make_files(tmp_path, "a/notes.txt", "b/more.txt")
    with pytest.raises(SourceError, match=r"no image in .*a, .*b: 2 files"):
        find_images([tmp_path / "a", tmp_path / "b"])


def test_an_image_of_the_model_s_format_is_left_as_it_is(tmp_path: Path) -> None:
    fitted = read_image(save(tmp_path / "a.png", GREY), image_format(1))
    np.testing.assert_array_equal(fitted.pixels[:, :, 0], GREY)
    assert (fitted.size, fitted.lost_colour) == ((8, 8), False)


def test_colour_becomes_luma_for_a_grey_model(tmp_path: Path) -> None:
    fitted = read_image(save(tmp_path / "a.png", RGB), image_format(1))
    luma = (RGB * np.array([0.299, 0.587, 0.114])).sum(2)
    assert fitted.lost_colour
    assert fitted.pixels.shape == (8, 8, 1)
    assert np.abs(fitted.pixels[:, :, 0] - luma).max() <= 0.51


def test_grey_that_is_stored_as_colour_keeps_its_levels() -> None:
    np.testing.assert_array_equal(to_grey(np.stack([GREY] * 3, axis=2))[:, :, 0], GREY)


def test_grey_becomes_three_equal_channels_for_a_colour_model(tmp_path: Path) -> None:
    fitted = read_image(save(tmp_path / "a.png", GREY), image_format(3))
    np.testing.assert_array_equal(fitted.pixels, np.stack([GREY] * 3, axis=2))
    assert not fitted.lost_colour


def test_an_image_of_another_size_is_scaled_and_cropped_as_in_training(tmp_path: Path) -> None:
    large = RNG.integers(0, 256, (30, 50, 3), np.uint8)
    fitted = read_image(save(tmp_path / "a.png", large), image_format(3, 16, 12))
    np.testing.assert_array_equal(fitted.pixels, resize_crop(large, 16, 12))
    assert fitted.size == (30, 50)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"a\.png cannot be decoded .*--on-bad-image skip"):
        read_image(tmp_path / "a.png", image_format(1))


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"a\.png cannot be read \(No such file"):
        read_image(tmp_path / "a.png", image_format(1))
