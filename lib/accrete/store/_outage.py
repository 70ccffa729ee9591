"""A store that is away is waited for, by every thread that asks it; one of them says so, once.

What a request is tried again for within seconds is in `_retry.py`; here it is an outage: a server
that is restarted, a node or a network that is gone for minutes.
"""

import sys
import time
from collections.abc import Callable
from threading import Condition
from typing import TypeVar

from accrete.core.environment import ENV_STORE_WAIT
from accrete.core.processes import ending
from accrete.core.units import format_clock
from accrete.errors import StoreError

T = TypeVar("T")

_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_LONGEST_PAUSE_S = 15.0


class Outage:
    """Waits while a store is away; shared by all threads that must not go on without it."""

    tell: Callable[[str], None]
    """Told in a line when the wait begins, and when it ends."""

    def __init__(self, wait_s: float | None, meanwhile: str) -> None:
        """Describe it; the store is there until a request shows otherwise.

        Args:
            wait_s: how long one request waits; 0: not at all; None: as long as it takes.
            meanwhile: what the line says of it, such as `it is asked again for 15:00`.
        """
        self._wait_s, self._meanwhile = wait_s, meanwhile
        self.tell = _to_stderr
        self._changed = Condition()
        self._away_since: float | None = None
        self._is_told = False
        self._num_releases = 0
        self._is_given_up = False

    def waited(self, ask: Callable[[], T]) -> T:
        """Return what a request comes to, made again while the store is away.

        Raises:
            StoreError: it is away for longer, or the error is none that passes.
        """
        began, releases, number = time.monotonic(), self._num_releases, 0
        while True:
            try:
                found = ask()
            except StoreError as error:
                if not error.may_pass:
                    self._is_back()
                    raise
                pause_s = _PAUSES_S[number] if number < len(_PAUSES_S) else _LONGEST_PAUSE_S
                if not self._goes_on(error, began, releases, pause_s):
                    raise
                number += 1
            else:
                self._is_back()
                return found

    def release(self) -> None:
        """Have those that wait now give up at once; who asks later waits again."""
        with self._changed:
            self._num_releases += 1
            self._changed.notify_all()

    def _goes_on(self, error: StoreError, began: float, releases: int, pause_s: float) -> bool:
        """Wait for a while; return whether the request is to be made again."""
        now = time.monotonic()
        left_s = None if self._wait_s is None else began + self._wait_s - now
        with self._changed:
            if self._away_since is None:
                self._away_since = began
            if self._is_given_up or (left_s is not None and left_s <= 0):
                self._is_given_up = True
                return False
            says = not self._is_told
            self._is_told = True
        if says:
            self.tell(f"{error}; {self._meanwhile}")
        deadline = now + (pause_s if left_s is None else min(pause_s, left_s))
        with self._changed:
            while self._num_releases == releases and not ending().is_set():
                rest_s = deadline - time.monotonic()
                if rest_s <= 0 or self._away_since is None:
                    return True  # time to look again, or another thread had an answer
                self._changed.wait(min(rest_s, 0.5))
        return False

    def _is_back(self) -> None:
        """Note that the store answered, whatever it said."""
        if self._away_since is None:
            return
        with self._changed:
            since, says = self._away_since, self._is_told
            self._away_since, self._is_told, self._is_given_up = None, False, False
            self._changed.notify_all()
        if since is not None and says:
            self.tell(
                f"the object store answers again, after {format_clock(time.monotonic() - since)}"
            )


def _to_stderr(text: str) -> None:
    print(f"accrete: {text}", file=sys.stderr, flush=True)  # noqa: T201


def asked_again_for(wait_s: float) -> str:
    """Return what is said of a wait at its beginning."""
    return f"it is asked again for {format_clock(wait_s)} ({ENV_STORE_WAIT})"
