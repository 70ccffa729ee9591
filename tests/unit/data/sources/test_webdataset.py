"""WebDataset's shards as a source: samples, labels, splits, and what is refused."""

import json
import pickle
import random
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from archive_sample import (
    Members,
    named_store,
    numbered,
    open_shards,
    put_files,
    tar_of,
    write_shard,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from source_sample import entries_of, level_of, png, read_all

from accrete.errors import AccreteError, BadImageError, EmptyClassError, LabelError, SourceError
from accrete.store.object_store import ObjectStore


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
    ("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar", "w:gz")]
)
def test_samples_are_read_in_the_shard_s_order(tmp_path: Path, name: str, mode: str) -> None:
    write_shard(tmp_path / name, numbered([1, 0, 10, 2, 1]), mode)
    source = open_shards(tmp_path)
    assert list(source.counts()["train"].items()) == [("0", 1), ("1", 2), ("2", 1), ("10", 1)]
    expected = [("train", c, n) for n, c in enumerate(["1", "0", "10", "2", "1"])]
    assert entries_of(source) == entries_of(source) == expected
    assert next(iter(source.items())).place == f"{tmp_path}/{name}/s0000.png"


def test_images_are_read_by_many_threads_at_once(tmp_path: Path) -> None:
    for mode, name in (("w", "a.tar"), ("w:gz", "b.tar.gz")):
        write_shard(tmp_path / name, numbered([n % 3 for n in range(200)]), mode)
    items = list(open_shards(tmp_path).items())
    random.Random(0).shuffle(items)
    with ThreadPoolExecutor(8) as pool:
        levels = list(pool.map(level_of, items))
    assert levels == [int(item.place[-8:-4]) for item in items]


def test_images_that_are_far_apart_are_read_one_by_one(tmp_path: Path) -> None:
    members = numbered([0, 1])
    members[2:2] = [("s0000.txt.x", b"\0" * (3 << 20))]
    write_shard(tmp_path / "a.tar", members)
    assert entries_of(open_shards(tmp_path)) == [("train", "0", 0), ("train", "1", 1)]


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


CARD = b"""---
configs:
- config_name: small
  data_files: {train: "b.tar", test: "a.tar"}
- config_name: other
  data_files: "c.tar"
dataset_info:
  config_name: small
  features:
  - name: cls
    dtype: {class_label: {names: {"0": ant, "1": bee}}}
---
"""


def test_a_readme_says_which_shards_are_a_configuration_and_what_classes_are(
    tmp_path: Path,
) -> None:
    for number, name in enumerate("abc"):
        write_shard(tmp_path / f"{name}.tar", numbered([0, 1], 2 * number))
    (tmp_path / "README.md").write_bytes(CARD)
    with pytest.raises(SourceError, match="2 configurations: choose one of small, other"):
        open_shards(tmp_path)
    source = open_shards(tmp_path, subset="small")
    assert source.counts() == {"train": {"ant": 1, "bee": 1}, "test": {"ant": 1, "bee": 1}}
    reading = source.reading()
    assert "configuration small" in reading.layout
    assert "other configurations are other: --config chooses" in reading.notes
    assert ("c.tar", "another config") in [(f.place, f.reason) for f in reading.left_out]
    assert open_shards(tmp_path, subset="other").counts() == {"train": {"0": 1, "1": 1}}
    before = source.fingerprint()
    (tmp_path / "README.md").write_bytes(CARD.replace(b"bee", b"wasp"))
    assert open_shards(tmp_path, subset="small").fingerprint() != before


