"""A full disk is named, whichever library met it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from resources import Volume, why_no_mounts
from safetensors.torch import save_file

from accrete.disk import disk_full_named
from accrete.errors import DiskFullError
from accrete.shards import write_shard


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
    expected = rf"no space left on the disk of {small_disk} \([\d,.]+ of 0\.1 MB are free\)"
    with pytest.raises(DiskFullError, match=expected), disk_full_named(small_disk):
        write(small_disk / "file")


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_full_named(tmp_path):
        (tmp_path / "none" / "file").write_bytes(b"data")
    with pytest.raises(ValueError, match="28"), disk_full_named(tmp_path):
        raise ValueError("28 is too many")
