"""Benchmarks in pieces: what is done stays done, and a run ends in time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_a_run_goes_on_where_the_last_was_ended(tmp_path: Path) -> None:
    from pieces import Piece, read_pieces, run_pieces

    did: list[str] = []

    def measured(name: str) -> int:
        if name == "c" and did.count("c") == 0:
            did.append(name)
            raise KeyboardInterrupt
        did.append(name)
        return len(did)

    pieces = [Piece(name, 1, lambda name=name: measured(name)) for name in "abcd"]
    with pytest.raises(KeyboardInterrupt):
        run_pieces("work", pieces, minutes=1, folder=tmp_path)
    assert {name: piece["result"] for name, piece in read_pieces("work", tmp_path).items()} == {
        "a": 1,
        "b": 2,
    }
    done = run_pieces("work", pieces, minutes=1, folder=tmp_path)
    assert did == ["a", "b", "c", "c", "d"]
    assert list(done) == ["a", "b", "c", "d"]
    assert done["a"]["machine"]["cores"] >= 1


def test_what_cannot_end_in_time_is_left_but_for_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pieces import Piece, run_pieces

    pieces = [Piece(name, 100, lambda name=name: name) for name in "abc"]
    assert list(run_pieces("work", pieces, minutes=1, folder=tmp_path)) == ["a"]
    assert "b is next: it takes about 100 s, and 60 are left" in capsys.readouterr().out
    assert list(run_pieces("work", pieces, minutes=1, folder=tmp_path)) == ["a", "b"]
    assert list(run_pieces("work", pieces, minutes=9, folder=tmp_path)) == ["a", "b", "c"]
    none = run_pieces("other", pieces, minutes=1, folder=tmp_path, at_least_one=False)
    assert none == {}


def test_a_piece_that_fails_stops_no_other_and_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pieces import Piece, PiecesFailedError, read_pieces, run_pieces

    def fail() -> None:
        raise ValueError("no such luck")

    pieces = [Piece("a", 1, fail), Piece("b", 1, lambda: 2)]
    with pytest.raises(PiecesFailedError, match="1 pieces failed: a"):
        run_pieces("work", pieces, minutes=1, folder=tmp_path)
    assert "no such luck" in capsys.readouterr().err
    assert list(read_pieces("work", tmp_path)) == ["b"]
    done = run_pieces("work", [Piece("a", 1, lambda: 1)], minutes=1, folder=tmp_path)
    assert sorted(done) == ["a", "b"]


def test_a_piece_may_depend_on_those_before_it(tmp_path: Path) -> None:
    from pieces import Piece, read_pieces, run_pieces

    def pieces() -> Iterator[Piece]:
        yield Piece("first", 1, lambda: 3)
        found = read_pieces("work", tmp_path)["first"]["result"]
        yield Piece(f"second of {found}", 1, lambda: found + 1)

    assert list(run_pieces("work", pieces(), minutes=1, folder=tmp_path)) == [
        "first",
        "second of 3",
    ]
