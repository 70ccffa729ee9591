"""WebDataset's shards that are damaged, or made to harm."""

import pickle
import tarfile
from pathlib import Path

import pytest
from archive_sample import (
    named_store,
    numbered,
    open_shards,
    put_files,
    tar_of,
    write_shard,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from source_sample import read_all

from accrete.errors import AccreteError, BadImageError, SourceError
from accrete.store.object_store import ObjectStore

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
