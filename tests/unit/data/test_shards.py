"""Class shards: the bytes are fixed, and a class of many bytes splits into several."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from shard_sample import Write, random_pixels, write_encoded, write_raw

from accrete.data import shards
from accrete.data.shards import parts_of


@pytest.mark.parametrize("write", [write_raw, write_encoded])
def test_same_images_give_the_same_bytes(tmp_path: Path, write: Write) -> None:
    pixels = random_pixels(3)
    first, again = write(tmp_path / "a", pixels), write(tmp_path / "b", pixels)
    other = write(tmp_path / "c", pixels[::-1])
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


def test_class_of_many_bytes_splits_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 10)
    rows = [b"a" * 4, b"b" * 4, b"c" * 2, b"d", b"e" * 30, b"f", b"g" * 9]
    parts = list(parts_of(rows))
    assert parts == [rows[0:3], rows[3:4], rows[4:5], rows[5:7]]


def test_parts_are_taken_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 10)
    taken: list[int] = []

    def rows() -> Iterator[bytes]:
        for number in range(9):
            taken.append(number)
            yield b"abcde"

    assert next(iter(parts_of(rows()))) == [b"abcde"] * 2
    assert taken == [0, 1, 2]


def test_class_without_rows_has_no_part() -> None:
    assert list(parts_of([])) == []


def test_part_holds_at_most_256_mib() -> None:
    assert shards.MAX_SHARD_BYTES == 268_435_456
