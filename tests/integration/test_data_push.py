"""`accrete data push`: files of this machine into a real store, sent once and found again."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from by_steps import enter_pod
from click.testing import CliRunner, Result
from conftest import Cli
from PIL import Image

from accrete.cli.main import accrete
from accrete.data.pushing import find_files, push_files
from accrete.errors import AccreteError, InputError, SourceError, StoreError
from accrete.store import keys
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri

LARGE_BYTES = 11 << 20
"""Three parts of minio-py's."""

SNAPSHOT = keys.snapshot_key("ab" * 32, 7, "cd" * 32, 5).rpartition("/")[2]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of two pictures."""
    for number in range(4):
        path = tmp_path / "photos" / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * number).save(path)
    return tmp_path / "photos"


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where to send things, in a store that the environment names."""
    enter_pod(store, tmp_path / "cache", monkeypatch)
    monkeypatch.setenv("ACCRETE_STORE", str(store.address))
    return f"{store.address}/images"


def push(*arguments: object) -> Result:
    return CliRunner().invoke(accrete, ["data", "push", *map(str, arguments)])


def refused(result: Result) -> str:
    """Return what was said against a push."""
    assert isinstance(result.exception, AccreteError), (result.exception, result.output)
    return str(result.exception)


def keys_at(store: ObjectStore) -> list[str]:
    return sorted(store.list_keys("images/"))


def test_a_folder_is_sent_by_its_names_and_can_be_planned_from(
    photos: Path, place: str, store: ObjectStore
) -> None:
    done = push(photos, place)
    assert done.exit_code == 0, done.output
    said = done.stdout.splitlines()
    assert said[0].startswith("sent 4 files, ")
    assert said[-1] == f"--data {place}"
    names = ["cat/1.png", "cat/3.png", "dog/0.png", "dog/2.png"]
    assert keys_at(store) == [f"images/{name}" for name in names]
    assert store.read_note("images/cat/1.png") == (photos / "cat/1.png").read_bytes()
    options = ("--source", "imagefolder", *said[-1].split(), "--stages", "2")
    planned = CliRunner().invoke(accrete, ["plan", *options])
    assert planned.exit_code == 0, planned.output


def test_a_push_goes_on_where_it_was_stopped(photos: Path, place: str, store: ObjectStore) -> None:
    there = ObjectStore(store.settings, parse_store_uri(place))
    told: list[int] = []

    def stop_early(num_files: int, _num_bytes: int) -> None:
        told.append(num_files)
        if sum(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push_files(find_files(photos), there, stop_early, replace=False)
    num_there = len(keys_at(store))
    assert num_there >= 2
    done = push(photos, place)
    assert f"sent {4 - num_there} file" in done.stdout
    assert f"; {num_there} were there already" in done.stdout
    assert len(keys_at(store)) == 4
    before = [listed.modified_at for listed in store.list_objects("images/")]
    assert push(photos, place).stdout.startswith("sent 0 files, 0 bytes; 4 were there already\n")
    assert [listed.modified_at for listed in store.list_objects("images/")] == before


def test_a_large_file_is_known_again_however_it_was_cut(
    tmp_path: Path, place: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "train.parquet"
    table.write_bytes(os.urandom(LARGE_BYTES))
    assert push(table, place).stdout.startswith("sent 1 file, 11.0 MiB\n")
    (listed,) = store.list_objects("images/")
    assert listed.etag.endswith("-3")
    with monkeypatch.context() as unread:
        unread.setattr(ObjectStore, "hash_object", None)
        assert push(table, place).stdout.startswith("sent 0 files, 0 bytes; 1 was there already\n")
    # as another client would have sent it: its parts say nothing of ours, so it is read
    key = f"{store.address.prefix}images/train.parquet"
    store._client.fput_object(store.address.bucket, key, str(table), part_size=6 << 20)
    assert push(table, place).stdout.startswith("sent 0 files, 0 bytes; 1 was there already\n")
    table.write_bytes(os.urandom(LARGE_BYTES))
    assert "images/train.parquet has other content" in refused(push(table, place))


def test_other_content_is_replaced_where_the_user_says_so(
    photos: Path, place: str, store: ObjectStore
) -> None:
    store.write_note("images/cat/1.png", b"another cat")
    store.write_note("images/dog/0.png", b"another dog")
    said = refused(push(photos, place))
    assert said.startswith(f"{place}/cat/1.png and 1 other have other content than here: replace")
    assert len(keys_at(store)) == 2
    done = push(photos, place, "--replace")
    assert done.stdout.startswith("sent 4 files, ")
    assert store.read_note("images/cat/1.png") == (photos / "cat/1.png").read_bytes()


def test_objects_beside_them_are_told(photos: Path, place: str, store: ObjectStore) -> None:
    store.write_note("images/bird/9.png", b"left from before")
    done = push(photos, place)
    assert f"note: {place} has 1 object beside these, which a run reads too" in done.stderr


def test_what_systems_leave_is_not_sent(photos: Path, place: str, store: ObjectStore) -> None:
    for junk in (".DS_Store", "cat/Thumbs.db", "__MACOSX/cat/1.png", "dog/@eaDir/0.png"):
        path = photos / junk
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"junk")
    done = push(photos, place)
    assert "note: left out as hidden or the system's: 4 (" in done.stderr
    assert len(keys_at(store)) == 4


def test_links_are_sent_as_what_they_lead_to(
    photos: Path, tmp_path: Path, place: str, store: ObjectStore
) -> None:
    (tmp_path / "blob").write_bytes(b"elsewhere")
    (photos / "cat" / "7.png").symlink_to(tmp_path / "blob")
    (photos / "cat" / "8.png").symlink_to("1.png")
    done = push(photos, place)
    assert "note: 2 links are sent as what they lead to, 1 of them from outside" in done.stderr
    assert store.read_note("images/cat/7.png") == b"elsewhere"
    assert store.read_note("images/cat/8.png") == (photos / "cat/1.png").read_bytes()


def empty(folder: Path) -> None:
    (folder / "cat").mkdir(parents=True)


def junk_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / ".DS_Store").write_bytes(b"")


