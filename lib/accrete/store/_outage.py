"""A store that is away is waited for, by every thread that asks it; one of them says so, once.

What a request is tried again for within seconds is in `_retry.py`; here it is an outage: a server
that is restarted, a node or a network that is gone for minutes. It may be one of some requests
alone (a disk that is full takes no objects, and gives all): so it lasts until all that wait for it
have had their answer, whatever else is answered meanwhile.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Condition
from typing import TypeVar

from accrete.core.environment import ENV_STORE_WAIT
from accrete.core.processes import ending
from accrete.core.units import format_clock
from accrete.errors import StoreError
from accrete.store._retry import LONGEST_WAIT_S, asked_until

T = TypeVar("T")

_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_LONGEST_PAUSE_S = 15.0
_TOLD_AT_ONCE, _QUIET_S, _LONG_S = 3, 600.0, 60.0
"""So many outages in that time are told as they begin; further ones once they last for a minute."""


def _to_stderr(text: str) -> None:
    print(f"accrete: {text}", file=sys.stderr, flush=True)  # noqa: T201


@cache
def _teller() -> ContextVar[Callable[[str], None]]:
    return ContextVar("teller", default=_to_stderr)


@contextmanager
def outages_told_by(tell: Callable[[str], None]) -> Iterator[None]:
    """Have stores that are opened in the block tell of their outages there."""
    token = _teller().set(tell)
    try:
        yield
    finally:
        _teller().reset(token)


class Outage:
    """What all who ask one store know of its being away."""

    tell: Callable[[str], None]
    """Told in a line when the wait begins, and when it ends."""

    def __init__(self) -> None:
        """Begin with a store that is there."""
        self.tell = _teller().get()
        self.is_hopeless = False
        """Whether one has waited for its whole time: nobody does so again until it is back."""
        self._changed = Condition()
        self._since: float | None = None
        self._is_told = False
        self._told_at: deque[float] = deque(maxlen=_TOLD_AT_ONCE)
        self._num_waiting = self._num_answers = 0

    def begin_wait(self, began: float) -> None:
        """Count one that waits, for a request that began then (`time.monotonic`)."""
        with self._changed:
            self._num_waiting += 1
            self._since = began if self._since is None else min(began, self._since)

    def end_wait(self, *, is_answered: bool) -> None:
        """Count one less; after an answer the others look again at once."""
        with self._changed:
            self._num_waiting -= 1
            self._num_answers += is_answered
            self._changed.notify_all()

    def say(self, line: str) -> None:
        """Tell of it, unless that was done."""
        now = time.monotonic()
        with self._changed:
            is_often = len(self._told_at) == _TOLD_AT_ONCE and now - self._told_at[0] < _QUIET_S
            is_short = self._since is None or now - self._since < _LONG_S
            if self._is_told or (is_often and is_short):
                return
            self._is_told = True
            self._told_at.append(now)
        self.tell(line)

    def answered(self) -> None:
        """Note that the store answered, whatever it said: it is back if nobody waits for it."""
        if self._since is None and not self.is_hopeless:
            return
        with self._changed:
            if self._num_waiting:
                return
            since, says = self._since, self._is_told
            self._since, self._is_told, self.is_hopeless = None, False, False
        if since is not None and says:
            self.tell(
                f"the object store answers again, after {format_clock(time.monotonic() - since)}"
            )

    def pause(self, until: float, is_over: Callable[[], bool]) -> None:
        """Return then (`time.monotonic`), when another was answered, or when the wait is over."""
        with self._changed:
            answers = self._num_answers
            while self._num_answers == answers and not is_over():
                rest_s = until - time.monotonic()
                if rest_s <= 0:
                    return
                self._changed.wait(min(rest_s, 0.5))

    def wake(self) -> None:
        """Have all who pause look whether their wait is over."""
        with self._changed:
            self._changed.notify_all()


class StoreWait:
    """Who asks a store, and how long that waits while it is away. Safe to share between threads."""

    def __init__(self, outage: Outage, wait_s: float | None, meanwhile: str) -> None:
        """Share what is known of a store.

        Args:
            outage: that.
            wait_s: how long one request waits; 0: not at all; None: until `release`.
            meanwhile: what the line says of it, such as `it is asked again for 15:00`.
        """
        self._outage, self._wait_s, self._meanwhile = outage, wait_s, meanwhile
        self._is_released = False

    def waited(self, ask: Callable[[], T]) -> T:
        """Return what a request comes to, made again while the store is away.

        Raises:
            StoreError: it is away for longer, or the error is none that passes.
        """
        began, number, until = time.monotonic(), 0, float("inf")
        is_answered = False
        try:
            while True:
                try:
                    with asked_until(until):
                        found = ask()
                except StoreError as error:
                    is_answered = not error.may_pass
                    if number == 0 and self._wait_s is not None:
                        until = time.monotonic() + self._wait_s
                    if is_answered or not self._goes_on(until):
                        raise
                    if number == 0:
                        self._outage.begin_wait(began)
                    number += 1
                    self._outage.say(f"{error}; {self._meanwhile}")
                    pause_s = max(_pause_s(number), min(error.asks_s, LONGEST_WAIT_S))
                    self._outage.pause(min(time.monotonic() + pause_s, until), self._is_over)
                    if self._is_over():
                        raise
                else:
                    is_answered = True
                    return found
        finally:
            if number:
                self._outage.end_wait(is_answered=is_answered)
            if is_answered:
                self._outage.answered()

    def release(self) -> None:
        """Have all that wait here give up, and wait no more from now on."""
        self._is_released = True
        self._outage.wake()

    def _is_over(self) -> bool:
        return self._is_released or ending().is_set()

    def _goes_on(self, until: float) -> bool:
        """Return whether a request that failed may be made again."""
        if self._wait_s is not None:
            if time.monotonic() >= until:
                self._outage.is_hopeless = True
            if self._outage.is_hopeless:
                return False
        return not self._is_over()


def _pause_s(number: int) -> float:
    return _PAUSES_S[number - 1] if number <= len(_PAUSES_S) else _LONGEST_PAUSE_S


def asked_again_for(wait_s: float) -> str:
    """Return what is said of a wait at its beginning."""
    return f"it is asked again for {format_clock(wait_s)} ({ENV_STORE_WAIT})"


def put_off(wait_s: float) -> str:
    """Return what is said where it is what is stored in the background that waits."""
    if not wait_s:
        return "what is stored meanwhile is put off"
    return f"what is stored meanwhile is put off; what needs the store: {asked_again_for(wait_s)}"
