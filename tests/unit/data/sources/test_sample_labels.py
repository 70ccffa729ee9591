"""Labels of WebDataset's samples: which member, which class, and what is none."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from archive_sample import (
    Members,
    numbered,
    open_shards,
    write_shard,
)
from source_sample import png

from accrete.errors import LabelError, SourceError


def with_json(values: Sequence[Any]) -> Members:
    return [
        member
        for number, value in enumerate(values)
        for member in (
            (f"s{number:04}.json", json.dumps(value).encode()),
            (f"s{number:04}.png", png(number)),
        )
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *[(3, "3"), (3.0, "3"), (True, "true"), ("cat", "cat"), (" cat\n", "cat"), ("3", "3")],
        *[([3], "3"), (["cat"], "cat"), ("03", "03"), ("3.0", "3")],
    ],
)
@pytest.mark.parametrize("is_bare", [False, True])
def test_a_json_label_is_a_number_or_text_by_itself_or_under_a_key(
    tmp_path: Path, value: Any, name: str, is_bare: bool
) -> None:
    write_shard(tmp_path / "a.tar", with_json([value if is_bare else {"label": value, "x": 1}]))
    assert open_shards(tmp_path).counts() == {"train": {name: 1}}
    assert open_shards(tmp_path, label_column="json").counts() == {"train": {name: 1}}


def test_json_that_is_an_object_in_one_sample_only_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", with_json([{"label": 1}, 1]))
    with pytest.raises(LabelError, match=r"'s0001' \.json is no JSON object"):
        open_shards(tmp_path).counts()
    write_shard(tmp_path / "a.tar", with_json([1, {"label": 1}]))
    with pytest.raises(LabelError, match=r"'s0001' \.json is 'dict'"):
        open_shards(tmp_path).counts()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1", "01", "001"], {"1": 1, "01": 1, "001": 1}),
        (["0", "1", "cat"], {"0": 1, "1": 1, "cat": 1}),
        (["0.0", "1.0", "1"], {"0": 1, "1": 2}),
        (["0.0", "0.5"], {"0.0": 1, "0.5": 1}),
        (["+1", "1"], {"+1": 1, "1": 1}),
        (["2", "10"], {"2": 1, "10": 1}),
    ],
)
def test_text_is_a_number_where_all_of_it_is(
    tmp_path: Path, labels: list[str], classes: dict[str, int]
) -> None:
    for number, label in enumerate(labels):
        write_shard(tmp_path / f"{number}.tar", numbered([label], number))
    (tmp_path / "classes.txt").write_text("a\nb\n" + "\n".join("cdefghijk"))
    counts = open_shards(tmp_path, exclude="classes.txt").counts()
    assert counts == {"train": classes}
    are_numbers = list(classes) in (["0", "1"], ["2", "10"])
    source = open_shards(tmp_path)
    assert (source.counts() == counts) is not are_numbers
    said = "labels are names: classes.txt names numbers, unused here"
    assert (said in source.reading().notes) is not are_numbers


@pytest.mark.parametrize("hidden", [-1, "-1.0"])
def test_hidden_labels_are_hidden_among_text_too(tmp_path: Path, hidden: object) -> None:
    write_shard(tmp_path / "train.tar", numbered(["cat", "dog"] if hidden == -1 else ["0", "1"]))
    write_shard(tmp_path / "test.tar", numbered([hidden, hidden]))
    assert list(open_shards(tmp_path).counts()) == ["train"]


def test_hidden_labels_to_train_on_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", numbered([-1, -1]))
    write_shard(tmp_path / "test.tar", numbered([0, 1]))
    with pytest.raises(LabelError, match=r"train\.tar sample 's0000' has label -1: it must be 0"):
        open_shards(tmp_path).counts()


def test_captions_are_no_labels(tmp_path: Path) -> None:
    members: Members = []
    for number in range(30):
        key = f"{number:02}"
        extra = json.dumps({"caption": "x", "url": "y"}).encode()
        members += [(f"{key}.jpg", png(number)), (f"{key}.json", extra)]
        members += [(f"{key}.txt", f"a picture of {number}".encode())]
    write_shard(tmp_path / "a.tar", members)
    message = r"label \.txt has 30 classes in 30 samples .* choose one of caption, url with --label"
    with pytest.raises(SourceError, match=message):
        open_shards(tmp_path).counts()
    write_shard(tmp_path / "a.tar", numbered(range(30)))
    with pytest.raises(SourceError, match=r"label \.cls has 30 classes in 30 samples"):
        open_shards(tmp_path).counts()
    write_shard(tmp_path / "a.tar", numbered([n // 2 + n % 2 for n in range(30)]))
    assert len(open_shards(tmp_path).counts()["train"]) == 16


@pytest.mark.parametrize("value", [None, 0.5, [1, 2], [], {"id": 1}, "", "  ", 10**30, -2])
def test_a_json_label_that_names_no_class_is_refused(tmp_path: Path, value: Any) -> None:
    write_shard(tmp_path / "a.tar", with_json([{"label": 0}, {"label": value}]))
    with pytest.raises(LabelError, match=r"a\.tar sample 's0001'"):
        open_shards(tmp_path).counts()


def test_which_member_is_the_label_is_found_in_a_stated_order_and_said(tmp_path: Path) -> None:
    members: Members = []
    for number in range(2):
        both = {"fine_label": 7, "class_name": "owl", "caption": "an owl"}
        members += [
            (f"{number}.jpg", png(number)),
            (f"{number}.json", json.dumps(both).encode()),
            (f"{number}.txt", b"an owl on a tree"),
        ]
    write_shard(tmp_path / "a.tar", members)
    source = open_shards(tmp_path)
    assert source.counts() == {"train": {"owl": 2}}
    assert source.reading().columns == (
        "image: .jpg, the only image of each sample",
        "label: .json 'class_name', before .txt, .json 'fine_label'",
    )
    left_out = source.reading().left_out
    assert [(entry.reason, entry.place) for entry in left_out] == [
        (".txt", f"{tmp_path}/a.tar sample '0' .txt and 1 more")
    ]


@pytest.mark.parametrize(
    ("column", "name"),
    [("fine_label", "7"), ("txt", "a tree"), (".txt", "a tree"), ("json", "owl"), ("id", "12")],
)
def test_the_label_that_is_given_is_used(tmp_path: Path, column: str, name: str) -> None:
    both = json.dumps({"fine_label": 7, "class_name": "owl", "id": "12"}).encode()
    write_shard(tmp_path / "a.tar", [("0.jpg", png(0)), ("0.json", both), ("0.txt", b"a tree")])
    assert open_shards(tmp_path, label_column=column).counts() == {"train": {name: 1}}


def test_a_label_that_is_given_and_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", with_json([{"id": 1, "kind": 2}]))
    with pytest.raises(LabelError, match=r"'y', but .* has \.json, \.png with 'id', 'kind'"):
        open_shards(tmp_path, label_column="y").counts()
    with pytest.raises(LabelError, match=r"no label .* with 'id', 'kind': .*--label-column"):
        open_shards(tmp_path).counts()


def test_a_split_of_hidden_labels_is_left_out_and_said(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", numbered([0, 1]))
    write_shard(tmp_path / "val.tar", numbered([1, 0, 0]))
    write_shard(tmp_path / "test.tar", numbered([-1, -1]))
    source = open_shards(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 1}, "test": {"0": 2, "1": 1}}
    assert source.reading().notes == ("split test is left out: its labels are hidden (-1)",)
    write_shard(tmp_path / "test.tar", numbered([-1, 1]))
    with pytest.raises(LabelError, match=r"test\.tar sample 's0000' has label -1"):
        open_shards(tmp_path).counts()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classnames.txt", "zebra\r\nant\nowl\n\n"),
        ("x/classes.txt", "zebra\nant\nowl"),
        ("class_to_idx.json", '{"ant": 1, "owl": 2, "zebra": 0}'),
    ],
)
def test_numbers_are_named_by_a_file_beside_the_shards(
    tmp_path: Path, name: str, text: str
) -> None:
    write_shard(tmp_path / "x" / "train.tar", numbered([1, 0, 1]))
    (tmp_path / name).write_text(text)
    source = open_shards(tmp_path)
    assert list(source.counts()["train"].items()) == [("zebra", 1), ("ant", 2)]
    said = f"classes are named by {name}; 1 of those have no image"
    assert source.reading().notes == (said,)
    before = source.fingerprint()
    (tmp_path / name).write_text(text.replace("ant", "bee"))
    assert open_shards(tmp_path).fingerprint() != before
    assert "0" in open_shards(tmp_path, exclude=name).counts()["train"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "zebra\n", r"label 1, but classes\.txt names 1 classes"),
        ("classes.txt", "a\n\nb\n", r"classes\.txt does not name the classes \(line 2 is empty"),
        ("classes.txt", "", "it is empty"),
        ("classes.txt", "version https://git-lfs.github.com/spec/v1\noid x\n", "Git LFS pointer"),
        ("classes.txt", b"\xff\xff".decode("latin1"), None),
        ("class_to_idx.json", '{"a": 1}', r"numbers are not 0\.\.0"),
        ("class_to_idx.json", "[]", "no object"),
        ("class_to_idx.json", "{", "does not name the classes"),
    ],
)
def test_a_list_of_classes_that_is_none_is_refused(
    tmp_path: Path, name: str, text: str, message: str | None
) -> None:
    write_shard(tmp_path / "train.tar", numbered([1, 0, 1]))
    data = text.encode() if message else text.encode("latin1")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message or "no UTF-8"):
        open_shards(tmp_path).counts()


def test_a_list_that_names_a_class_twice_leaves_the_numbers(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", numbered([1, 0, 1]))
    (tmp_path / "classes.txt").write_text("crane\nowl\ncrane\n")
    source = open_shards(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 2}}
    assert "names 'crane' twice" in source.reading().notes[0]