def test_a_shard_without_a_sample_is_said(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", numbered([0]))
    write_shard(tmp_path / "b.tar", [])
    assert open_shards(tmp_path).reading().notes == ("1 shard without a sample: 'b.tar'",)


def test_a_sample_reads_no_more_than_its_own_bytes(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "0.tar", numbered([n % 2 for n in range(200)]))
    write_shard(tmp_path / "1.tar", numbered([0, 1], 200))
    location = put_files(named_store(store, monkeypatch), tmp_path, "source")
    items = open_shards(location).sample(10)
    lengths = []
    read_range = ObjectStore.read_range

    def noted(self: ObjectStore, key: str, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read_range(self, key, offset, length)

    monkeypatch.setattr(ObjectStore, "read_range", noted)
    assert [level_of(item) for item in items] == [n * 202 // 10 for n in range(10)]
    assert len(lengths) == 10
    assert max(lengths) < 100


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


def test_of_several_images_the_given_one_is_used(tmp_path: Path) -> None:
    members = [("0.jpg", png(1)), ("0.seg.png", png(2)), ("0.cls", b"0")]
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(SourceError, match=r"several images: .* \.jpg, \.seg\.png .*--image-column"):
        open_shards(tmp_path).counts()
    assert entries_of(open_shards(tmp_path, image_column="seg.png")) == [("train", "0", 2)]
    with pytest.raises(SourceError, match=r"has no \.bmp \(--image-column\)"):
        open_shards(tmp_path, image_column="bmp").counts()


def test_folders_are_part_of_a_key_and_what_is_no_sample_is_counted(tmp_path: Path) -> None:
    members = [
        *[("./x/0.png", png(1)), ("./x/0.cls", b"0"), ("x.y/0.png", png(2)), ("x.y/0.cls", b"1")],
        *[("._x", b""), ("README", b"hello"), ("LICENSE", b"")],
    ]
    write_shard(tmp_path / "a.tar", members)
    source = open_shards(tmp_path)
    assert entries_of(source) == [("train", "0", 1), ("train", "1", 2)]
    reasons = {entry.reason: entry.place for entry in source.reading().left_out}
    assert reasons == {
        "hidden": f"{tmp_path}/a.tar/._x",
        "no extension": f"{tmp_path}/a.tar/README and 1 more",
    }


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([*numbered([0]), ("b.cls", b"0")], "sample 'b' has no image"),
        ([*numbered([0]), ("b.png", png(1))], "sample 'b' has no label"),
        ([*numbered([0]), ("b.png", png(1)), ("b.cls", b"")], "sample 'b' .cls is empty"),
        ([*numbered([0, 1]), *numbered([0])], "has sample 's0000' twice"),
        ([*numbered([0]), ("s0000.cls", b"1")], "has 'cls' twice"),
        ([*numbered([0]), ("b.png", png(1)), ("b.cls", b"\xff\xfe")], "no UTF-8"),
        ([*numbered([0]), ("b.png", png(1)), ("b.cls", b"x" * 5000)], "over 4,096 bytes"),
        ([("b.png", png(1)), ("b.cls", pickle.dumps(3))], "a pickle, which is never loaded"),
        ([("b.png", png(1)), ("b.json", b"[1, 2]")], "no label that is found by itself"),
        ([("b.png", png(1)), ("b.json", b"{")], "not JSON"),
        ([("b.png", png(1)), ("b.json", b" " * (2 << 20))], "over 1,048,576 bytes"),
        ([(f"i.{n}.png", png(n)) for n in range(101)], "first dot"),
        ([*numbered([0, -3])], "label -3"),
        ([*numbered([0, -1])], "label -1"),
        ([*numbered(["a\tb"])], "control character"),
    ],
)
def test_a_sample_that_cannot_be_used_is_named(
    tmp_path: Path, members: Members, message: str
) -> None:
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(SourceError, match=r"a\.tar") as caught:
        open_shards(tmp_path).counts()
    assert message in str(caught.value)


def test_pickled_members_are_left_out_unread(tmp_path: Path) -> None:
    members = [("0.png", png(1)), ("0.cls", b"0"), ("0.pyd", pickle.dumps(print)), ("0.pth", b"x")]
    write_shard(tmp_path / "a.tar", members)
    source = open_shards(tmp_path)
    assert source.counts() == {"train": {"0": 1}}
    assert [entry.reason for entry in source.reading().left_out] == [".pth", ".pyd"]


def test_paths_that_lead_out_of_a_shard_are_but_names(tmp_path: Path) -> None:
    outside = [("/etc/x.png", png(1)), ("/etc/x.cls", b"0"), ("../../y.png", png(2))]
    write_shard(tmp_path / "a.tar", [*outside, ("../../y.cls", b"1")])
    assert entries_of(open_shards(tmp_path)) == [("train", "0", 1), ("train", "1", 2)]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train-0.tar", "x_train_1.tar", "test.tar"), ("train", "train", "test")),
        (("train/0.tar", "test/0.tar"), ("train", "test")),
        (("training/0.tar", "my.eval/0.tar", "dev/0.tar"), ("train", "test", "validation")),
        (("a/train/0.tar", "a/valid/0.tar"), ("train", "test")),
        (("train/test/0.tar", "train/0.tar"), ("test", "train")),
        (("train/val-0.tar", "test/0.tar"), ("train", "test")),
        (("0.tar", "1.tar", "contest.tar"), ("train", "train", "train")),
        (("imagenet-train-000.tar", "imagenet-val-000.tar"), ("train", "test")),
    ],
)
def test_splits_are_found_in_names(
    tmp_path: Path, names: tuple[str, ...], splits: tuple[str, ...]
) -> None:
    for number, name in enumerate(names):
        write_shard(tmp_path / name, numbered([0], number))
    found = {level: split for split, _, level in entries_of(open_shards(tmp_path))}
    assert tuple(found[number] for number in range(len(names))) == splits


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train.tar", "more.tar"), r"more\.tar lies beside files of splits, .*--exclude"),
        (("test.tar", "val.tar"), "test and validation, but none to train on"),
        (("train-test.tar", "train.tar"), r"train-test\.tar lies beside files of splits"),
    ],
)
def test_splits_that_are_not_clear_are_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for name in names:
        write_shard(tmp_path / name, numbered([0]))
    with pytest.raises(SourceError, match=message):
        open_shards(tmp_path)


