"""Image sources: what they count, what they refuse, and how their images are split."""

import hashlib
import io
import json
import pickle
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from accrete.config.run import SourceConfig
from accrete.data.images import decode_image
from accrete.data.sources.opening import Item, Source, open_source
from accrete.data.sources.torchvision_classes import CLASSES, TEST_IMAGES, TRAIN_IMAGES
from accrete.data.splits import Allotment, class_splits, split_policy, training_counts
from accrete.errors import EmptyClassError, LabelError, SourceError


def png(level: int) -> bytes:
    """Return a grey 4×4 PNG file of one level."""
    buffer = io.BytesIO()
    Image.new("L", (4, 4), level).save(buffer, "PNG")
    return buffer.getvalue()


def level_of(item: Item) -> int:
    """Return the level of an image that `png` made."""
    data = item.load()
    assert isinstance(data, bytes)
    return int(decode_image(data, item.place)[0, 0, 0])


def entries_of(source: Source) -> list[tuple[str, str, int]]:
    """Return (split, class, level) of each image."""
    return [(item.split, item.class_name, level_of(item)) for item in source.items()]


def read_all(source: Source) -> None:
    """Count and read all images of a source."""
    source.counts()
    for item in source.items():
        item.load()


# Digits


def test_digits_are_1797_images_in_ten_classes() -> None:
    source = open_source(SourceConfig(kind="digits"))
    counts = source.counts()
    assert list(counts) == ["train"]
    assert list(counts["train"]) == [str(digit) for digit in range(10)]
    assert sum(counts["train"].values()) == 1797
    items = list(source.items())
    assert Counter(item.class_name for item in items) == counts["train"]
    pixels = np.stack([np.asarray(item.load()) for item in items])
    assert (pixels.shape, pixels.dtype) == ((1797, 8, 8, 1), np.uint8)
    assert (pixels.min(), pixels.max(), len(np.unique(pixels))) == (0, 255, 17)


def test_digits_are_the_same_each_time() -> None:
    first, again = (open_source(SourceConfig(kind="digits")) for _ in range(2))
    assert first.fingerprint() == again.fingerprint()
    assert [i.place for i in first.items()] == [i.place for i in again.items()]


# Parquet


def write_parquet(
    path: Path,
    columns: Mapping[str, Any],
    names: Sequence[str] | None = None,
    label: str = "label",
) -> None:
    """Write a table, with a ClassLabel of these names in its Hugging Face metadata."""
    table = pa.table(dict(columns))
    if names is not None:
        features = {label: {"_type": "ClassLabel", "names": list(names)}}
        note = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": note})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def open_parquet(folder: Path, **options: Any) -> Source:
    """Open a folder of Parquet files."""
    return open_source(SourceConfig(kind="parquet", location=str(folder), **options))


