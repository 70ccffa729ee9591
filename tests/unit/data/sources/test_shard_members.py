"""What stands in a shard beside whole samples: links, notes, junk, members that lie apart."""

import gzip
import subprocess
import tarfile
from pathlib import Path

import pytest
from archive_sample import Members, linked, numbered, open_shards, write_shard
from source_sample import entries_of, level_of, png

from accrete.errors import LabelError, SourceError


@pytest.mark.parametrize("is_packed", [False, True])
def test_hard_links_are_the_files_that_they_name(tmp_path: Path, is_packed: bool) -> None:
    hard = tarfile.LNKTYPE
    links = [("t.png", "s0001.png", hard), ("t.cls", "s0001.cls", hard), ("u.cls", "t.cls", hard)]
    links += [("u.png", "s0000.png", hard), ("v.cls", "s0000.cls", hard), ("v.png", "u.png", hard)]
    data = linked(links, numbered([0, 1, 0]))
    (tmp_path / "a.tar").write_bytes(gzip.compress(data) if is_packed else data)
    source = open_shards(tmp_path)
    expected = [("0", 0), ("1", 1), ("0", 2), ("1", 1), ("1", 0), ("0", 0)]
    assert [entry[1:] for entry in entries_of(source)] == expected
    assert [level_of(item) for item in source.sample(99)] == [level for _, level in expected]
    assert source.reading().left_out == ()


def test_tar_s_own_hard_links_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in numbered([0, 1]):
        (folder / name).write_bytes(data)
    (folder / "s0002.png").hardlink_to(folder / "s0000.png")
    (folder / "s0002.cls").hardlink_to(folder / "s0001.cls")
    subprocess.run(["tar", "--sort=name", "-cf", tmp_path / "a.tar", "-C", folder, "."], check=True)
    assert entries_of(open_shards(tmp_path)) == [
        ("train", "0", 0),
        ("train", "1", 1),
        ("train", "1", 0),
    ]


def test_a_hard_link_to_nothing_is_refused(tmp_path: Path) -> None:
    links = [("t.png", "/etc/passwd", tarfile.LNKTYPE)]
    (tmp_path / "a.tar").write_bytes(linked(links, numbered([0])))
    with pytest.raises(SourceError, match=r"a\.tar has 't\.png' as a hard link to '/etc/passwd'"):
        open_shards(tmp_path).counts()


def test_a_packed_shard_of_many_linked_labels_is_refused(tmp_path: Path) -> None:
    members = numbered([n % 2 for n in range(101)])
    links = [(f"t{name}", name, tarfile.LNKTYPE) for name, _ in members]
    data = linked(links, members)
    (tmp_path / "a.tar").write_bytes(data)
    assert sum(open_shards(tmp_path).counts()["train"].values()) == 202
    (tmp_path / "a.tar").write_bytes(gzip.compress(data))
    with pytest.raises(SourceError, match=r"over 100 files, .* write it as a plain \.tar"):
        open_shards(tmp_path).counts()


@pytest.mark.parametrize(
    ("links", "members", "message"),
    [
        (["t.png"], [("t.cls", b"0")], "sample 't' has no image: its .png is a link"),
        (["t.cls"], [("t.png", png(0))], "sample 't' has no label: its .cls is a link"),
        (["t.cls", "t.png"], [], "sample 't' has no image: its .png is a link"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_sample_that_is_a_link_is_refused_with_how_to_write_it(
    tmp_path: Path, links: list[str], members: Members, message: str, is_first: bool
) -> None:
    data = linked(
        [(name, f"../{name}", tarfile.SYMTYPE) for name in links],
        members if is_first else [*numbered([0]), *members],
    )
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(LabelError) as caught:
        open_shards(tmp_path).counts()
    assert message in str(caught.value)
    assert "tar --dereference" in str(caught.value)


def test_links_and_devices_that_no_sample_needs_are_counted(tmp_path: Path) -> None:
    links = [("all", "..", tarfile.SYMTYPE), ("last.md", "x.md", tarfile.SYMTYPE)]
    links += [("null", "", tarfile.CHRTYPE), ("x", "", tarfile.DIRTYPE)]
    links += [("hard.md", "last.md", tarfile.LNKTYPE)]
    (tmp_path / "a.tar").write_bytes(linked(links, numbered([0, 1])))
    source = open_shards(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 1}}
    assert [(f.reason, f.place) for f in source.reading().left_out] == [
        ("a link", f"{tmp_path}/a.tar/all and 2 more"),
        ("no regular file", f"{tmp_path}/a.tar/null"),
    ]


NOTES: Members = [
    *[("README.md", b"# hi"), ("README.txt", b"hi"), ("LICENSE", b""), ("a/Thumbs.db", b"x")],
    *[("./._s0000.png", b"x"), ("__MACOSX/s0000.png", b"x"), ("a/.DS_Store", b"x")],
    ("stats/all.csv", b"1,2"),
]


@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_neither_image_nor_label_is_left_out_by_reason(
    tmp_path: Path, is_first: bool
) -> None:
    good = numbered([0, 1])
    write_shard(tmp_path / "a.tar", [*NOTES, *good] if is_first else [*good, *NOTES])
    source = open_shards(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 1}}
    assert [
        (f.reason, f.place.removeprefix(f"{tmp_path}/a.tar")) for f in source.reading().left_out
    ] == [
        (".csv", " sample 'stats/all' .csv"),
        (".md", " sample 'README' .md"),
        (".txt", " sample 'README' .txt"),
        ("Thumbs.db", "/a/Thumbs.db"),
        ("__MACOSX", "/__MACOSX/s0000.png"),
        ("hidden", "/./._s0000.png and 1 more"),
        ("no extension", "/LICENSE"),
    ]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_label_without_its_image_is_refused_wherever_it_lies(
    tmp_path: Path, is_first: bool
) -> None:
    good, lone = numbered([0, 1]), [("a.cls", b"0")]
    write_shard(tmp_path / "a.tar", [*lone, *good] if is_first else [*good, *lone])
    with pytest.raises(SourceError, match=r"sample 'a' has no image, it has \.cls"):
        open_shards(tmp_path).counts()


def test_a_shard_of_other_things_than_images_says_what_there_is(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [("0.raw", b"x"), ("0.cls", b"0"), ("1.raw", b"x")])
    with pytest.raises(SourceError, match=r"'0' has no image, it has \.raw, \.cls"):
        open_shards(tmp_path).counts()


@pytest.mark.parametrize(
    ("members", "other"),
    [
        (
            [("i/0.png", png(0)), ("i/1.png", png(1)), ("l/0.txt", b"0"), ("l/1.txt", b"1")],
            "l/0.txt",
        ),
        (
            [("l/0.txt", b"0"), ("l/1.txt", b"1"), ("i/0.png", png(0)), ("i/1.png", png(1))],
            "l/0.txt",
        ),
        ([("0.png", png(0)), ("1.png", png(1)), ("0.cls", b"0"), ("1.cls", b"1")], "0.cls"),
        ([*numbered([0, 1]), ("a.cls", b"0"), ("b.cls", b"0"), ("a.png", png(0))], "a.png"),
    ],
)
def test_members_of_a_sample_that_lie_apart_are_told_with_how_to_write_them(
    tmp_path: Path, members: Members, other: str
) -> None:
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(SourceError, match="tar --sort=name") as caught:
        open_shards(tmp_path).counts()
    assert f"{other!r} is not beside it" in str(caught.value)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_git_lfs_pointer_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(SourceError, match="Git LFS pointer, not the file itself; run git lfs pull"):
        open_shards(tmp_path).counts()
