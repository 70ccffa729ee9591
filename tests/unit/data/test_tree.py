"""What lies below a folder: links, pipes, closed folders and odd names."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accrete.data.sources.tree import scan
from accrete.errors import SourceError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path) -> list[str]:
    return list(scan(folder).sizes)


def test_files_and_folders_are_found_at_any_depth_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.PNG", "a/1.png", "a/deep/x.png", "a/notes.txt", "z.csv")
    (tmp_path / "a" / "1.png").write_bytes(b"12345")
    (tmp_path / "empty").mkdir()
    tree = scan(tmp_path)
    assert list(tree.sizes) == ["a/1.png", "a/deep/x.png", "a/notes.txt", "b/2.PNG", "z.csv"]
    assert tree.folders == ("a", "a/deep", "b", "empty")
    assert (tree.sizes["a/1.png"], tree.sizes["z.csv"], tree.odd) == (5, 0, {})


def test_a_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/a/1.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert names(tmp_path / "link") == ["a/1.png"]


def test_links_to_files_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    touch(tmp_path, "snapshot/a/1.png", "blobs/ab12")
    (tmp_path / "snapshot/a/2.png").symlink_to("1.png")
    (tmp_path / "snapshot/a/3.png").symlink_to("../../blobs/ab12")
    assert names(tmp_path / "snapshot") == ["a/1.png", "a/2.png", "a/3.png"]


def test_a_link_to_a_folder_is_followed_and_keeps_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.png", "elsewhere/x/2.png")
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "photos") == ["a/1.png", "b/x/2.png"]
    assert scan(tmp_path / "photos").folders == ("a", "b", "b/x")


@pytest.mark.parametrize("target", ["..", ".", "a", "../photos/a"])
def test_a_link_to_a_folder_that_is_read_already_is_refused(tmp_path: Path, target: str) -> None:
    touch(tmp_path, "photos/a/1.png")
    (tmp_path / "photos" / "link").symlink_to(target)
    with pytest.raises(SourceError, match=r"link(/photos)? leads to .* read already"):
        scan(tmp_path / "photos")


def test_two_links_to_one_folder_do_not_count_it_twice(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.png", "more/2.png")
    for name in ("b", "c"):
        (tmp_path / "photos" / name).symlink_to("../more")
    with pytest.raises(SourceError, match=r"photos/c leads to .*photos/b, whose files are read"):
        scan(tmp_path / "photos")


def test_what_is_no_file_is_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    (tmp_path / "a" / "gone.png").symlink_to("nowhere")
    (tmp_path / "a" / "loop.png").symlink_to("loop.png")
    (tmp_path / "a" / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "a" / "pipe")
    tree = scan(tmp_path)
    assert list(tree.sizes) == ["a/1.png"]
    assert {name: text.split(":")[0] for name, text in tree.odd.items()} == {
        "a/gone.png": "cannot be read (No such file or directory)",
        "a/loop.png": "cannot be read (Too many levels of symbolic links)",
        "a/pipe": "is no regular file (a pipe or a device)",
        "a/zero.png": "is no regular file (a pipe or a device)",
    }


def test_links_in_hidden_folders_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", ".git/x")
    (tmp_path / ".git" / "link").symlink_to("/usr")
    assert names(tmp_path) == [".git/x", "a/1.png"]


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_read_is_refused_and_not_left_out() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        touch(folder, "a/1.png", "b/2.png")
        (folder / "b").chmod(0)
        try:
            with nobody(), pytest.raises(SourceError, match=r"/b cannot be read \(Permission"):
                scan(folder)
        finally:
            (folder / "b").chmod(0o755)
