"""Tables of text that name images: CSV, TSV, JSON lines, plain lists; with and without a header."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_sample import entries_of, open_folder, write_files

from accrete.config.run import SourceConfig
from accrete.data.sources.opening import Source, open_source
from accrete.errors import LabelError, SourceError

IMAGES = {"images/1.png": 1, "images/2.png": 2, "images/3.png": 3}
EXPECTED = [("train", "cat", 1), ("train", "dog", 2), ("train", "cat", 3)]


def open_csv(place: Path, **options: Any) -> Source:
    return open_source(SourceConfig(kind="csv", location=str(place), **options))


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


TABLES = {
    "header.csv": "file_name,label\nimages/1.png,cat\nimages/2.png,dog\nimages/3.png,cat\n",
    "no_header.csv": "images/1.png,cat\nimages/2.png,dog\nimages/3.png,cat\n",
    "label_first.csv": "label,path\ncat,images/1.png\ndog,images/2.png\ncat,images/3.png",
    "semicolons.csv": "path;label\nimages/1.png;cat\nimages/2.png;dog\nimages/3.png;cat\n",
    "tabs.tsv": "path\tlabel\nimages/1.png\tcat\nimages/2.png\tdog\nimages/3.png\tcat\n",
    "list.txt": "images/1.png cat\nimages/2.png dog\n\nimages/3.png cat\n",
    "ids.csv": "id,breed,label\n1,x,cat\n2,y,dog\n3,z,cat\n",
    "windows.csv": "path,label\r\nimages\\1.png,cat\r\n.\\images\\2.png,dog\r\n"
    "images\\3.png,cat\r\n",
    "bom.csv": b"\xef\xbb\xbfpath,label\nimages/1.png,cat\nimages/2.png,dog\nimages/3.png,cat\n",
    "excel.csv": "path\tlabel\nimages/1.png\tcat\nimages/2.png\tdog\nimages/3.png\tcat\n".encode(
        "utf-16"
    ),
    "quoted.csv": 'path,label,note\n"images/1.png",cat,"a, b"\nimages/2.png,dog,"x\ny"\n'
    "images/3.png,cat,\n",
    "lines.jsonl": "\n".join(
        json.dumps({"file_name": f"images/{n}.png", "label": label})
        for n, label in ((1, "cat"), (2, "dog"), (3, "cat"))
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_paths_and_labels_is_read(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, IMAGES)
    table = put(tmp_path, name, TABLES[name])
    for place in (tmp_path, table):
        assert entries_of(open_csv(place)) == EXPECTED


def test_a_folder_of_images_with_a_table_beside_them_is_read_by_the_table(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES | {"images/9.png": 9})
    put(tmp_path, "metadata.csv", TABLES["header.csv"])
    put(tmp_path, "README.txt", "A set of images.\n")
    source = open_folder(tmp_path)
    assert entries_of(source) == EXPECTED
    assert {file.place: file.reason for file in source.reading().left_out} == {
        "README.txt": ".txt", "images/9.png": "in no table",
    }  # fmt: skip


def test_split_folders_may_have_a_table_each(tmp_path: Path) -> None:
    for split in ("Train", "Validation"):
        write_files(tmp_path / "set" / split, {"1.png": 1, "2.png": 2})
        put(tmp_path / "set" / split, "metadata.csv", "file_name,label\n1.png,cat\n2.png,dog\n")
    expected = {"train": {"cat": 1, "dog": 1}, "test": {"cat": 1, "dog": 1}}
    assert open_folder(tmp_path).counts() == expected


def test_tables_may_be_named_by_split_and_their_images_lie_in_one_folder(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "train.csv", "image_id,label\n1,cat\n2,dog\n")
    put(tmp_path, "test.csv", "image_id\n3\n")
    source = open_folder(tmp_path)
    assert source.counts() == {"train": {"cat": 1, "dog": 1}}
    assert any("test split is left out" in note for note in source.reading().notes)


def test_the_images_folders_tell_the_split_of_one_table(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/1.png": 1, "test/1.png": 2})
    put(tmp_path, "labels.csv", "path,label\ntrain/1.png,cat\ntest/1.png,cat\n")
    assert open_folder(tmp_path).counts() == {"train": {"cat": 1}, "test": {"cat": 1}}


def test_a_column_of_splits_is_used(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "all.csv", "path,label,Split\nimages/1.png,cat,train\nimages/2.png,cat,TEST\n")
    assert open_csv(tmp_path).counts() == {"train": {"cat": 1}, "test": {"cat": 1}}


def test_names_that_lie_in_two_folders_are_taken_from_the_table_s_own(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/1.png": 1, "test/1.png": 2})
    put(tmp_path, "train.csv", "id,label\n1,cat\n")
    put(tmp_path, "test.csv", "id,label\n1,cat\n")
    assert sorted(entries_of(open_csv(tmp_path))) == [("test", "cat", 2), ("train", "cat", 1)]


def test_numbers_that_a_spreadsheet_made_floats_are_whole_again(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "x.csv", "path,label\nimages/1.png,0.0\nimages/2.png,1.0\nimages/3.png,10.0\n")
    assert list(open_csv(tmp_path).counts()["train"]) == ["0", "1", "10"]


def test_labels_keep_their_zeros(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "x.csv", "path,label\nimages/1.png,001\nimages/2.png,1\nimages/3.png,01\n")
    assert sorted(open_csv(tmp_path).counts()["train"]) == ["001", "01", "1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nimages/1.png,cat\nimages/9.png,dog\n",
         r"x\.csv row 1 names image 'images/9\.png', which is no file"),
        ("path,label\nimages/1.png,cat\nimages/2.png\n", "row 3 has 1 cells, the first one has 2"),
        ("path,label\nimages/1.png,cat\nimages/2.png,\n", "row 1 has no label"),
        ("path,a,b\nimages/1.png,1,0\n", r"label column .* not clear .*: give one of a, b"),
        ("path,path\nimages/1.png,1\n", "several columns 'path'"),
        ('path,label\n"images/1.png,cat\n', "holds no table of text|row"),
        ("a,b\nx,y\n", "holds no table of text with a column that names images"),
        (b"path,label\nimages/1.png,caf\xe9\n", "no UTF-8 .* save it as UTF-8"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x01a.", "no table of text"),
        ("path,label\nimages/1.png,cat\n../../x.png,dog\n", "row 1 names image"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "x.csv", text)
    with pytest.raises((SourceError, LabelError), match=message):
        list(open_csv(tmp_path).items())


def test_an_image_with_two_labels_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "x.csv", "path,label\nimages/1.png,cat\nimages/1.png,dog\n")
    with pytest.raises(LabelError, match=r"images/1\.png is named twice: as 'cat' and as 'dog'"):
        open_csv(tmp_path).counts()


def test_the_pattern_finds_classes_in_names(tmp_path: Path) -> None:
    files = {"train/cat.0.png": 1, "train/dog.0.png": 2, "train/dog.1.png": 3, "test1/1.png": 4}
    write_files(tmp_path, files)
    with pytest.raises(SourceError, match="in no class folders"):
        open_folder(tmp_path)
    source = open_folder(tmp_path, label_pattern="([a-z]+)[.]")
    assert source.counts() == {"train": {"cat": 1, "dog": 2}}
    assert [file.reason for file in source.reading().left_out] == ["no label"]
    with pytest.raises(
        SourceError, match=r"finds no class in .*train/cat\.0\.png, nor in 2 others"
    ):
        open_folder(tmp_path, label_pattern="(owl)")


def test_a_pattern_is_refused_where_folders_are_classes(tmp_path: Path) -> None:
    write_files(tmp_path, {"cat/1.png": 1, "dog/1.png": 1})
    with pytest.raises(SourceError, match=r"--label-pattern has no effect on .* class folders"):
        open_folder(tmp_path, label_pattern="(.)")


def test_a_sample_submission_is_no_table_of_labels(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES | {"test/9.png": 9})
    put(tmp_path, "labels.csv", "id,breed\n1,cat\n2,dog\n3,cat\n")
    put(tmp_path, "sampleSubmission.csv", "id,breed\n9,cat\n")
    source = open_csv(tmp_path)
    assert source.counts() == {"train": {"cat": 2, "dog": 1}}
    assert {f.place: f.reason for f in source.reading().left_out} == {
        "sampleSubmission.csv": ".csv", "test/9.png": "in no table",
    }  # fmt: skip


def test_a_table_that_names_few_of_the_images_does_not_decide(tmp_path: Path) -> None:
    write_files(tmp_path, {f"train/cat.{n}.png": n for n in range(8)} | {"test/1.png": 1})
    put(tmp_path, "extra.csv", "id,label\n1,0\n")
    with pytest.raises(SourceError, match="in no class folders"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sep=;\npath;label\nimages/1.png;cat\n", {"cat"}),
        ('path, label\nimages/1.png, "cat"\n', {"cat"}),
        ("path,label\n/home/bob/set/images/1.png,cat\n", {"cat"}),
        ("path,label\nC:\\data\\images\\1.png,cat\n", {"cat"}),
        ("path,label\nIMAGES/1.PNG,cat\n", {"cat"}),
        ("path,label\n../images/1.png,cat\n", {"cat"}),
    ],
)
def test_what_spreadsheets_and_other_machines_write_is_read(
    tmp_path: Path, text: str, expected: set[str]
) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "x.csv", text)
    assert set(open_csv(tmp_path).counts()["train"]) == expected


def test_labels_of_two_words_in_a_list(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "x.txt", "images/1.png sea lion\nimages/2.png cat\n")
    assert set(open_csv(tmp_path).counts()["train"]) == {"sea lion", "cat"}


def test_a_first_row_that_names_a_lost_image_is_no_header(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES)
    put(tmp_path, "x.csv", "images/9.png,cat\nimages/1.png,cat\nimages/2.png,dog\n")
    with pytest.raises(SourceError, match=r"row 0 names image 'images/9\.png', which is no file"):
        open_csv(tmp_path).counts()


def test_json_lines_keep_what_is_no_text(tmp_path: Path) -> None:
    write_files(tmp_path, IMAGES)
    rows = [{"file_name": "images/1.png", "label": ["a\u2028b"]}, {"file_name": "images/2.png"}]
    rows[1]["label"] = 7
    put(tmp_path, "x.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    with pytest.raises(LabelError, match="control character"):
        open_csv(tmp_path).counts()
    rows[0]["label"] = ["a", "b"]
    put(tmp_path, "x.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(LabelError, match="row 0 has 2 labels"):
        open_csv(tmp_path).counts()
    rows[0]["label"] = {"name": "a"}
    put(tmp_path, "x.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(LabelError, match="it must be a number or a text"):
        open_csv(tmp_path).counts()


def test_ids_that_two_folders_have_are_those_of_the_table_s_split(tmp_path: Path) -> None:
    write_files(tmp_path, {"train_images/1.png": 1, "test_images/1.png": 2})
    put(tmp_path, "train.csv", "image_id,label\n1,cat\n")
    assert entries_of(open_csv(tmp_path)) == [("train", "cat", 1)]


CELLS = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ("images/1.png", "1", "label", "path", '"', ",", "\n", "\t", ";", "-1", "\ufeff", "train")
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(CELLS, max_size=12).map("".join).map(str.encode) | st.binary(max_size=60),
    st.sampled_from(("x.csv", "x.tsv", "x.txt", "x.jsonl")),
)
def test_any_bytes_are_a_table_or_refused(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), IMAGES)
        put(Path(folder), name, data)
        with suppress(SourceError):
            source = open_csv(Path(folder))
            source.counts()
            assert all(isinstance(item.load(), bytes) for item in source.items())
