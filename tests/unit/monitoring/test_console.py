"""What a run says on a terminal while it runs."""

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

from accrete.catalog.step_documents import StepDocument
from accrete.monitoring.console import Console


def test_training_that_is_started_again_is_said_each_time() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    document = StepDocument(
        step="stage-0001", attempt="one", state="running", started_at=now, updated_at=now
    )
    out = StringIO()
    console = Console(out)
    for restarts in (0, 1, 1, 3):
        console.follow([replace(document, restarts=restarts)])
    assert out.getvalue().splitlines() == [
        "stage-0001: its training was killed and started again",
        "stage-0001: its training was killed and started again, 3 times",
    ]
