"""What `accrete status` says of steps whose training was killed."""

from datetime import UTC, datetime

import pytest

from accrete.catalog.step_documents import StepDocument
from accrete.monitoring.status import RunState, status_text


@pytest.mark.parametrize(
    ("restarts", "words"),
    [
        (0, "stage-0002 has begun"),
        (1, "stage-0002 has begun  (its training was killed and started again once)"),
        (3, "stage-0002 has begun  (its training was killed and started again 3 times)"),
    ],
)
def test_a_step_that_goes_on_after_kills_says_how_often(restarts: int, words: str) -> None:
    now = datetime.now(UTC)
    document = StepDocument(
        step="stage-0002",
        attempt="20260102T030405-7",
        state="running",
        started_at=now,
        updated_at=now,
        restarts=restarts,
    )
    state = RunState(name="run", state="running", num_stages=3, documents=[document])
    assert status_text(state).splitlines() == ["run: running", f"  {words}"]
