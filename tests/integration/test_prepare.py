"""Preparing data sets on a real store: what is published, and what is not."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from preparing import (
    Prepare,
    assert_nothing_published,
    encoded,
    image_folder,
    parquet,
    png,
    preparer,
)

from accrete.catalog.catalog import Catalog, dataset_objects
from accrete.config.run import SourceConfig
from accrete.data.inspection import Looked
from accrete.data.prepare import Prepared
from accrete.data.shards import ShardReader
from accrete.data.sources.opening import open_source
from accrete.errors import (
    AccreteError,
    BadImageError,
    CountsMismatchError,
    EmptyClassError,
    InputError,
    LabelError,
)
from accrete.store.cache import NodeCache


@pytest.fixture
def run_prepare(catalog: Catalog, tmp_path: Path) -> Prepare:
    return preparer(catalog, tmp_path / "work")


def test_digits_become_one_shard_per_class_and_split(
    run_prepare: Prepare, catalog: Catalog, cache: NodeCache
) -> None:
    manifest = run_prepare(SourceConfig(kind="digits")).manifest
    assert [entry.name for entry in manifest.classes] == [str(digit) for digit in range(10)]
    assert all(len(entry.train) == len(entry.test) == 1 for entry in manifest.classes)
    assert manifest.num_images("train") + manifest.num_images("test") == 1797
    entry = manifest.by_name["3"]
    refs = [*entry.train, *entry.test]
    paths = cache.fetch(refs).paths
    reader = ShardReader([paths[r.sha256] for r in refs], manifest.image, num_images=183)
    images = reader.read(np.arange(183))
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    expected = np.rint(bunch.images[bunch.target == 3] * 255 / 16).astype(np.uint8)
    assert sorted(image.tobytes() for image in images) == sorted(e.tobytes() for e in expected)


def test_the_same_input_twice_has_the_same_digest_and_moves_nothing(
    run_prepare: Prepare, catalog: Catalog
) -> None:
    first = run_prepare(SourceConfig(kind="digits"))
    keys_before = catalog.store.list_keys("")
    pushed = catalog.store.traffic.pushed_bytes
    second = run_prepare(SourceConfig(kind="digits"))
    assert (first.reused, second.reused) == (False, True)
    assert second.manifest == first.manifest
    assert catalog.store.traffic.pushed_bytes == pushed
    assert catalog.store.list_keys("") == keys_before


def test_the_same_images_elsewhere_are_the_same_data_set(
    run_prepare: Prepare, tmp_path: Path
) -> None:
    here = image_folder(tmp_path / "here", {"a": 6, "b": 6}, lambda _: 12)
    (tmp_path / "here").rename(tmp_path / "there")
    there = SourceConfig(kind="imagefolder", location=str(tmp_path / "there"))
    first = run_prepare(there)
    (tmp_path / "there").rename(tmp_path / "here")
    assert run_prepare(here) == Prepared(manifest=first.manifest, reused=True)


def test_a_lost_shard_is_made_anew(run_prepare: Prepare, catalog: Catalog) -> None:
    manifest = run_prepare(SourceConfig(kind="digits")).manifest
    lost = dataset_objects(manifest)[3]
    from accrete.store import keys

    catalog.store._client.remove_object(
        catalog.store.address.bucket, catalog.store.address.prefix + keys.object_key(lost.sha256)
    )
    again = run_prepare(SourceConfig(kind="digits"))
    assert (again.reused, again.manifest) == (False, manifest)
    assert catalog.missing_object(dataset_objects(manifest)) is None


def test_a_changed_image_is_another_data_set(run_prepare: Prepare, tmp_path: Path) -> None:
    config = image_folder(tmp_path / "images", {"a": 6, "b": 6}, lambda _: 12)
    before = run_prepare(config).manifest
    (tmp_path / "images" / "a" / "0.png").write_bytes(png(1))
    after = run_prepare(config).manifest
    assert after.digest != before.digest
    assert after.by_name["b"] == before.by_name["b"]


def test_images_of_several_sizes_are_stored_as_they_are_and_decoded_when_read(
    run_prepare: Prepare, cache: NodeCache, tmp_path: Path
) -> None:
    config = image_folder(tmp_path / "images", {"a": 5, "b": 5}, lambda number: 12 + number)
    manifest = run_prepare(config).manifest
    assert manifest.image.encoding == "encoded"
    assert (manifest.image.height, manifest.image.width) == (14, 14)
    refs = manifest.by_name["a"].train
    paths = cache.fetch(refs).paths
    reader = ShardReader([paths[r.sha256] for r in refs], manifest.image, num_images=4)
    images = reader.read(np.arange(4))
    assert images.shape == (4, 14, 14, 3)
    assert images.std() > 10


def test_an_image_size_scales_images_of_one_size(run_prepare: Prepare, tmp_path: Path) -> None:
    plain = image_folder(tmp_path / "images", {"a": 5, "b": 5}, lambda _: 12)
    config = SourceConfig(kind="imagefolder", location=plain.location, image_size=8)
    assert run_prepare(config).manifest.image.height == 8


def test_a_validation_split_is_set_aside_on_request(run_prepare: Prepare) -> None:
    config = SourceConfig(kind="digits", validation_fraction=0.25)
    manifest = run_prepare(config).manifest
    sizes = [manifest.num_images(split) for split in ("train", "validation", "test")]
    assert sum(sizes) == 1797
    assert sizes[1] == pytest.approx(0.25 * (sizes[0] + sizes[1]), abs=10)


def test_a_corrupt_image_is_named_and_nothing_is_published(
    run_prepare: Prepare, catalog: Catalog, tmp_path: Path
) -> None:
    rows: list[tuple[bytes | None, Any]] = [(png(n), n % 2) for n in range(20)]
    rows[13] = (png(13)[:60], 1)
    with pytest.raises(BadImageError, match=r"train-0.parquet row 13 .*--on-bad-image skip"):
        run_prepare(parquet(tmp_path / "data", rows))
    assert_nothing_published(catalog)


@pytest.mark.parametrize("bad", [b"", None, b"not an image", png(13)[:60]])
def test_skipped_images_are_counted_in_the_manifest(
    run_prepare: Prepare, tmp_path: Path, bad: bytes | None
) -> None:
    rows: list[tuple[bytes | None, Any]] = [(png(n), n % 2) for n in range(20)]
    rows[13] = (bad, 1)
    plain = parquet(tmp_path / "data", rows)
    config = SourceConfig(kind="parquet", location=plain.location, on_bad_image="skip")
    manifest = run_prepare(config).manifest
    assert manifest.skipped.count == 1
    assert manifest.skipped.places[0].endswith("train-0.parquet row 13")
    assert manifest.num_images("train") + manifest.num_images("test") == 19


def test_bad_images_that_are_skipped_are_told_by_reason_and_some_by_place(
    run_prepare: Prepare, tmp_path: Path
) -> None:
    config = image_folder(tmp_path / "in", {"a": 9, "b": 9}, lambda _: 12)
    folder = tmp_path / "in"
    for number in range(3):
        bmp = bytearray(encoded(Image.new("RGB", (4, 4)), "BMP"))
        bmp[30] = 7 + number  # of which no compression has the number
        (folder / "a" / f"{number}.png").write_bytes(bmp)
    for number in range(2):
        (folder / "b" / f"{number}.png").write_bytes(b"404: not here")
    (folder / "b" / "\x1b[2J.png").write_bytes(b"GIF89a")
    (folder / "b" / "x.png").write_bytes(b"%PDF-1.7")
    prepared = run_prepare(dataclasses.replace(config, on_bad_image="skip"))
    (note,) = prepared.notes
    assert note.startswith(
        "7 of 20 images are bad and left out: "
        "3 cannot be decoded (Unsupported BMP compression (…)); "
        "2 cannot be decoded (it is text); 1 "
    )
    named = ", ".join(prepared.manifest.skipped.places[:3])
    assert note.endswith(f"; 1 for other reasons ({named}, …)")
    assert prepared.manifest.skipped.count == 7
    assert any(place.endswith(r"\x1b[2J.png") for place in prepared.manifest.skipped.places)


class TooSmallError(InputError):
    """What a network says of a size."""


class AskedSizes:
    """Refuses images below a side."""

    def __init__(self, least: int) -> None:
        self.least, self.asked = least, []  # type: ignore[var-annotated]

    def __call__(self, height: int, width: int) -> None:
        self.asked.append((height, width))
        if min(height, width) < self.least:
            raise TooSmallError(f"{width}x{height}")


def test_images_that_are_too_small_are_refused_before_any_is_decoded(
    run_prepare: Prepare, catalog: Catalog, tmp_path: Path
) -> None:
    config = image_folder(tmp_path / "in", {"a": 4, "b": 4}, lambda _: 12)
    (tmp_path / "in" / "a" / "bad.png").write_bytes(png(1)[:80])
    with pytest.raises(TooSmallError, match="12x12"):
        run_prepare(config, check_size=AskedSizes(16))
    assert_nothing_published(catalog)
    assert catalog.store.list_keys("") == []


def test_a_size_is_asked_about_by_heads_then_as_it_is_and_again_where_it_is_stored(
    run_prepare: Prepare, catalog: Catalog, tmp_path: Path
) -> None:
    check = AskedSizes(16)
    run_prepare(image_folder(tmp_path / "in", {"a": 4, "b": 4}, lambda _: 20), check_size=check)
    assert check.asked == [(20, 20), (20, 20)]
    config = SourceConfig(kind="imagefolder", location=str(tmp_path / "in"))
    with pytest.raises(TooSmallError, match="20x20"):
        run_prepare(config, check_size=AskedSizes(32))
    larger = dataclasses.replace(config, image_size=32)
    assert run_prepare(larger, check_size=AskedSizes(32)).manifest.image.height == 32


def test_a_true_size_that_no_head_told_is_refused_before_anything_is_published(
    run_prepare: Prepare, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Looked, "size", lambda *_: None)
    config = image_folder(tmp_path / "in", {"a": 4, "b": 4}, lambda _: 12)
    with pytest.raises(TooSmallError, match="12x12"):
        run_prepare(config, check_size=AskedSizes(16))
    assert catalog.store.list_keys("") == []


def test_other_counts_than_the_plan_s_are_refused(
    run_prepare: Prepare, catalog: Catalog, tmp_path: Path
) -> None:
    config = image_folder(tmp_path / "images", {"a": 5, "b": 5}, lambda _: 12)
    with pytest.raises(CountsMismatchError, match=r"'b' has 4 .* made for 5"):
        run_prepare(config, {"a": 4, "b": 5})
    assert_nothing_published(catalog)


def test_another_class_than_the_plan_s_is_refused(run_prepare: Prepare, tmp_path: Path) -> None:
    config = image_folder(tmp_path / "images", {"a": 5, "b": 5}, lambda _: 12)
    with pytest.raises(CountsMismatchError, match="'c'"):
        run_prepare(config, {"a": 4, "b": 4, "c": 4})


@pytest.mark.parametrize("label", [None, -1])
def test_a_label_out_of_range_names_its_row(
    run_prepare: Prepare, catalog: Catalog, tmp_path: Path, label: int | None
) -> None:
    rows: list[tuple[bytes | None, Any]] = [(png(n), n % 2) for n in range(10)]
    rows[7] = (png(7), label)
    with pytest.raises(LabelError, match="row 7"):
        run_prepare(parquet(tmp_path / "data", rows))
    assert_nothing_published(catalog)


def test_a_class_whose_images_are_all_bad_is_an_error(
    run_prepare: Prepare, catalog: Catalog, tmp_path: Path
) -> None:
    rows: list[tuple[bytes | None, Any]] = [(png(n) if n % 2 else b"bad", n % 2) for n in range(8)]
    plain = parquet(tmp_path / "data", rows)
    config = SourceConfig(kind="parquet", location=plain.location, on_bad_image="skip")
    with pytest.raises(EmptyClassError, match="'0'"):
        run_prepare(config)
    assert_nothing_published(catalog)


@pytest.mark.parametrize("kind", ["parquet", "imagefolder"])
def test_a_source_is_read_from_an_s3_prefix(
    kind: str,
    run_prepare: Prepare,
    catalog: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in catalog.store.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    if kind == "parquet":
        local = parquet(tmp_path / "images", [(png(n), n % 2) for n in range(20)])
    else:
        local = image_folder(tmp_path / "images", {"a": 6, "b": 6}, lambda _: 12)
    for path in (tmp_path / "images").rglob("*.*"):
        key = f"source/{path.relative_to(tmp_path / 'images').as_posix()}"
        catalog.store.write_note(key, path.read_bytes())
    location = catalog.store.uri("source")
    remote = run_prepare(SourceConfig(kind=kind, location=location)).manifest
    assert remote == run_prepare(local).manifest


def test_an_empty_s3_prefix_is_told(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in catalog.store.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    location = catalog.store.uri("nothing")
    with pytest.raises(AccreteError, match="holds no object"):
        open_source(SourceConfig(kind="imagefolder", location=location))