def structs(levels: Sequence[int]) -> pa.Array:
    """Return images in the Hugging Face layout: a struct of bytes and path."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": png(level), "path": None} for level in levels], kind)


def test_parquet_reads_a_struct_column_with_class_names(tmp_path: Path) -> None:
    columns = {"img": structs([1, 2, 3]), "label": [1, 0, 1]}
    write_parquet(tmp_path / "train-00000.parquet", columns, names=["zebra", "ant"])
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"zebra": 1, "ant": 2}}
    assert list(source.counts()["train"]) == ["zebra", "ant"]
    assert entries_of(source) == [("train", "ant", 1), ("train", "zebra", 2), ("train", "ant", 3)]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_parquet_reads_a_plain_binary_column(tmp_path: Path, kind: pa.DataType) -> None:
    images = pa.array([png(level) for level in (5, 6)], kind)
    write_parquet(tmp_path / "data.parquet", {"image": images, "label": [0, 1]})
    assert entries_of(open_parquet(tmp_path)) == [("train", "0", 5), ("train", "1", 6)]


def test_parquet_reads_a_single_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"image": [png(1)], "label": [0]})
    write_parquet(tmp_path / "b.parquet", {"image": [png(2)], "label": [0]})
    assert entries_of(open_parquet(tmp_path / "b.parquet")) == [("train", "0", 2)]


def test_parquet_sorts_integer_labels_by_number(tmp_path: Path) -> None:
    labels = [10, 2, 1, 2, 100]
    write_parquet(tmp_path / "x.parquet", {"image": structs([0] * 5), "label": labels})
    counts = open_parquet(tmp_path).counts()["train"]
    assert list(counts.items()) == [("1", 1), ("2", 2), ("10", 1), ("100", 1)]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet_takes_text_labels_for_class_names(tmp_path: Path, kind: pa.DataType) -> None:
    labels = pa.array(["b", "a", "b"]).cast(kind)
    write_parquet(tmp_path / "x.parquet", {"image": structs([1, 2, 3]), "label": labels})
    counts = open_parquet(tmp_path).counts()["train"]
    assert list(counts.items()) == [("a", 1), ("b", 2)]


def test_parquet_prefers_the_usual_columns(tmp_path: Path) -> None:
    columns = {"mask": structs([9]), "image": structs([1]), "id": [7], "label": [0]}
    write_parquet(tmp_path / "x.parquet", columns)
    assert entries_of(open_parquet(tmp_path)) == [("train", "0", 1)]


def test_parquet_prefers_a_class_label_of_any_name(tmp_path: Path) -> None:
    columns = {"image": structs([1]), "label": [5], "species": [0]}
    write_parquet(tmp_path / "x.parquet", columns, names=["owl"], label="species")
    assert entries_of(open_parquet(tmp_path)) == [("train", "owl", 1)]


def test_parquet_takes_the_columns_that_are_given(tmp_path: Path) -> None:
    columns = {"image": structs([1]), "thumb": structs([2]), "label": [0], "kind": ["k"]}
    write_parquet(tmp_path / "x.parquet", columns)
    source = open_parquet(tmp_path, image_column="thumb", label_column="kind")
    assert entries_of(source) == [("train", "k", 2)]


def test_parquet_refuses_columns_that_are_not_clear(tmp_path: Path) -> None:
    columns = {"left": structs([1]), "right": structs([2]), "first": [0], "second": [1]}
    write_parquet(tmp_path / "x.parquet", columns)
    with pytest.raises(SourceError, match=r"image column .* not clear .* one of left, right"):
        open_parquet(tmp_path)
    with pytest.raises(SourceError, match=r"label column .* not clear .* one of first, second"):
        open_parquet(tmp_path, image_column="left")


def test_parquet_refuses_a_given_column_that_is_not_there(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", {"image": structs([1]), "label": [0]})
    with pytest.raises(SourceError, match=r"'photo', but .* has image"):
        open_parquet(tmp_path, image_column="photo")
    with pytest.raises(SourceError, match=r"'y', but .* has label"):
        open_parquet(tmp_path, label_column="y")


@pytest.mark.parametrize(
    ("columns", "what"),
    [({"label": [0]}, "image column"), ({"image": [b"x"], "weight": [0.5]}, "label column")],
)
def test_parquet_refuses_a_table_without_a_fitting_column(
    tmp_path: Path, columns: dict[str, Any], what: str
) -> None:
    write_parquet(tmp_path / "x.parquet", columns)
    with pytest.raises(SourceError, match=rf"{what} .*\(none fits\)"):
        open_parquet(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, None, 1], r"x\.parquet row 1 has no label"),
        ([0, 1, -1], r"x\.parquet row 2 has label -1: it must be 0\.\.1"),
        ([2, 0, 1], r"x\.parquet row 0 has label 2: it must be 0\.\.1"),
    ],
)
def test_parquet_refuses_a_label_of_no_class_by_its_row(
    tmp_path: Path, labels: list[int | None], message: str
) -> None:
    columns = {"image": structs([0, 0, 0]), "label": labels}
    write_parquet(tmp_path / "x.parquet", columns, names=["a", "b"])
    with pytest.raises(LabelError, match=message):
        open_parquet(tmp_path).counts()


def test_parquet_refuses_a_negative_label_without_class_names(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", {"image": structs([0, 0]), "label": [0, -1]})
    with pytest.raises(LabelError, match=r"row 1 has label -1: it must be 0 or more"):
        open_parquet(tmp_path).counts()


def test_parquet_refuses_text_that_is_no_class_of_its_class_label(tmp_path: Path) -> None:
    columns = {"image": structs([0, 0]), "label": ["a", "zebra"]}
    write_parquet(tmp_path / "x.parquet", columns, names=["a", "b"])
    with pytest.raises(LabelError, match="zebra"):
        open_parquet(tmp_path).counts()


def test_parquet_uses_its_test_files(tmp_path: Path) -> None:
    for split, levels in (("train-00000-of-00002", [1]), ("train-00001-of-00002", [2])):
        write_parquet(tmp_path / f"{split}.parquet", {"image": structs(levels), "label": [0]})
    write_parquet(tmp_path / "test-00000-of-00001.parquet", {"image": structs([3]), "label": [0]})
    write_parquet(tmp_path / "validation.parquet", {"image": structs([4]), "label": [0]})
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"0": 2}, "test": {"0": 1}, "validation": {"0": 1}}
    assert sorted(entries_of(source)) == [
        ("test", "0", 3),
        ("train", "0", 1),
        ("train", "0", 2),
        ("validation", "0", 4),
    ]


def test_parquet_finds_splits_in_folder_names(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train" / "0.parquet", {"image": structs([1]), "label": [0]})
    write_parquet(tmp_path / "data" / "test" / "0.parquet", {"image": structs([2]), "label": [0]})
    assert sorted(entries_of(open_parquet(tmp_path))) == [("test", "0", 2), ("train", "0", 1)]


def test_parquet_takes_a_lone_validation_split_for_the_test_split(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"image": structs([1]), "label": [0]})
    write_parquet(tmp_path / "validation.parquet", {"image": structs([2]), "label": [0]})
    assert open_parquet(tmp_path).counts() == {"train": {"0": 1}, "test": {"0": 1}}


@pytest.mark.parametrize("name", ["data.parquet", "0000.parquet", "test.parquet"])
def test_parquet_without_a_training_file_is_of_no_split(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path / name, {"image": structs([1]), "label": [0]})
    assert open_parquet(tmp_path).counts() == {"train": {"0": 1}}


def test_parquet_refuses_an_empty_class_of_its_class_label(tmp_path: Path) -> None:
    columns = {"image": structs([0]), "label": [0]}
    write_parquet(tmp_path / "x.parquet", columns, names=["a", "nobody"])
    with pytest.raises(EmptyClassError, match=r"class 'nobody' of .* has no training image"):
        open_parquet(tmp_path).counts()


def test_parquet_refuses_a_class_that_only_its_test_files_have(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"image": structs([0]), "label": [0]})
    write_parquet(tmp_path / "test.parquet", {"image": structs([0]), "label": [1]})
    with pytest.raises(EmptyClassError, match=r"class '1' of .* has no training image"):
        open_parquet(tmp_path).counts()


@pytest.mark.parametrize("missing", ["image", "label"])
def test_parquet_refuses_a_file_that_lacks_a_column_of_the_others(
    tmp_path: Path, missing: str
) -> None:
    columns = {"image": structs([0]), "label": [0]}
    write_parquet(tmp_path / "train-0.parquet", columns)
    del columns[missing]
    write_parquet(tmp_path / "train-1.parquet", columns)
    source = open_parquet(tmp_path)
    with pytest.raises(SourceError, match=f"train-1.*{missing}"):
        read_all(source)


def test_parquet_refuses_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no table")
    with pytest.raises(SourceError, match=r"x\.parquet is no Parquet file"):
        open_parquet(tmp_path)


def test_parquet_refuses_a_folder_without_any(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(SourceError, match=r"holds no \.parquet file"):
        open_parquet(tmp_path)


def test_parquet_gives_an_empty_file_for_a_null_image(tmp_path: Path) -> None:
    images = pa.array([None, png(1)], pa.binary())
    write_parquet(tmp_path / "x.parquet", {"image": images, "label": [0, 0]})
    assert [item.load() for item in open_parquet(tmp_path).items()] == [b"", png(1)]


def test_parquet_reads_many_row_groups_in_order(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": [bytes([n % 256, n // 256]) for n in range(2500)],
            "label": [n % 7 for n in range(2500)],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=300)
    items = list(open_parquet(tmp_path).items())
    assert [item.load() for item in items] == table.column("image").to_pylist()
    assert [int(item.class_name) for item in items] == table.column("label").to_pylist()
    assert items[2400].place.endswith("x.parquet row 2400")


def test_missing_location_is_refused(tmp_path: Path) -> None:
    for kind in ("parquet", "imagefolder"):
        with pytest.raises(SourceError, match="nowhere does not exist"):
            open_source(SourceConfig(kind=kind, location=str(tmp_path / "nowhere")))


# Image folders


def write_files(folder: Path, levels: Mapping[str, int]) -> None:
    """Write PNG files by name."""
    for name, level in levels.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(level))


def open_folder(folder: Path, **options: Any) -> Source:
    """Open an image folder."""
    return open_source(SourceConfig(kind="imagefolder", location=str(folder), **options))


def test_image_folder_takes_each_folder_for_a_class(tmp_path: Path) -> None:
    write_files(tmp_path, {"dog/1.png": 3, "cat/b.PNG": 2, "cat/a.jpeg": 1, "cat/deep/c.webp": 4})
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    source = open_folder(tmp_path)
    assert source.counts() == {"train": {"cat": 3, "dog": 1}}
    assert entries_of(source) == [
        ("train", "cat", 1),
        ("train", "cat", 2),
        ("train", "cat", 4),
        ("train", "dog", 3),
    ]
    assert next(iter(source.items())).place == f"{tmp_path}/cat/a.jpeg"


@pytest.mark.parametrize("names", [("train", "test", "val"), ("Train", "Testing", "VALIDATION")])
def test_image_folder_uses_its_split_folders(tmp_path: Path, names: tuple[str, str, str]) -> None:
    train, test, validation = names
    write_files(
        tmp_path,
        {
            f"{train}/cat/1.png": 1,
            f"{train}/dog/1.png": 2,
            f"{test}/cat/1.png": 3,
            f"{validation}/dog/1.png": 4,
        },
    )
    source = open_folder(tmp_path)
    assert source.counts() == {
        "train": {"cat": 1, "dog": 1},
        "test": {"cat": 1, "dog": 0},
        "validation": {"cat": 0, "dog": 1},
    }
    assert sorted(entries_of(source)) == [
        ("test", "cat", 3),
        ("train", "cat", 1),
        ("train", "dog", 2),
        ("validation", "dog", 4),
    ]


def test_image_folder_takes_a_lone_validation_folder_for_the_test_split(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/cat/1.png": 1, "val/cat/1.png": 2})
    assert open_folder(tmp_path).counts() == {"train": {"cat": 1}, "test": {"cat": 1}}


def test_image_folder_may_have_a_class_named_train(tmp_path: Path) -> None:
    # CIFAR-100 has one.
    write_files(tmp_path, {"tractor/1.png": 1, "train/1.png": 2, "train/2.png": 3})
    assert open_folder(tmp_path).counts() == {"train": {"tractor": 1, "train": 2}}


@pytest.mark.parametrize("name", ["train", "training"])
def test_image_folder_takes_either_name_of_the_training_folder(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {f"{name}/cat/1.png": 1, "test/cat/1.png": 2})
    assert open_folder(tmp_path).counts() == {"train": {"cat": 1}, "test": {"cat": 1}}


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_image_folder_refuses_an_empty_class_folder(tmp_path: Path, prefix: str) -> None:
    write_files(tmp_path, {f"{prefix}cat/1.png": 1})
    (tmp_path / prefix / "dog").mkdir()
    with pytest.raises(EmptyClassError, match=r"class 'dog' of .* has no training image"):
        open_folder(tmp_path).counts()


@pytest.mark.parametrize(
    ("good", "bad"),
    [("cat/1.png", "2.png"), ("train/cat/1.png", "train/2.png"), ("train/cat/1.png", "2.png")],
)
def test_image_folder_refuses_a_file_outside_class_folders(
    tmp_path: Path, good: str, bad: str
) -> None:
    write_files(tmp_path, {good: 1, bad: 2})
    with pytest.raises(SourceError, match=rf"{bad} lies in no class folder"):
        open_folder(tmp_path)


def test_image_folder_refuses_an_unknown_folder_beside_train(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/cat/1.png": 1, "extra/cat/1.png": 2})
    with pytest.raises(SourceError, match="extra lies beside train/ but is no split"):
        open_folder(tmp_path)


def test_image_folder_refuses_a_test_class_without_training_images(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/cat/1.png": 1, "test/fox/1.png": 2})
    with pytest.raises(LabelError, match=r"test/fox/1\.png is of class 'fox'"):
        open_folder(tmp_path).counts()


def test_image_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    with pytest.raises(SourceError, match="holds no image in class folders"):
        open_folder(tmp_path)


# Fingerprints


def test_image_folder_fingerprint_changes_with_content_name_and_class(tmp_path: Path) -> None:
    variants: list[dict[str, int]] = [
        {"cat/1.png": 1, "dog/1.png": 2},
        {"cat/1.png": 1, "dog/1.png": 3},
        {"cat/1.png": 1, "dog/2.png": 2},
        {"cat/1.png": 1, "fox/1.png": 2},
        {"cat/1.png": 1, "dog/1.png": 2, "dog/2.png": 2},
        {"train/cat/1.png": 1, "train/dog/1.png": 2},
    ]
    prints = []
    for number, variant in enumerate(variants):
        write_files(tmp_path / str(number), variant)
        prints.append(open_folder(tmp_path / str(number)).fingerprint())
    assert len(set(prints)) == len(variants)
    write_files(tmp_path / "moved", dict(reversed(variants[0].items())))
    assert open_folder(tmp_path / "moved").fingerprint() == prints[0]


def test_parquet_fingerprint_changes_with_content_columns_and_split(tmp_path: Path) -> None:
    def print_of(number: int, name: str, columns: Mapping[str, Any], **options: Any) -> str:
        write_parquet(tmp_path / str(number) / f"{name}.parquet", columns)
        return open_parquet(tmp_path / str(number), **options).fingerprint()

    columns = {"image": structs([1, 2]), "label": [0, 1], "other": [0, 0]}
    first = print_of(0, "train", columns)
    assert print_of(1, "train", columns) == first
    different = [
        print_of(2, "train", columns | {"image": structs([1, 3])}),
        print_of(3, "train", columns | {"label": [0, 0]}),
        print_of(4, "train-1", columns),
        print_of(5, "train", columns, label_column="other"),
    ]
    assert len({first, *different}) == 5


@pytest.mark.parametrize("kind", ["digits", "parquet", "imagefolder"])
def test_images_come_in_the_same_order_each_time(tmp_path: Path, kind: str) -> None:
    for number in range(3):
        columns = {"image": structs([number, 9]), "label": [number, 0]}
        write_parquet(tmp_path / "parquet" / f"{2 - number}.parquet", columns)
        write_files(tmp_path / "imagefolder", {f"{9 - number}/{n}.png": n for n in (3, 1, 2)})
    config = SourceConfig(kind=kind, location=str(tmp_path / kind))
    runs = [[item.place for item in open_source(config).items()] for _ in range(2)]
    source = open_source(config)
    assert (
        runs[0] == runs[1] == [i.place for i in source.items()] == [i.place for i in source.items()]
    )
    assert len(set(runs[0])) == len(runs[0])


# Splits


def splits_of(source: Source, config: SourceConfig) -> Counter[tuple[str, str]]:
    """Return the images by allotted split and class."""
    counts = source.counts()
    allotment = Allotment(counts, split_policy(counts, config))
    return Counter((allotment.split_of(item), item.class_name) for item in source.items())


def test_allotment_keeps_the_source_s_test_split(tmp_path: Path) -> None:
    write_files(tmp_path, {f"train/cat/{n}.png": n for n in range(10)})
    write_files(tmp_path, {f"test/cat/{n}.png": n for n in range(3)})
    config = SourceConfig(kind="imagefolder", location=str(tmp_path), test_fraction=0.5)
    source = open_source(config)
    policy = split_policy(source.counts(), config)
    assert (policy.test, policy.test_fraction, policy.validation_fraction) == ("source", 0, 0)
    assert splits_of(source, config) == {("train", "cat"): 10, ("test", "cat"): 3}
    assert training_counts(source.counts(), config) == {"cat": 10}


def test_allotment_takes_validation_images_from_the_training_split(tmp_path: Path) -> None:
    write_files(tmp_path, {f"train/cat/{n}.png": n for n in range(10)})
    write_files(tmp_path, {f"test/cat/{n}.png": n for n in range(3)})
    config = SourceConfig(kind="imagefolder", location=str(tmp_path), validation_fraction=0.2)
    source = open_source(config)
    expected = {("train", "cat"): 8, ("validation", "cat"): 2, ("test", "cat"): 3}
    assert splits_of(source, config) == expected
    assert training_counts(source.counts(), config) == {"cat": 8}


def test_allotment_keeps_the_source_s_validation_split(tmp_path: Path) -> None:
    for split, number in (("train", 10), ("validation", 4), ("test", 3)):
        write_files(tmp_path, {f"{split}/cat/{n}.png": n for n in range(number)})
    config = SourceConfig(kind="imagefolder", location=str(tmp_path), validation_fraction=0.2)
    expected = {("train", "cat"): 10, ("validation", "cat"): 4, ("test", "cat"): 3}
    assert splits_of(open_source(config), config) == expected


def test_allotment_is_stratified_where_the_source_has_no_test_split() -> None:
    config = SourceConfig(kind="digits", test_fraction=0.25, validation_fraction=0.1)
    source = open_source(config)
    policy = split_policy(source.counts(), config)
    assert (policy.test, policy.test_fraction, policy.validation_fraction) == (
        "stratified",
        0.25,
        0.1,
    )
    found = splits_of(source, config)
    for name, count in source.counts()["train"].items():
        test = found[("test", name)]
        assert abs(test - 0.25 * count) <= 0.5
        assert abs(found[("validation", name)] - 0.1 * (count - test)) <= 0.5
        assert found[("train", name)] == training_counts(source.counts(), config)[name]
    assert found.total() == 1797


def test_allotment_is_fixed_by_its_seed() -> None:
    def splits(seed: int) -> list[str]:
        config = SourceConfig(kind="digits", split_seed=seed)
        source = open_source(config)
        counts = source.counts()
        allotment = Allotment(counts, split_policy(counts, config))
        return [allotment.split_of(item) for item in source.items()]

    assert splits(0) == splits(0) != splits(1)


def test_class_that_the_split_would_empty_is_refused() -> None:
    config = SourceConfig(kind="digits")
    counts = {"train": {"a": 5, "b": 0}}
    with pytest.raises(EmptyClassError, match="class 'b' has 0 images"):
        class_splits(counts, split_policy(counts, config))


# Sets whose counts are known


@pytest.mark.parametrize(
    ("kind", "num_classes", "train", "test"),
    [("cifar10", 10, 5000, 1000), ("cifar100", 100, 500, 100), ("fashion-mnist", 10, 6000, 1000)],
)
def test_known_sets_are_counted_without_their_images(
    tmp_path: Path, kind: str, num_classes: int, train: int, test: int
) -> None:
    counts = open_source(SourceConfig(kind=kind, location=str(tmp_path))).counts()
    assert len(counts["train"]) == len(counts["test"]) == num_classes
    assert set(counts["train"].values()) == {train}
    assert set(counts["test"].values()) == {test}
    assert not list(tmp_path.iterdir())


def digest_of_labels(labels: Sequence[int]) -> str:
    """Return the MD5 of labels as 64-bit integers, as the data's own notes give it."""
    return hashlib.md5(np.array(labels, "<i8").tobytes(), usedforsecurity=False).hexdigest()


