"""Parquet files as a source: what they count, which columns and splits, what they refuse."""

import pickle
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_sample import entries_of, open_parquet, png, read_all, structs, write_parquet

from accrete.errors import EmptyClassError, LabelError, SourceError


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


def test_parquet_takes_a_class_label_of_any_name_but_not_beside_a_usual_one(
    tmp_path: Path,
) -> None:
    columns = {"image": structs([1]), "level": [5], "species": [0]}
    write_parquet(tmp_path / "x.parquet", columns, names=["owl"], label="species")
    assert entries_of(open_parquet(tmp_path)) == [("train", "owl", 1)]
    columns["label"] = columns.pop("level")
    write_parquet(tmp_path / "x.parquet", columns, names=["owl"], label="species")
    with pytest.raises(SourceError, match="give one of species, label"):
        open_parquet(tmp_path)


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
    [({"label": [0]}, "image column"), ({"image": [b"x"], "when": [None]}, "label column")],
)
def test_parquet_refuses_a_table_without_a_fitting_column(
    tmp_path: Path, columns: dict[str, Any], what: str
) -> None:
    write_parquet(tmp_path / "x.parquet", columns)
    with pytest.raises(SourceError, match=rf"{what} .*(none fits|none holds images)"):
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
    assert open_parquet(tmp_path / name).counts() == {"train": {"0": 1}}
    if "test" not in name:
        assert open_parquet(tmp_path).counts() == {"train": {"0": 1}}


def test_parquet_refuses_an_empty_class_of_its_class_label(tmp_path: Path) -> None:
    columns = {"image": structs([0]), "label": [0]}
    write_parquet(tmp_path / "x.parquet", columns, names=["a", "nobody"])
    with pytest.raises(EmptyClassError, match=r"class 'nobody' of .* has no training image"):
        open_parquet(tmp_path).counts()


def test_parquet_refuses_a_class_that_only_its_test_files_have(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"image": structs([0]), "label": [0]})
    write_parquet(tmp_path / "test.parquet", {"image": structs([0]), "label": [1]})
    with pytest.raises(
        EmptyClassError, match=r"class '1' of .* has images to test on but no training image"
    ):
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
