"""What a step's journal stores, byte for byte, and what is read of it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.catalog.step_documents import Progress, StepFailure, StepResult, parse_document
from accrete.core.hashing import canonical_json
from accrete.errors import (
    AccreteError,
    IntegrityError,
    PreemptedError,
    StepFailedError,
    printable,
)
from accrete.monitoring.journal import Journal

STORED: dict[str, Any] = {
    "step": "stage-0001",
    "attempt": "20260102T030405-7",
    "state": "failed",
    "started_at": "2026-01-02T03:04:05.678+00:00",
    "updated_at": "2026-01-02T03:05:05.678+00:00",
    "results": [{"text": "stage 1/4: 2 classes", "stage": 1, "digest": "ab", "reused": True}],
    "progress": {
        "title": "stage 2/4",
        "done": 50,
        "total": 100,
        "unit": "images",
        "rate": 12.5,
        "left_s": 4.0,
        "detail": "loss 1.000",
    },
    "error": "the store is gone",
    "exit_code": 3,
}
"""As every version has stored it."""


def parsed(**changes: Any) -> Any:
    return parse_document(json.dumps(STORED | changes).encode(), "step.json")


def test_a_document_is_written_as_it_was_read() -> None:
    document = parsed()
    assert json.dumps(document.as_json()) == json.dumps(STORED)
    assert document.failure == StepFailure("the store is gone", 3)
    assert (document.results[0].stage, document.results[0].reused) == (1, True)
    assert isinstance(document.progress, Progress)
    done = STORED | {"state": "done", "progress": None, "error": None, "exit_code": 0}
    assert json.dumps(parsed(**done).as_json()) == json.dumps(done)
    assert parsed(**done).failure is None


def test_restarts_are_said_where_there_were_some() -> None:
    assert parsed().restarts == 0
    document = parsed(restarts=2)
    assert document.restarts == 2
    assert parse_document(json.dumps(document.as_json()).encode(), "step.json") == document
    for wrong in (-1, "2", None, 1e300):
        with pytest.raises(IntegrityError, match="restarts is missing or wrong"):
            parsed(restarts=wrong)


def test_a_journal_writes_the_fields_in_their_order(tmp_path: Path) -> None:
    def written() -> dict[str, Any]:
        document: dict[str, Any] = json.loads((tmp_path / "stage-0001.json").read_bytes())
        assert list(document) == list(STORED)
        return document

    journal = Journal("run", "stage-0001", store=None, folder=tmp_path)
    journal.meter("stage 1/2", 100, "images")(100, "loss 1.0")
    assert list(written()["progress"]) == list(STORED["progress"])
    journal.result("stage 1/2: done", stage=1, digest="ab", reused=False)
    assert list(written()["results"][0]) == list(STORED["results"][0])
    assert written()["progress"] is None
    journal.fail(StepFailure("gone", 3))
    assert (written()["state"], written()["error"], written()["exit_code"]) == ("failed", "gone", 3)


WILD = "a\x1b[2J\udcff\x07\r\nb\u202e\t  \u00e9 \u00a0c"
TAME = r"a\x1b[2J\udcff\x07\r\nb\u202e\t" + "  \u00e9 \u00a0c"


def test_a_journal_holds_any_text_as_lines_that_can_be_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal("run", "stage-0001", store=None, folder=tmp_path)
    journal.say(WILD)
    journal.result(WILD)
    journal.fail(StepFailure.of(AccreteError(WILD)))
    lines = capsys.readouterr().out.split("\n")
    assert [line[9:] for line in lines[:2]] == [TAME, TAME]
    assert len(lines) == 4
    document = parse_document((tmp_path / "stage-0001.json").read_bytes(), "step.json")
    assert [result.text for result in document.results] == [TAME]
    assert document.failure == StepFailure(TAME.replace(r"\r\n", "\\r\n"), 1)
    assert StepFailure.of(document.failure.as_error()) == document.failure


@given(st.text(st.characters()))
def test_any_text_becomes_a_line_and_stays_it(text: str) -> None:
    line = printable(text)
    assert len(line.splitlines()) <= 1
    assert line.encode().decode() == line == printable(line)


def test_fields_of_another_version_are_passed_over() -> None:
    assert parsed(more={"a": 1}) == parsed()
    assert parsed(results=[{"text": "x", "more": 1}]).results == (StepResult("x", {"more": 1}),)


@pytest.mark.parametrize("name", list(STORED))
def test_a_field_that_is_missing_or_of_another_kind_is_named(name: str) -> None:
    for content in ({k: v for k, v in STORED.items() if k != name}, STORED | {name: {"a": []}}):
        with pytest.raises(IntegrityError, match=rf"^step.json is no .*\({name} is missing or wr"):
            parse_document(canonical_json(content), "step.json")


@pytest.mark.parametrize(
    "changes",
    [{"done": -1}, {"total": 1e16}, {"left_s": True}, {"title": None}, {"more": 1}],
)
def test_no_progress_is_taken_that_could_not_be_shown(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="progress is missing or wrong"):
        parsed(progress=STORED["progress"] | changes)


def test_a_time_without_a_zone_and_an_unknown_state_are_refused() -> None:
    with pytest.raises(IntegrityError, match="started_at is missing"):
        parsed(started_at="2026-01-02T03:04:05")
    with pytest.raises(IntegrityError, match="state is missing"):
        parsed(state="lost")


def test_a_failure_has_the_error_s_words_and_code_and_a_bug_its_type() -> None:
    assert StepFailure.of(PreemptedError("told to end")) == StepFailure("told to end", 75)
    assert StepFailure.of(KeyError("x")) == StepFailure("KeyError: 'x'", 1)
    error = StepFailure("told to end", 75).as_error()
    assert isinstance(error, StepFailedError)
    assert StepFailure.of(error) == StepFailure("told to end", 75)


def test_what_was_done_before_an_attempt_says_nothing_of_its_speed(tmp_path: Path) -> None:
    journal = Journal("run", "stage-0001", store=None, folder=tmp_path)
    began = time.monotonic() - 10
    journal.meter("stage 1/1", 1000, "images", first=500, began=began)(600)
    document = parse_document((tmp_path / "stage-0001.json").read_bytes(), "step.json")
    progress = document.progress
    assert progress is not None
    assert progress.rate == pytest.approx(10, rel=0.05)
    assert progress.left_s == pytest.approx(40, rel=0.05)