@pytest.mark.parametrize("exclude", ["more.tar", "*.txt, more*", "more.*,", "x/"])
def test_excluded_shards_are_not_read(tmp_path: Path, exclude: str) -> None:
    write_shard(tmp_path / "train.tar", numbered([0]))
    write_shard(tmp_path / ("x/y/z.tar" if exclude == "x/" else "more.tar"), [("bad", b"")])
    source = open_shards(tmp_path, exclude=exclude)
    assert source.counts() == {"train": {"0": 1}}


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


def test_a_class_of_the_test_shards_alone_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", numbered([0]))
    write_shard(tmp_path / "test.tar", numbered([1]))
    with pytest.raises(EmptyClassError, match="class '1'"):
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


def test_the_fingerprint_follows_contents_and_splits(tmp_path: Path) -> None:
    write_shard(tmp_path / "train-0.tar", numbered([0, 1]))
    first = open_shards(tmp_path).fingerprint()
    (tmp_path / "notes.md").write_text("nothing")
    assert open_shards(tmp_path).fingerprint() == first
    write_shard(tmp_path / "train-0.tar", numbered([1, 0]))
    second = open_shards(tmp_path).fingerprint()
    (tmp_path / "train-0.tar").rename(tmp_path / "train-1.tar")
    assert len({first, second, open_shards(tmp_path).fingerprint()}) == 3


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar.zst").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"holds no shard: it needs \.tar"):
        open_shards(tmp_path)


WHOLE = tar_of(numbered([0, 1, 2]))


def header_of(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """Return a header with any size field."""
    header = bytearray(tarfile.TarInfo(name).tobuf()[:512])
    header[124:136], header[156:157] = size, kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


END = b"\0" * 1024


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no whole tar archive"),
        (b"text" * 200, "no whole tar archive"),
        (pickle.dumps([1] * 300, protocol=4), "it is a pickle, which is never loaded"),
        (WHOLE[:700], "no whole tar archive"),
        (WHOLE[:1024], "without the zeros that end"),
        (
            WHOLE[:512] + WHOLE[512:1024] + b"\1" * 512 + WHOLE[1536:],
            "damaged header at byte 1,024",
        ),
        (WHOLE + WHOLE, "more after its end"),
        (header_of("a.png", b"\xff" * 12) + END, "damaged"),
        (header_of("a.png", b"\x80" + b"\x7f" * 11) + END, "no whole tar archive"),
        (header_of("x", b"77777777777\0", b"x") + END, "header is over 65,536 bytes"),
        (header_of("x", b"\xff" * 12, b"L") + END, "no whole tar archive"),
        (header_of("x", b"00000000000\0", b"S") + END, "no whole tar archive|sparse"),
        (header_of("x", b"00000000000\0", b"L") * 400 + END, "header is over"),
        (b"\x1f\x8b" + b"\0" * 50, "cannot be read|no whole tar archive"),
        (tar_of(numbered([0, 1]), "w:gz")[:-30], "no whole tar|cut short|cannot be read"),
    ],
)
def test_a_damaged_shard_is_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(SourceError, match=message) as caught:
        open_shards(tmp_path).counts()
    assert f"{tmp_path}/a.tar" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_that_is_too_large_is_a_bad_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "a.tar", numbered([0]))
    monkeypatch.setattr("accrete.data.images.MAX_FILE_BYTES", 10)
    (item,) = open_shards(tmp_path).items()
    with pytest.raises(BadImageError, match=r"a\.tar/s0000\.png .*--on-bad-image skip"):
        item.load()


