"""Answers whose head came whole.

Python's parser takes a head that ends early for one that ends: an answer that is cut there reads as
one without a body, or with another size, and so a whole object as one of no bytes. Such an answer
is asked for again.
"""

from http.client import (
    BadStatusLine,
    HTTPResponse,
    IncompleteRead,
    RemoteDisconnected,
    UnknownProtocol,
)
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

TLS_ALERT = "an alert of TLS"
"""What a BadStatusLine says of an answer to plain HTTP from what expects TLS."""

_ALERT = b"\x15\x03"
"""RFC 8446: content type alert, and the version that every record says it is of."""


class _Lines:
    """A file that remembers the last line that was read of it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last = b""

    def readline(self, *arguments: Any) -> bytes:
        self.last = self._file.readline(*arguments)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _WholeResponse(HTTPResponse):
    """An answer whose head ends with an empty line."""

    def begin(self) -> None:
        """Read the head; no error or warning about it repeats it, since it may repeat the request.

        Raises:
            IncompleteRead: it broke off; urllib3 then asks again.
            BadStatusLine: it is not HTTP.
        """
        response: Any = self
        file = response.fp
        response.fp = lines = _Lines(file)
        try:
            super().begin()
        except RemoteDisconnected:
            raise
        except (BadStatusLine, UnknownProtocol):
            if b"HTTP/".startswith(lines.last[:5]) and not lines.last.endswith(b"\n"):
                raise IncompleteRead(b"") from None
            is_tls = lines.last.startswith(_ALERT)
            raise BadStatusLine(TLS_ALERT if is_tls else "an answer that is not HTTP") from None
        response.msg.defects.clear()  # of these urllib3 would warn with what it could not read
        response.msg.set_payload("")
        if response.fp is lines:
            response.fp = file
        if lines.last not in (b"\r\n", b"\n"):
            raise IncompleteRead(lines.last)


class _Connection(HTTPConnection):
    response_class = _WholeResponse


class _SecureConnection(HTTPSConnection):
    response_class = _WholeResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def only_whole_answers(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """Return the manager, which takes whole heads alone from now on."""
    pools: Any = {"http": _Pool, "https": _SecurePool}
    manager.pool_classes_by_scheme = pools
    return manager
