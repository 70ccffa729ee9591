"""What is asked of a store again, how often, and after which pause."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any

import urllib3

from accrete.core.processes import ending
from accrete.core.tls import is_lasting, tls_error

TRANSIENT = (408, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524, 529)
"""Statuses that may be others a moment later; those from 520 on are Cloudflare's."""

NOT_NOW = {
    *("RequestTimeout", "OperationAborted", "ConditionalRequestConflict", "InternalError"),
    *("ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "ThrottledException"),
    *("RequestLimitExceeded", "TooManyRequests", "BandwidthLimitExceeded"),
}
"""Codes of S3 that may come with any status, 200 too where a store answers before it is done."""

LONGEST_WAIT_S = 120.0
"""A store that asks to be left alone for longer is asked again after that time."""

ROUND_S = 30.0
"""After so long a request is not made again here: who waits on says so first."""
_LAST_ROUND_S, _LAST_PAUSE_S = 5.0, 0.2
"""The same, and the longest pause, once this process was told to end."""

_CONNECTS, _STATUSES = 4, 7


@cache
def _until() -> ContextVar[float]:
    return ContextVar("until", default=math.inf)


@contextmanager
def asked_until(until: float) -> Iterator[None]:
    """Have no request of the block be made again after a time (`time.monotonic`)."""
    token = _until().set(until)
    try:
        yield
    finally:
        _until().reset(token)


class _Retry(urllib3.Retry):
    """Tries again for a while, but not what stays as it is: a certificate, a port without TLS."""

    began = 0.0
    """When the request was made first (`time.monotonic`)."""
    until = math.inf
    """When it is not made again, before its round is over."""

    def new(self, **changes: Any) -> "_Retry":
        """Return the same with other counts."""
        made = super().new(**changes)
        made.began, made.until = self.began, self.until
        return made

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> "_Retry":
        """Count an attempt.

        Raises:
            MaxRetryError: another one is of no use.
        """
        if error is not None and is_lasting(tls_error(error)):
            raise urllib3.exceptions.MaxRetryError(_pool, url or "", error) from error
        broken = urllib3.exceptions.InvalidChunkLength
        if error is not None and any(isinstance(each, broken) for each in error.args):
            error.args = ("a chunk of the answer has no length",)  # its own text, which is logged
        wait_s = None if response is None else self.get_retry_after(response)
        round_s = _LAST_ROUND_S if ending().is_set() else ROUND_S
        if time.monotonic() + (wait_s or 0.0) >= min(self.began + round_s, self.until):
            # of an answer: it is the last one
            raise urllib3.exceptions.MaxRetryError(_pool, url or "", error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def get_retry_after(self, response: Any) -> float | None:
        """Return the seconds that an answer asks to wait, None where it does not say so."""
        with suppress(urllib3.exceptions.InvalidHeader, OverflowError, ValueError):
            return super().get_retry_after(response)
        return None

    def sleep(self, response: Any = None) -> None:
        """Pause before another try: as the answer asks, or longer each time."""
        pause((response and self.get_retry_after(response)) or self.get_backoff_time())


def pause(seconds: float) -> None:
    """Sleep; for a moment only once this process is told to end."""
    if not ending().is_set():
        _wait(seconds)
    else:
        time.sleep(min(seconds, _LAST_PAUSE_S))


def _wait(seconds: float) -> None:
    ending().wait(seconds)


def asked_pause_s(answer: Any) -> float:
    """Return for how many seconds an answer asks to be left alone; 0: it does not."""
    return never_again().get_retry_after(answer) or 0.0


def retries() -> urllib3.Retry:
    """Return how often a request that is made now is tried, whatever its method.

    Where nothing answers, five times within about three seconds. Where the store answers that it
    cannot now, eight times, or as its `Retry-After` asks. In all for half a minute, and what takes
    longer by itself once. All that is asked here may be asked twice: the parts of an upload too,
    and its end (see `upload`).
    """
    made = _Retry(
        total=None,
        connect=_CONNECTS,
        read=_CONNECTS,
        other=_CONNECTS,
        redirect=False,  # a signature holds for one host, and a token is for no other
        status=_STATUSES,
        allowed_methods=None,
        status_forcelist=TRANSIENT,
        raise_on_status=False,
        backoff_factor=0.2,
        backoff_max=10,
        backoff_jitter=0.1,
    )
    made.began, made.until = time.monotonic(), _until().get()
    return made


def never_again() -> urllib3.Retry:
    """Return what has a request tried once, and then end as one that was tried often."""
    return _Retry(0, redirect=False, raise_on_status=False)