def test_a_shard_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", numbered([0, 1]))
    items = list(open_shards(tmp_path).items())
    (tmp_path / "a.tar").write_bytes(WHOLE[:600])
    with pytest.raises(SourceError, match="ends before its images do"):
        items[1].load()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), packed=st.booleans())
def test_damage_is_refused_or_changes_nothing_but_content(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, packed: bool
) -> None:
    whole = bytearray(tar_of(numbered([0, 1, 0]), "w:gz" if packed else "w"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(len(whole) // 2, len(whole))) :]
    path = tmp_path_factory.mktemp("shards") / "a.tar"
    path.write_bytes(whole)
    try:
        source = open_shards(path.parent)
        read_all(source)
        source.reading()
    except AccreteError as error:
        assert "\n" not in str(error)  # noqa: PT017  most damage is refused, not all


def test_shards_are_read_from_an_object_store_in_few_requests(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "train" / "0.tar", numbered([n % 2 for n in range(120)]))
    write_shard(tmp_path / "train" / "1.tar.gz", numbered([0, 1], 120), "w:gz")
    write_shard(tmp_path / "test" / "0.tar", numbered([1, 0], 122))
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    location = put_files(named_store(store, monkeypatch), tmp_path, "source")
    local, remote = open_shards(tmp_path), open_shards(location)
    assert remote.counts() == local.counts()
    assert remote.reading() == local.reading()
    assert entries_of(remote) == entries_of(local)
    num_requests = 0
    read_range = ObjectStore.read_range

    def counted(self: ObjectStore, key: str, offset: int, length: int) -> bytes:
        nonlocal num_requests
        num_requests += 1
        return read_range(self, key, offset, length)

    monkeypatch.setattr(ObjectStore, "read_range", counted)
    with ThreadPoolExecutor(8) as pool:
        levels = list(pool.map(level_of, open_shards(location).items()))
    assert sorted(levels) == list(range(124))
    assert num_requests < 20


def test_a_shard_that_is_damaged_in_the_object_store_is_named(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train-0.tar").write_bytes(WHOLE[:1500])
    location = put_files(named_store(store, monkeypatch), tmp_path, "source")
    with pytest.raises(SourceError, match=rf"{location}/train-0\.tar .*download it again"):
        open_shards(location).counts()


def test_of_several_bad_shards_the_first_is_named(tmp_path: Path) -> None:
    for number in range(20):
        bad = number in (7, 8, 19)
        write_shard(tmp_path / f"{number:02}.tar", [("x.cls", b"0")] if bad else numbered([0]))
    with pytest.raises(SourceError, match=r"07\.tar sample 'x' has no image"):
        open_shards(tmp_path).counts()


def test_other_members_of_many_shards_are_counted_together(tmp_path: Path) -> None:
    for number in range(5):
        write_shard(tmp_path / f"{number}.tar", [*numbered([0, 1]), ("x", b""), ("y", b"")])
    places = [entry.place for entry in open_shards(tmp_path).reading().left_out]
    assert places == [f"{tmp_path}/0.tar/x and 9 more"]


def test_no_sample_at_all_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [])
    write_shard(tmp_path / "b.tar", [("README", b"")])
    with pytest.raises(EmptyClassError, match="has no class with images"):
        open_shards(tmp_path).counts()
    open_shards(tmp_path).reading()
