"""The bench's own judges find what is wrong: an audit that cannot fail proves nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from attempts import read_notes
from audit import Audit, wrong_in_cache
from scenarios import Workshop

Objects = dict[str, bytes]


def flipped(data: bytes) -> bytes:
    return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


def change(kind: str, how: Callable[[bytes], bytes | None]) -> Callable[[Objects], Objects]:
    """Return what changes or removes one object of a kind."""

    def changed(objects: Objects) -> Objects:
        key = next(key for key in sorted(objects) if key.startswith(kind))
        data = how(objects[key])
        kept = {other: value for other, value in objects.items() if other != key}
        return kept if data is None else kept | {key: data}

    return changed


@pytest.mark.parametrize("kind", ["objects/", "datasets/", "prepared/", "stages/"])
@pytest.mark.parametrize("how", [flipped, lambda data: data[:-1], lambda _: b""])
def test_the_audit_finds_changed_bytes(
    kind: str, how: Callable[[bytes], bytes], workshop: Workshop
) -> None:
    whole = workshop.reference.whole
    assert Audit(dict(whole)).wrong == []
    assert Audit(change(kind, how)(whole)).wrong


@pytest.mark.parametrize("kind", ["objects/", "datasets/"])
def test_the_audit_finds_what_is_gone(kind: str, workshop: Workshop) -> None:
    assert Audit(change(kind, lambda _: None)(workshop.reference.whole)).wrong


def test_the_audit_finds_a_stage_without_its_parent(workshop: Workshop) -> None:
    whole = workshop.reference.whole
    last = workshop.reference.stage
    orphan = {k: v for k, v in whole.items() if k == last or not k.startswith("stages/")}
    assert Audit(orphan).wrong == [f"{last} grows from a stage that is not stored"]


def test_the_audit_hashes_snapshots_and_cached_files(tmp_path: Path) -> None:
    key = f"snapshots/stage/0000000003-4-{'0' * 64}.safetensors"
    assert Audit({key: b"data"}).wrong == [f"{key} holds other bytes than its name says"]
    path = tmp_path / "objects" / "00" / ("0" * 64)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"data")
    assert len(wrong_in_cache(tmp_path)) == 1


def test_notes_tell_how_far_an_attempt_was_and_what_it_owed(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text(
        "begin 7 0.0\nstep 0.04\nstep 0.08\nstep 0.12\ntake 10 0.12\nstep 0.16\nsaved 10 0.18\n"
        "step 0.20\nstep 0.50\n"
    )
    done = read_notes(path, 0.1)
    assert (done.first, done.last, done.saved) == (7, 13, 10)
    assert done.longest_step_s == pytest.approx(0.3)
    assert done.unsaved_s == pytest.approx(0.5 - 0.22)
    assert read_notes(tmp_path / "none", 0.1).first is None