def test_real_cifar100_has_its_counts_labels_and_pixels(cifar100: str) -> None:
    config = SourceConfig(kind="parquet", location=cifar100, label_column="fine_label")
    source = open_source(config)
    counts = source.counts()
    names = CLASSES["cifar100"]
    assert tuple(counts["train"]) == tuple(counts["test"]) == names
    assert set(counts["train"].values()) == {TRAIN_IMAGES["cifar100"]} == {500}
    assert set(counts["test"].values()) == {TEST_IMAGES["cifar100"]} == {100}
    by_split: dict[str, list[Item]] = {"train": [], "test": []}
    for item in source.items():
        by_split[item.split].append(item)
    labels = {s: [names.index(i.class_name) for i in items] for s, items in by_split.items()}
    assert digest_of_labels(labels["train"]) == "a6d83e1ba403abb4d4d51a4851d27312"
    assert digest_of_labels(labels["test"]) == "65ee271bce17e294470afef2117ae162"

    def decoded(item: Item) -> Any:
        data = item.load()
        assert isinstance(data, bytes)
        return decode_image(data, item.place)

    with ThreadPoolExecutor(2) as pool:
        pixels = np.stack(list(pool.map(decoded, by_split["test"])))
    assert pixels.shape == (10_000, 32, 32, 3)
    digest = hashlib.md5(pixels.tobytes(), usedforsecurity=False).hexdigest()
    assert digest == "f56c971f508f38ef6f45ff5a2db65ea6"


