"""What columns of tables may be: every type that writers give labels and images, and no others."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from source_sample import (
    entries_of,
    open_parquet,
    png,
    read_all,
    structs,
    write_files,
    write_parquet,
)

from accrete.errors import LabelError, SourceError

IMAGES = structs([1, 2, 3])


def classes_of(folder: Path, labels: Any, **options: Any) -> list[str]:
    write_parquet(folder / "x.parquet", {"image": IMAGES, "label": labels})
    return [item.class_name for item in open_parquet(folder, **options).items()]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([0, 1, 1], pa.int8()), ["0", "1", "1"]),
        (pa.array([0, 1, 1], pa.uint64()), ["0", "1", "1"]),
        (pa.array([0.0, 1.0, 1.0]), ["0", "1", "1"]),
        (pa.array([True, False, True]), ["true", "false", "true"]),
        (pa.array([Decimal(3), Decimal(4), Decimal(4)]), ["3", "4", "4"]),
        (pa.array(["b", "a", "a"], pa.string_view()), ["b", "a", "a"]),
        (pa.array(["b", "a", "a"], pa.large_string()), ["b", "a", "a"]),
        (pa.array(["b", "a", "a"]).dictionary_encode(), ["b", "a", "a"]),
        (pa.array([[0], [1], [1]]), ["0", "1", "1"]),
        (pa.array([["b"], ["a"], ["a"]], pa.large_list(pa.string())), ["b", "a", "a"]),
        (pa.array([[7], [8], [8]], pa.list_(pa.int64(), 1)), ["7", "8", "8"]),
    ],
)
def test_labels_may_be_of_any_type_that_names_classes(
    tmp_path: Path, labels: pa.Array, expected: list[str]
) -> None:
    assert classes_of(tmp_path, labels) == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([0.0, 0.5, 1.0]), r"row 1 has label 0\.5: a class is a whole number or a text"),
        (pa.array([0.0, 1.0, float("nan")]), "row 2 has no label"),
        (pa.array([0.0, float("inf"), 1.0]), "row 1 has label inf"),
        (pa.array([[0], [1, 2], [1]]), "row 1 has 2 labels: an image has one class"),
        (pa.array([[0], [], [1]]), "row 1 has no label"),
        (pa.array(["a", "", "b"]), "row 1 has no label"),
    ],
)
def test_labels_that_name_no_class_are_refused_by_their_row(
    tmp_path: Path, labels: pa.Array, message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        classes_of(tmp_path, labels)


@pytest.mark.parametrize(
    "images",
    [
        pa.array([png(1), png(2)], pa.binary_view()),
        pa.array([png(1), png(2)], pa.large_binary()),
        pa.array([png(1), png(2)]).dictionary_encode(),
        pa.array([[png(1)], [png(2)]]),
        pa.array([[{"bytes": png(1)}], [{"bytes": png(2)}]]),
        structs([1, 2]),
    ],
)
def test_images_may_be_of_any_type_of_bytes(tmp_path: Path, images: pa.Array) -> None:
    write_parquet(tmp_path / "x.parquet", {"image": images, "label": [0, 1]})
    assert entries_of(open_parquet(tmp_path)) == [("train", "0", 1), ("train", "1", 2)]


def test_images_may_be_rows_of_pixels(tmp_path: Path) -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    for name, pixels in (("grey", grey), ("colour", colour)):
        columns = {"image": pa.array([pixels.tolist()]), "label": [0]}
        write_parquet(tmp_path / name / "x.parquet", columns)
        (item,) = open_parquet(tmp_path / name).items()
        assert np.array_equal(np.squeeze(np.asarray(item.load())), pixels)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([[0, 256]], "numbers from 0 to 256"),
        ([[0, -1]], "numbers from -1 to 0"),
        ([[0, 1], [2]], "rows of different length"),
        ([[[0, 1]], [[2, 3]]], r"numbers of shape \(2, 1, 2\)"),
    ],
)
def test_rows_of_numbers_that_are_no_pixels_are_refused(
    tmp_path: Path, pixels: list[Any], message: str
) -> None:
    write_parquet(tmp_path / "x.parquet", {"image": pa.array([pixels]), "label": [0]})
    with pytest.raises(SourceError, match=f"row 0 has {message}"):
        read_all(open_parquet(tmp_path))


def test_columns_inside_of_structs_are_found_and_chosen(tmp_path: Path) -> None:
    rows = [
        {
            "image": {"bytes": png(level), "path": None},
            "annotation": {"label": level % 2, "by": "x"},
        }
        for level in range(3)
    ]
    write_parquet(tmp_path / "x.parquet", {"sample": pa.array(rows), "id": ["a", "b", "c"]})
    source = open_parquet(tmp_path)
    assert [entry[1:] for entry in entries_of(source)] == [("0", 0), ("1", 1), ("0", 2)]
    assert source.reading().columns == (
        "image: sample.image (the only one)",
        "label: sample.annotation.label (before sample.annotation.by, id)",
    )
    by = open_parquet(tmp_path, label_column="sample.annotation.by")
    assert by.counts() == {"train": {"x": 3}}


def test_the_usual_label_column_is_taken_before_others_and_said(tmp_path: Path) -> None:
    columns = {"image": IMAGES, "width": [4] * 3, "Label": ["a", "b", "b"], "class_id": [0, 1, 1]}
    write_parquet(tmp_path / "x.parquet", columns)
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"a": 1, "b": 2}}
    assert source.reading().columns[1] == "label: Label (before width, class_id)"


@pytest.mark.parametrize(("column", "options"), [("key", {}), ("key", {"label_column": "key"})])
def test_a_column_with_a_value_of_its_own_in_each_row_is_no_label(
    tmp_path: Path, column: str, options: dict[str, str]
) -> None:
    columns = {"image": structs(list(range(30))), column: [f"k{n}" for n in range(30)]}
    columns |= {"sort": ["a"] * 30} if options else {}
    write_parquet(tmp_path / "x.parquet", columns)
    with pytest.raises(SourceError, match=r"'key' has 30 classes in 30 rows .* it is no label"):
        open_parquet(tmp_path, **options).counts()


def test_class_names_are_merged_by_name_where_files_list_them_in_another_order(
    tmp_path: Path,
) -> None:
    columns = {"image": structs([1, 2]), "label": [0, 1]}
    write_parquet(tmp_path / "train-0.parquet", columns, names=["ant", "bee"])
    write_parquet(tmp_path / "train-1.parquet", columns, names=["bee", "cow"])
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"ant": 1, "bee": 2, "cow": 1}}
    assert [entry[1:] for entry in entries_of(source)] == [
        ("ant", 1), ("bee", 2), ("bee", 1), ("cow", 2),
    ]  # fmt: skip


def test_numbers_beside_files_that_name_theirs_are_refused(tmp_path: Path) -> None:
    columns = {"image": structs([1, 2]), "label": [0, 1]}
    write_parquet(tmp_path / "train.parquet", columns, names=["ant", "bee"])
    write_parquet(tmp_path / "test.parquet", columns)
    with pytest.raises(SourceError, match=r"test\.parquet has numbers in column 'label' that"):
        open_parquet(tmp_path).counts()


def test_a_column_tells_the_split_where_files_do_not(tmp_path: Path) -> None:
    columns = {"image": IMAGES, "label": [0, 0, 1], "split": ["train", "test", "train"]}
    write_parquet(tmp_path / "x.parquet", columns)
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 1}, "test": {"0": 1, "1": 0}}
    assert "split: split" in source.reading().columns


@pytest.mark.parametrize("hidden", [[-1, -1], [None, None], None, [-1.0, -1.0]])
def test_a_test_split_without_labels_is_left_out_and_said(tmp_path: Path, hidden: Any) -> None:
    write_parquet(tmp_path / "train.parquet", {"image": IMAGES, "label": [0, 1, 1]})
    columns = {"image": structs([8, 9])} | ({} if hidden is None else {"label": hidden})
    write_parquet(tmp_path / "test.parquet", columns)
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 2}}
    assert len(list(source.items())) == 3
    assert any("the test split is left out" in note for note in source.reading().notes)
    assert [file.place for file in source.reading().left_out] == ["test.parquet"]


def test_a_lone_validation_split_is_for_testing_once_the_test_labels_are_hidden(
    tmp_path: Path,
) -> None:
    for split, labels in (("train", [0, 1, 1]), ("validation", [0, 1, 1]), ("test", [-1] * 3)):
        write_parquet(tmp_path / f"{split}.parquet", {"image": IMAGES, "label": labels})
    counts = open_parquet(tmp_path).counts()
    assert counts == {"train": {"0": 1, "1": 2}, "test": {"0": 1, "1": 2}}


def test_paths_are_resolved_beside_the_table(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    write_files(tmp_path, {"data/images/1.png": 1, "data/images/2.png": 2, "data/3.png": 3})
    paths = ["images/1.png", "2.png", str(tmp_path / "data/3.png")]
    rows = [{"bytes": None, "path": path} for path in paths]
    write_parquet(
        tmp_path / "data" / "x.parquet", {"image": pa.array(rows, kind), "label": [0] * 3}
    )
    for place in (tmp_path, tmp_path / "data" / "x.parquet"):
        source = open_parquet(place)
        assert [entry[2] for entry in entries_of(source)] == [1, 2, 3]
    before = open_parquet(tmp_path).fingerprint()
    write_files(tmp_path, {"data/3.png": 4})
    assert open_parquet(tmp_path).fingerprint() != before


@pytest.mark.parametrize(
    "path", ["images/9.png", "../../etc/passwd", "/etc/passwd", "https://example.com/1.png"]
)
def test_a_path_that_leads_nowhere_is_refused_by_its_row(tmp_path: Path, path: str) -> None:
    kind = pa.struct([("bytes", pa.null()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": path}], kind)
    write_parquet(tmp_path / "x.parquet", {"image": rows, "label": [0]})
    with pytest.raises(SourceError, match=r"x\.parquet row 0 names image '.*', which is"):
        read_all(open_parquet(tmp_path))


def test_folders_of_partitions_are_columns(tmp_path: Path) -> None:
    for name in ("cat", "dog%20big"):
        columns = {"image": IMAGES, "width": [8, 9, 10]}
        write_parquet(tmp_path / f"label={name}" / "part-0.parquet", columns)
    assert open_parquet(tmp_path).counts() == {"train": {"cat": 3, "dog big": 3}}


def test_a_column_of_splits_may_have_other_values_which_are_left_out(tmp_path: Path) -> None:
    for name, splits in (("a", ["train", "test", "train"]), ("b", ["extra", "train", "extra"])):
        columns = {"image": IMAGES, "label": [0, 0, 1], "split": splits}
        write_parquet(tmp_path / f"{name}.parquet", columns)
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"0": 2, "1": 1}, "test": {"0": 1, "1": 0}}
    assert len(list(source.items())) == 4
    assert "2 rows are left out, of splits of other names" in source.reading().notes


def test_a_split_column_that_names_none_is_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", {"image": IMAGES, "label": [0] * 3, "split": [0, 1, 0]})
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"0": 3}}
    assert any("column 'split' is not used" in note for note in source.reading().notes)


@pytest.mark.parametrize("hidden", [[float("nan")] * 2, [[-1], [-1]], ["-1", "-1"], ["", ""]])
def test_hidden_labels_of_any_type_are_left_out(tmp_path: Path, hidden: Any) -> None:
    write_parquet(tmp_path / "train.parquet", {"image": IMAGES, "label": [0, 1, 1]})
    write_parquet(tmp_path / "test.parquet", {"image": structs([8, 9]), "label": hidden})
    assert open_parquet(tmp_path).counts() == {"train": {"0": 1, "1": 2}}


@pytest.mark.parametrize("labels", [[0.0, 1.0], [[0], [1]], [True, False], [0, 1]])
def test_labels_without_names_beside_named_ones_are_refused_in_any_type(
    tmp_path: Path, labels: Any
) -> None:
    columns = {"image": structs([1, 2]), "label": [0, 1]}
    write_parquet(tmp_path / "train-0.parquet", columns, names=["ant", "bee"])
    write_parquet(tmp_path / "train-1.parquet", columns | {"label": labels})
    with pytest.raises(SourceError, match="has numbers in column 'label' that"):
        open_parquet(tmp_path).counts()


@pytest.mark.parametrize("other", [{"bbox": [[[1, 2, 3, 4]]] * 2}, {"sha": [b"12", b"34"]}])
def test_boxes_and_hashes_are_no_images_where_paths_are(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    write_files(tmp_path, {"1.png": 1, "2.png": 2})
    columns = {"image_path": ["1.png", "2.png"], "label": [0, 1], **other}
    write_parquet(tmp_path / "x.parquet", columns)
    for options in ({}, {"image_column": "image_path"}):
        source = open_parquet(tmp_path, **options)
        assert [entry[2] for entry in entries_of(source)] == [1, 2]
    assert source.reading().left_out == ()


def test_rows_may_have_bytes_or_a_path_and_both_decide_the_digest(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": png(1), "path": None}, {"bytes": None, "path": "2.png"}]
    write_parquet(tmp_path / "x.parquet", {"image": pa.array(rows, kind), "label": [0, 1]})
    prints = []
    for level in (2, 3):
        write_files(tmp_path, {"2.png": level})
        source = open_parquet(tmp_path)
        assert [entry[2] for entry in entries_of(source)] == [1, level]
        prints.append(source.fingerprint())
    assert prints[0] != prints[1]


def test_long_texts_beside_images_do_not_matter(tmp_path: Path) -> None:
    columns = {"image": IMAGES, "label": ["a", "b", "b"], "caption": ["x" * 3000] * 3}
    write_parquet(tmp_path / "x.parquet", columns)
    assert open_parquet(tmp_path).counts() == {"train": {"a": 1, "b": 2}}


def test_an_empty_first_file_does_not_decide_the_columns(tmp_path: Path) -> None:
    empty = {"image": pa.nulls(0), "label": pa.nulls(0)}
    write_parquet(tmp_path / "train-0.parquet", empty)
    write_parquet(tmp_path / "train-1.parquet", {"image": IMAGES, "label": [0, 1, 1]})
    source = open_parquet(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 2}}
    assert "train-0.parquet has no rows" in source.reading().notes


def test_a_test_file_with_another_label_column_is_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"image": IMAGES, "label": [0, 1, 1]})
    write_parquet(tmp_path / "test.parquet", {"image": IMAGES, "labels": [0, 1, 1]})
    notes = open_parquet(tmp_path).reading().notes
    assert "the test split is left out: it has no column 'label' (it has labels)" in notes


@pytest.mark.parametrize("name", ["__index_level_0__", "id", "width", "file_name", "Unnamed: 0"])
def test_some_columns_are_no_labels_unless_somebody_says_so(tmp_path: Path, name: str) -> None:
    columns = {"image": IMAGES, name: [0, 1, 1]}
    write_parquet(tmp_path / "x.parquet", columns)
    with pytest.raises(SourceError, match="not clear"):
        open_parquet(tmp_path)
    assert open_parquet(tmp_path, label_column=name).counts() == {"train": {"0": 1, "1": 2}}


def test_the_columns_of_a_converted_webdataset_are_usual(tmp_path: Path) -> None:
    columns = {"__key__": ["a", "b"], "jpg": structs([1, 2]), "cls": [0, 1]}
    write_parquet(tmp_path / "x.parquet", columns)
    assert [entry[1] for entry in entries_of(open_parquet(tmp_path))] == ["0", "1"]


def test_a_column_of_ones_for_each_class_is_refused(tmp_path: Path) -> None:
    columns = {"image": IMAGES, "a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}
    write_parquet(tmp_path / "x.parquet", columns)
    with pytest.raises(SourceError, match=r"a column of 0 and 1 for each of 3 classes \(a, b, c"):
        open_parquet(tmp_path)


def test_labels_may_be_text_in_bytes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", {"image": IMAGES, "label": [b"a", b"b", b"b"]})
    assert open_parquet(tmp_path).counts() == {"train": {"a": 1, "b": 2}}


def test_a_file_by_itself_needs_nothing_around_it(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", {"image": IMAGES, "label": [0, 1, 1]})
    (tmp_path / "loop").symlink_to(".")
    source = open_parquet(tmp_path / "x.parquet")
    assert source.counts() == {"train": {"0": 1, "1": 2}}
    assert next(iter(source.items())).place == f"{tmp_path}/x.parquet row 0"


def test_a_pointer_of_git_lfs_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid x\n")
    with pytest.raises(SourceError, match="it is a Git LFS pointer"):
        open_parquet(tmp_path)
