"""What is asked of a store again, how often, and after which pause."""

from contextlib import suppress
from typing import Any

import urllib3

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
"""A store that asks to be left alone for longer is not waited for."""

_CONNECTS, _STATUSES = 4, 7


class _Retry(urllib3.Retry):
    """Tries again, but not what stays as it is: a certificate, or a port without TLS."""

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
        if wait_s is not None and wait_s > LONGEST_WAIT_S:
            raise urllib3.exceptions.MaxRetryError(_pool, url or "")  # the answer is the last one
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def get_retry_after(self, response: Any) -> float | None:
        """Return the seconds that an answer asks to wait, None where it does not say so."""
        with suppress(urllib3.exceptions.InvalidHeader, OverflowError, ValueError):
            return super().get_retry_after(response)
        return None


def retries() -> urllib3.Retry:
    """Return how often a request is tried, whatever its method.

    Where nothing answers, five times within about three seconds. Where the store answers that it
    cannot now, eight times within about half a minute, or as its `Retry-After` asks. All that is
    asked here may be asked twice: the parts of an upload too, and its end (see `upload`).
    """
    return _Retry(
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


def never_again() -> urllib3.Retry:
    """Return what has a request tried once, and then end as one that was tried often."""
    return _Retry(0, redirect=False, raise_on_status=False)
