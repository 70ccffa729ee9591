"""Which size a prepared data set's images have, on a real store."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preparing import Prepare, png, preparer

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import SplitPolicy
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.run import BaseModel, SourceConfig
from accrete.data._intake import Decoded, Intake
from accrete.data.shards import ShardReader
from accrete.data.sources.opening import Item
from accrete.store.cache import NodeCache


@pytest.fixture
def run_prepare(catalog: Catalog, tmp_path: Path) -> Prepare:
    return preparer(catalog, tmp_path / "work")


def picture(path: Path, size: tuple[int, int], mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 60).convert(mode).save(path)


def two_classes(root: Path, sizes: list[tuple[int, int]]) -> SourceConfig:
    """Return a folder: in each class training images of some sizes, a test image of the first."""
    for name in ("cats", "dogs"):
        for number, size in enumerate(sizes):
            picture(root / "train" / name / f"{number}.png", size)
        picture(root / "test" / name / "0.png", sizes[0])
    return SourceConfig(kind="imagefolder", location=str(root))


@pytest.mark.parametrize("odd", [(728, 9), (1, 1), (9, 728), (3000, 2000)])
def test_one_odd_image_changes_no_other_one_s_size_and_is_named(
    run_prepare: Prepare, cache: NodeCache, tmp_path: Path, odd: tuple[int, int]
) -> None:
    config = two_classes(tmp_path / "images", [(64, 48)] * 4)
    picture(tmp_path / "images" / "train" / "dogs" / "odd.png", odd)
    prepared = run_prepare(config)
    image = prepared.manifest.image
    assert (image.encoding, image.width, image.height) == ("encoded", 64, 48)
    assert "are scaled to cover 64x48 px" in prepared.notes[0]
    far = [note for note in prepared.notes if "dogs/odd.png" in note]
    assert len(far) == (odd != (3000, 2000))
    assert all(note.startswith("1 of 9 training images is far") for note in far)
    refs = prepared.manifest.by_name["dogs"].train
    paths = cache.fetch(refs).paths
    reader = ShardReader([paths[r.sha256] for r in refs], image, num_images=5)
    images = reader.read(np.arange(5))
    assert images.shape == (5, 48, 64, 3)
    original = np.asarray(Image.open(tmp_path / "images" / "train" / "dogs" / "0.png"))
    np.testing.assert_array_equal(images[0], original)


def test_sizes_of_no_majority_become_a_square_of_the_median_shorter_side(
    run_prepare: Prepare, tmp_path: Path
) -> None:
    config = two_classes(tmp_path / "images", [(30, 20), (20, 40), (90, 60), (70, 80)])
    prepared = run_prepare(config)
    image = prepared.manifest.image
    assert (image.height, image.width) == (20, 20)
    assert len(prepared.notes) == 1
    assert "30x20 to 70x80 px" in prepared.notes[0]
    assert "(50.00 % of them down, 0.00 % up)" in prepared.notes[0]


def test_images_of_one_size_and_data_sets_that_are_reused_have_no_notes(
    run_prepare: Prepare, tmp_path: Path
) -> None:
    assert run_prepare(two_classes(tmp_path / "one", [(8, 8)] * 3)).notes == ()
    several = two_classes(tmp_path / "several", [(8, 8), (9, 9), (40, 40)])
    assert run_prepare(several).notes
    again = run_prepare(several)
    assert (again.reused, again.notes) == (True, ())


@pytest.mark.parametrize("sizes", [[(8, 8)] * 4, [(8, 8), (30, 20), (9, 9)]])
def test_a_base_without_shards_that_crops_has_all_brought_to_its_size(
    catalog: Catalog, tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    crops = ImageFormat(
        encoding="encoded",
        height=12,
        width=16,
        channels=3,
        preprocessing="short-side-center-crop",
    )
    scaling = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)
    base = BaseModel(
        origin="weights",
        identity="0" * 64,
        checkpoint_sha256="0" * 64,
        checkpoint_bytes=1,
        image=crops,
        normalization=scaling,
    )
    config = SourceConfig(kind="imagefolder", location=str(tmp_path))
    intake = Intake(tmp_path / "spools", ["a"], config, base)
    for number, (width, height) in enumerate(sizes):
        item = Item(place=f"{number}.png", class_name="a", split="train", load=bytes)
        pixels = np.zeros((height, width, 3), np.uint8)
        intake.add(Decoded(item, pixels, png(number)), "train")
    policy = SplitPolicy(test="source", test_fraction=0.0, validation_fraction=0.0, seed=0)
    manifest = intake.publish(intake.image_format(), policy, catalog, None)
    assert manifest.image == crops
    assert "scaled to cover 16x12 px" in intake.notes(manifest.image)[0]


def test_test_images_have_no_say_in_the_size(run_prepare: Prepare, tmp_path: Path) -> None:
    config = two_classes(tmp_path, [(16, 12)] * 3)
    for number in range(9):
        picture(tmp_path / "test" / "cats" / f"{number}.png", (8, 8))
    prepared = run_prepare(config)
    image = prepared.manifest.image
    assert (image.encoding, image.width, image.height) == ("encoded", 16, 12)
    assert prepared.notes == ()


def test_grey_with_alpha_and_grey_palettes_leave_a_grey_data_set_grey(
    run_prepare: Prepare, tmp_path: Path
) -> None:
    for mode in ("L", "LA", "P", "1"):
        for number in range(2):
            picture(tmp_path / "images" / mode / f"{number}.png", (8, 8), mode)
    config = SourceConfig(kind="imagefolder", location=str(tmp_path / "images"))
    assert run_prepare(config).manifest.image.channels == 1
