"""How a run shows on a terminal: finished parts as lines, the running one as a bar."""

import sys
import time
from typing import TextIO

from accrete.catalog.step_documents import Progress, StepDocument
from accrete.core.units import format_clock, format_percent
from accrete.monitoring.journal import LINE_INTERVAL_S, progress_line

_BAR_CELLS = 28


class Console:
    """Follows step documents; a bar in a terminal, plain lines elsewhere."""

    def __init__(self, out: TextIO | None = None) -> None:
        """Write to a stream; None: standard error."""
        self._out = out or sys.stderr
        self._is_terminal = self._out.isatty()
        self._shown: dict[str, int] = {}
        self._restarts: dict[str, int] = {}
        self._bar_width = 0
        self._next_line = time.monotonic() + LINE_INTERVAL_S

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self._clear_bar()
        self._out.write(f"{text}\n")
        self._out.flush()

    def follow(self, documents: list[StepDocument]) -> None:
        """Show what is new in the steps' documents."""
        running = None
        for document in documents:
            attempt = f"{document.step}/{document.attempt}"
            if document.restarts > self._restarts.get(attempt, 0):
                times = f", {document.restarts} times" if document.restarts > 1 else ""
                self.line(f"{document.step}: its training was killed and started again{times}")
            self._restarts[attempt] = document.restarts
            shown = self._shown.get(attempt, 0)
            for result in document.results[shown:]:
                self.line(result.text)
            self._shown[attempt] = len(document.results)
            if document.state == "running" and document.progress:
                running = document.progress
        if running is None:
            self._clear_bar()
        elif self._is_terminal:
            self._draw_bar(running)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_INTERVAL_S
            self.line(progress_line(running))

    def close(self) -> None:
        """Leave the terminal clean."""
        self._clear_bar()

    def _draw_bar(self, progress: Progress) -> None:
        share = progress.done / progress.total if progress.total else 0.0
        full = round(share * _BAR_CELLS)
        left = "" if progress.left_s is None else f"  {format_clock(progress.left_s)} left"
        text = (
            f"{progress.title}  [{'#' * full}{'-' * (_BAR_CELLS - full)}] "
            f"{format_percent(share, 0):>5}  {progress.rate:,.0f} {progress.unit}/s{left}  "
            f"{progress.detail}"
        )
        self._out.write("\r" + text.ljust(self._bar_width))
        self._out.flush()
        self._bar_width = len(text)

    def _clear_bar(self) -> None:
        if self._bar_width:
            self._out.write("\r" + " " * self._bar_width + "\r")
            self._bar_width = 0
