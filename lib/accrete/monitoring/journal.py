"""What a step says of itself while it runs: lines for people, a small document for programs.

A pod's log gets plain lines with rate and time left. The document and the log also go to the store
now and then, from a thread of their own, so that `accrete status` and `accrete logs` work when the
pod is gone; a store that fails then is no reason for a step to fail. A local run's launcher reads
the document from a folder instead and draws a bar.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Protocol

from accrete.catalog.step_documents import (
    UPLOAD_INTERVAL_S,
    Progress,
    StepDocument,
    StepFailure,
    StepResult,
    parse_document,
)
from accrete.core.units import format_clock, format_percent
from accrete.errors import AccreteError, one_line, printable
from accrete.store import keys
from accrete.store.object_store import ObjectStore


class Meter(Protocol):
    """Takes the amount done, and a detail, as often as one likes."""

    def __call__(self, done: int, detail: str = "") -> None:
        """Say how far it is."""


LINE_INTERVAL_S = 10.0
_FILE_INTERVAL_S = 0.2


class Journal:
    """One attempt at one step."""

    def __init__(
        self,
        run_name: str,
        step: str,
        *,
        store: ObjectStore | None,
        folder: Path | None,
        attempt: str | None = None,
        heard: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        """Begin an attempt.

        Args:
            run_name: the run.
            step: the step, from `keys`.
            store: where document and log go; None: nowhere.
            folder: where a local launcher looks; None: there is none.
            attempt: its name, from `attempt_name`; None: a new one.
            heard: told of what is done and the total, now and then.
        """
        self._store, self._folder, self._heard = store, folder, heard
        self._meanwhile = None if store is None else store.in_background()
        self.run_name, self.step = run_name, step
        self.attempt = attempt or attempt_name()
        self._lock = Lock()
        self._log: list[str] = []
        self._document = StepDocument(
            step=step, attempt=self.attempt, state="running", started_at=_now(), updated_at=_now()
        )
        self._next_file = self._next_line = 0.0
        self._closed = Event()
        self._uploader = Thread(target=self._upload_now_and_then, daemon=True)

    def __enter__(self) -> "Journal":
        self._write_file()
        with suppress(RuntimeError):  # where no thread can be started it is stored at the end alone
            self._uploader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._meanwhile is not None:
            self._meanwhile.release()
        if self._uploader.ident is not None:
            self._uploader.join()
        self._upload(self._store)

    def take_over(self) -> StepFailure | None:
        """Go on with what another process of this attempt stored, and return what it failed by.

        Call before anything is said. Where nothing can be read, the journal begins anew.
        """
        if self._store is None:
            return None
        try:
            note = self._store.read_note(keys.step_key(self.run_name, self.step))
            log = self._store.read_note(keys.log_key(self.run_name, self.step, self.attempt))
            found = parse_document(note, "the step's journal") if note else self._document
        except AccreteError:
            return None
        if found.attempt != self.attempt:  # that process died before it could store any
            return None
        self._document, self._log = found, (log or b"").decode(errors="replace").splitlines()
        return found.failure

    def go_on(self, restarts: Sequence[str]) -> None:
        """Go on after processes of this attempt that were killed.

        Call before anything is said.

        Args:
            restarts: what was printed of each of them when it was started again.
        """
        self.take_over()
        self._document = replace(
            self._document, state="running", progress=None, failure=None, restarts=len(restarts)
        )
        self._log += [line for line in restarts if line not in self._log]

    def say(self, text: str) -> None:
        """Print a line and keep it for the log; what no line can hold becomes an escape."""
        line = print_line(text)
        with self._lock:
            self._log.append(line)

    def result(self, text: str, **facts: Any) -> None:
        """Say what a part of the step came to, and keep it in the document.

        A stage that an earlier process of this attempt told of is not told of twice.
        """
        self.say(text)
        result = StepResult(printable(text), facts)
        with self._lock:
            told = self._document.results
            if result.stage is None or result.stage not in [each.stage for each in told]:
                told = (*told, result)
            self._document = replace(self._document, results=told, progress=None)
        self._write_file()

    def meter(
        self, title: str, total: int, unit: str, *, first: int = 0, began: float | None = None
    ) -> Meter:
        """Return what is to be told how far something is.

        Args:
            title: of it.
            total: in unit.
            unit: what is counted.
            first: what was done before, at no time of this attempt.
            began: when that was, by the monotonic clock; None: now.
        """
        started = time.monotonic() if began is None else began

        def report(done: int, detail: str = "") -> None:
            now = time.monotonic()
            if now < self._next_file and now < self._next_line and done < total:
                return
            rate = (done - first) / max(now - started, 1e-9)
            progress = Progress(
                title=title,
                done=done,
                total=total,
                unit=unit,
                rate=rate,
                left_s=(total - done) / rate if rate else None,
                detail=detail,
            )
            self._change(progress=progress)
            self._heard(done, total)
            self._write_file_rarely(now)
            if now >= self._next_line:
                self._next_line = now + LINE_INTERVAL_S
                self.say(progress_line(progress))

        return report

    def succeed(self) -> None:
        """Say that the attempt is done."""
        self._change(state="done", progress=None)
        self._write_file()

    def fail(self, failure: StepFailure) -> None:
        """Say why the attempt failed."""
        self.say(f"error: {one_line(failure.error)}")
        self._change(state="failed", progress=None, failure=failure)
        self._write_file()

    def _change(self, **facts: Any) -> None:
        with self._lock:
            self._document = replace(self._document, **facts)

    def _snapshot(self) -> tuple[bytes, bytes]:
        self._change(updated_at=_now())
        with self._lock:
            log = "".join(f"{line}\n" for line in self._log)
            return json.dumps(self._document.as_json()).encode(), log.encode()

    def _write_file_rarely(self, now: float) -> None:
        if now >= self._next_file:
            self._next_file = now + _FILE_INTERVAL_S
            self._write_file()

    def _write_file(self) -> None:
        if self._folder is None:
            return
        document, _ = self._snapshot()
        part = self._folder / f".{self.step}.part"
        with suppress(OSError):  # progress is a courtesy
            part.write_bytes(document)
            part.replace(self._folder / f"{self.step}.json")

    def _upload_now_and_then(self) -> None:
        self._upload(self._meanwhile)
        while not self._closed.wait(UPLOAD_INTERVAL_S):
            self._upload(self._meanwhile)

    def _upload(self, store: ObjectStore | None) -> None:
        """Store what there is; in the background that waits for a store that is away."""
        if store is None:
            return
        try:
            document, _ = self._snapshot()
            store.write_note(keys.step_key(self.run_name, self.step), document)
            _, log = self._snapshot()
            store.write_note(keys.log_key(self.run_name, self.step, self.attempt), log)
        except AccreteError as error:
            if not self._closed.is_set() or store is self._store:
                print(f"progress was not stored: {error}", file=sys.stderr, flush=True)  # noqa: T201


def print_line(text: str) -> str:
    """Print a line as a journal does, and return it."""
    line = f"{datetime.now(UTC):%H:%M:%S} {printable(text)}"
    print(line, flush=True)  # noqa: T201  the pod's log
    return line


def attempt_name() -> str:
    """Return a name for an attempt that this process begins: names sort as the attempts began."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"


class NullJournal:
    """For a process of a step that leaves the telling to another one."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def result(self, text: str, **facts: Any) -> None:
        """Keep nothing."""

    def meter(self, *_: object, **__: object) -> Meter:
        """Return what takes no notice."""
        return _ignore


def _ignore(done: int, detail: str = "") -> None:
    """Take no notice of how far something is."""


def progress_line(progress: Progress) -> str:
    """Return how far something is as one plain line with rate and time left."""
    done, total, unit = progress.done, progress.total, progress.unit
    parts = [
        progress.title,
        format_percent(done / total, 0) if total else "",
        f"{done:,}/{total:,} {unit}",
        f"{progress.rate:,.0f} {unit}/s",
        f"{format_clock(progress.left_s)} left" if progress.left_s is not None else "",
        progress.detail,
    ]
    return "  ".join(part for part in parts if part)


def _now() -> datetime:
    return datetime.now(UTC)
