"""A full disk is named, whichever library met it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from resources import Volume, why_no_mounts
from safetensors.torch import save_file

from accrete.core.disk import disk_full_named
from accrete.data.shards import write_shard
from accrete.errors import DiskFullError, StoreError
from accrete.store.embedded import embedded_store
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 64 KiB."""
    if reason := why_no_mounts():
        pytest.skip(reason)
    with Volume(tmp_path / "disk", 1 << 16) as volume:
        yield volume.path


def write_bytes(path: Path) -> None:
    path.write_bytes(bytes(1 << 20))


def write_tensors(path: Path) -> None:
    save_file({"weight": torch.zeros(1 << 18)}, path)


def write_rows(path: Path) -> None:
    write_shard(path, [bytes(64)] * (1 << 14), row_bytes=64)


@pytest.mark.parametrize("write", [write_bytes, write_tensors, write_rows])
def test_a_full_disk_is_named_with_the_room_it_has(
    write: Callable[[Path], None], small_disk: Path
) -> None:
    expected = rf"no space left on the disk of {small_disk} \([\d,.]+ \w+ of 64\.0 KiB are free\)"
    with pytest.raises(DiskFullError, match=expected), disk_full_named(small_disk):
        write(small_disk / "file")


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_full_named(tmp_path):
        (tmp_path / "none" / "file").write_bytes(b"data")
    with pytest.raises(ValueError, match="28"), disk_full_named(tmp_path):
        raise ValueError("28 is too many")


def test_a_disk_too_small_for_the_embedded_store_is_named_at_once(tmp_path: Path) -> None:
    if reason := why_no_mounts():
        pytest.skip(reason)
    expected = (
        r"the disk of .*/home/store/data has 2,800 MiB free, and the embedded store needs 2,816: "
        r"make room there, or set ACCRETE_HOME to a folder on a larger disk"
    )
    with Volume(tmp_path / "disk", 2800 << 20, large=3000 << 20) as volume:
        home = volume.path / "home"
        with pytest.raises(StoreError, match=f"^{expected}$"), embedded_store(home):
            pass
        volume.grow()
        with embedded_store(home) as settings:  # what it asks for is enough
            store = ObjectStore(settings, parse_store_uri("s3://accrete"))
            store.write_note("a", b"a" * 1000)
            assert store.read_note("a") == b"a" * 1000
