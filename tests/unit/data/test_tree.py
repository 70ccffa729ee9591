"""What lies below a folder: links, pipes, closed folders and odd names."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accrete.data.sources.tree import scan
from accrete.errors import SourceError

PNG = (".png",)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_of_the_kinds_asked_for_are_found_and_others_counted(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.PNG", "a/1.png", "a/deep/x.png", "a/notes.txt", "z.csv")
    (tmp_path / "empty").mkdir()
    tree = scan(tmp_path, PNG)
    assert tree.names == ("a/1.png", "a/deep/x.png", "b/2.PNG")
    assert tree.folders == ("a", "a/deep", "b", "empty")
    assert tree.num_others == 2


def test_a_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/a/1.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert scan(tmp_path / "link", PNG).names == ("a/1.png",)


def test_a_link_to_a_file_of_the_same_folder_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.png").symlink_to("../a/1.png")
    assert scan(tmp_path, PNG).names == ("a/1.png", "b/2.png")


def test_a_link_to_a_folder_beside_whose_name_begins_alike_leads_out(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.png", "photos-private/2.png")
    (tmp_path / "photos" / "a" / "2.png").symlink_to(tmp_path / "photos-private" / "2.png")
    with pytest.raises(SourceError, match=r"a/2\.png is a link that leads out of the folder"):
        scan(tmp_path / "photos", PNG)


@pytest.mark.parametrize("target", ["..", ".", "/usr", "a"])
def test_a_link_to_any_folder_is_refused_by_name(tmp_path: Path, target: str) -> None:
    touch(tmp_path, "a/1.png")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(SourceError, match="link is a link to a folder"):
        scan(tmp_path, PNG)


def test_links_pipes_and_folders_that_are_no_images_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    (tmp_path / "a" / "gone.txt").symlink_to("nowhere")
    (tmp_path / ".git").symlink_to("/usr")
    os.mkfifo(tmp_path / "a" / "pipe")
    (tmp_path / "folder.png").mkdir()
    tree = scan(tmp_path, PNG)
    assert (tree.names, tree.num_others) == (("a/1.png",), 3)


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null"])
def test_a_link_to_a_device_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "x.png").symlink_to(target)
    with pytest.raises(SourceError, match=r"x\.png is no regular file"):
        scan(tmp_path, PNG)


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
                scan(folder, PNG)
        finally:
            (folder / "b").chmod(0o755)