def lost_link(folder: Path) -> None:
    folder.mkdir()
    (folder / "1.png").symlink_to("nowhere")


def folder_link(folder: Path) -> None:
    folder.mkdir()
    (folder / "more").symlink_to(".")


def pipe(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "1.png")


def bad_name(folder: Path) -> None:
    folder.mkdir()
    Path(os.fsdecode(bytes(folder) + b"/\xff.png")).write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "folder does not exist: give the folder or file of the images"),
        (empty, "folder holds no file: give a folder of images"),
        (junk_alone, "folder holds no file but .DS_Store, which is left out"),
        (lost_link, "folder/1.png cannot be read (No such file or directory)"),
        (folder_link, "folder/more leads to the folder itself, whose files are read already"),
        (pipe, "folder/1.png is no regular file (a pipe or a device)"),
        (bad_name, "folder/\\xff.png is no UTF-8: rename it"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(
    make: Callable[[Path], None], message: str, tmp_path: Path, place: str
) -> None:
    make(tmp_path / "folder")
    result = push(tmp_path / "folder", place)
    assert isinstance(result.exception, SourceError)
    assert message in str(result.exception)


@pytest.mark.parametrize("below", ["", "/objects", "/runs/mine", "/stages"])
def test_no_file_comes_among_what_accrete_stores(
    below: str, photos: Path, place: str, store: ObjectStore
) -> None:
    said = refused(push(photos, f"{store.address}{below}"))
    assert f"is where accrete keeps what it stores in {store.address}: give a place" in said
    above = f"s3://{store.address.bucket}"
    assert refused(push(photos, above)).startswith(f"{above} is where accrete keeps")
    assert store.list_keys("") == []


def test_the_store_of_runs_keeps_what_was_pushed_to_it(
    photos: Path, place: str, store: ObjectStore
) -> None:
    (photos / SNAPSHOT).write_bytes(b"12345")  # named as what may be collected
    done = push(photos)
    assert done.stdout.splitlines()[-1] == f"--data {store.address}/data/photos"
    before = store.list_keys("data/")
    assert len(before) == 5
    collected = CliRunner().invoke(accrete, ["gc", "--keep", "0s", "--delete"])
    assert collected.exit_code == 0, collected.output
    assert store.list_keys("data/") == before


class Lossy(ObjectStore):
    """A store that keeps no bytes."""

    def upload(self, key: str, *_: object) -> None:
        self.write_note(key, b"")


def test_what_has_not_come_whole_is_told(photos: Path, store: ObjectStore) -> None:
    lossy = Lossy(store.settings, store.address)
    with pytest.raises(StoreError, match=r"cat/1.png has 0 bytes, but .* had .* when it was sent"):
        push_files(find_files(photos), lossy, lambda *_: None, replace=False)


def test_a_file_that_goes_meanwhile_ends_the_push(photos: Path, store: ObjectStore) -> None:
    found = find_files(photos)
    (photos / "cat" / "3.png").unlink()
    with pytest.raises(SourceError, match=r"cat/3.png cannot be read \(No such file"):
        push_files(found, store, lambda *_: None, replace=False)


def test_this_machine_s_own_store_takes_images_too(cli: Cli, photos: Path) -> None:
    done = cli("data", "push", "photos/", ACCRETE_S3_ENDPOINT="", ACCRETE_STORE="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "--data s3://accrete/data/photos"
    assert "note: this store is on this machine, where no cluster reaches it" in done.stderr


def test_an_absent_bucket_is_told(photos: Path, place: str) -> None:
    assert "bucket 'no-such-bucket' does not exist" in refused(
        push(photos, "s3://no-such-bucket/x")
    )
    assert isinstance(push(photos, "bucket/photos").exception, InputError)
