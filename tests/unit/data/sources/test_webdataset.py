"""WebDataset's shards as a source: samples, splits, and what is refused."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from archive_sample import (
    Members,
    named_store,
    numbered,
    open_shards,
    put_files,
    write_shard,
)
from source_sample import entries_of, level_of, png

from accrete.errors import EmptyClassError, SourceError
from accrete.store.object_store import ObjectStore


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


def test_a_class_of_the_test_shards_alone_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", numbered([0]))
    write_shard(tmp_path / "test.tar", numbered([1]))
    with pytest.raises(EmptyClassError, match="class '1'"):
        open_shards(tmp_path).counts()


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
