"""Calls that may take too long: others' programs and servers, each in a thread of its own."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from accrete.errors import AccreteError

T = TypeVar("T")


class Background(Generic[T]):
    """A call that was begun; it is left to itself where it takes too long, and ends with us."""

    def __init__(self, ask: Callable[[], T]) -> None:
        """Begin."""
        self._came: list[Callable[[], T]] = []
        self._is_done = threading.Event()
        threading.Thread(target=self._run, args=(ask,), daemon=True, name="background").start()

    def _run(self, ask: Callable[[], T]) -> None:
        try:
            value = ask()
            self._came.append(lambda: value)
        except (AccreteError, LookupError) as error:
            self._came.append(_raising(error))
        finally:
            self._is_done.set()

    def result(self, seconds: float) -> T:
        """Return what the call returned, or raise what it raised.

        Raises:
            TimeoutError: there is nothing yet.
        """
        if not self._is_done.wait(max(seconds, 0.0)) or not self._came:
            raise TimeoutError
        return self._came[0]()


def _raising(error: Exception) -> Callable[[], Any]:
    def again() -> Any:
        raise error

    return again