def test_real_cifar100_finds_its_columns_by_itself(cifar100: str) -> None:
    counts = open_source(SourceConfig(kind="parquet", location=cifar100)).counts()
    assert len(counts["train"]) == 100


def write_idx(path: Path, magic: int, values: NDArray[np.uint8]) -> None:
    header = np.array([magic, *values.shape], ">i4").tobytes()
    path.write_bytes(header + values.tobytes())


def fashion_mnist(root: Path) -> SourceConfig:
    """Write files in Fashion-MNIST's own format: as many images, all of them noise."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 60_000), ("t10k", 10_000)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        write_idx(raw / f"{name}-images-idx3-ubyte", 0x803, pixels)
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(raw / f"{name}-labels-idx1-ubyte", 0x801, labels)
    return SourceConfig(kind="fashion-mnist", location=str(root))


def test_torchvision_s_files_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    source = open_source(fashion_mnist(tmp_path))
    counted = Counter((item.split, item.class_name) for item in source.items())
    assert {name: counted["train", name] for name in source.counts()["train"]} == dict(
        source.counts()["train"]
    )
    assert counted["test", "T-shirt/top"] == 1000
    first = next(iter(source.items()))
    pixels = first.load()
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (28, 28, 1)
    before = source.fingerprint()
    labels = tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x03")
    assert source.fingerprint() != before


def test_a_torchvision_set_that_is_not_there_and_cannot_be_downloaded_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In its own opener, or later tests of this process would be sent to that proxy, too.
    nowhere = dict.fromkeys(("http", "https"), "http://127.0.0.1:9")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(nowhere))
    monkeypatch.setattr(urllib.request, "_opener", opener)
    source = open_source(SourceConfig(kind="cifar10", location=str(tmp_path)))
    assert sum(source.counts()["train"].values()) == 50_000
    with pytest.raises(SourceError, match=r"cifar10 is not below .* cannot be downloaded"):
        source.fingerprint()


def test_damaged_files_of_a_published_set_are_refused_by_name(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        for part in ("images-idx3", "labels-idx1"):
            (raw / f"{split}-{part}-ubyte").write_bytes(b"\0\0\x08\x03 cut short")
    source = open_source(SourceConfig(kind="fashion-mnist", location=str(tmp_path)))
    with pytest.raises(SourceError, match=rf"fashion-mnist below {tmp_path} cannot be read"):
        next(iter(source.items()))


def test_a_parquet_source_runs_no_code_of_an_extension_type(tmp_path: Path) -> None:
    # The name under which pyarrow kept pickled types, and once loaded them (CVE-2023-47248).
    mark = tmp_path / "mark"
    note = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    note[b"ARROW:extension:metadata"] = pickle.dumps(_Touch(mark))
    fields = [pa.field("image", pa.binary()), pa.field("label", pa.int64(), metadata=note)]
    table = pa.table([[png(1)] * 5, [0] * 5], schema=pa.schema(fields))
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "x.parquet")
    with suppress(SourceError):
        read_all(open_parquet(tmp_path / "in"))
    assert not mark.exists()


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)
