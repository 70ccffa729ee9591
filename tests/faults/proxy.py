"""A proxy on loopback between a step and the real store, which does harm by plan.

It hands bytes on as they come, the Host header included, so that signatures hold: the step's
endpoint is the proxy's address, and the store checks the header it was sent. It reads just enough
HTTP/1.1 to know where a request and its answer begin and end. A plan is asked once for each request
and says what becomes of it.
"""

import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 1 << 14
_TIMEOUT_S = 600.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_REASONS = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks for."""

    number: int
    """From 1, over all connections of the proxy."""
    method: str
    """`GET`, `PUT`, …"""
    path: str
    """Of the address, with the query."""
    num_bytes: int
    """Of its body."""
    head: bytes = b""
    """As it came, with its empty line."""

    def header(self, name: str) -> str | None:
        """Return a header's value, None where the request has none."""
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)", self.head, re.IGNORECASE)
        return found[1].decode("latin-1") if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What becomes of one request; the parts that are not given do nothing."""

    delay_s: float = 0.0
    """Before it is handed on."""
    bytes_per_s: float | None = None
    """Of body and answer."""
    status: int | None = None
    """Answer this instead of handing the request on."""
    answer: bytes | None = None
    """The same, with these very bytes: see `reply`."""
    rewrite: Callable[[bytes], bytes] = lambda head: head
    """Makes the head that is handed on of the one that came."""
    body_bytes: int | None = None
    """`then` happens once so many bytes of the request's body are handed on (all, if fewer)."""
    answer_bytes: int | None = None
    """`then` happens once so many bytes of the answer are handed back (all, if fewer)."""
    then: Callable[[], None] = lambda: None
    """Called there."""
    cut: bool = True
    """Whether the connection is cut there."""


Plan = Callable[[Request], Fault | None]


class _CutError(Exception):
    """A connection ends here: by plan, or because one side left."""


class Proxy:
    """Listens on a free port of loopback while its block runs."""

    def __init__(
        self, upstream: str, plan: Plan = lambda _request: None, host: str = "127.0.0.1"
    ) -> None:
        """Stand before `http://host:port`; plan and upstream may be changed at any time."""
        self.upstream, self.plan = upstream, plan
        self.requests: list[Request] = []
        self.num_faults = 0
        self._lock = Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self._open: set[socket.socket] = set()
        self._closed = False

    @property
    def endpoint(self) -> str:
        """`http://host:port` of the proxy."""
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(_TIMEOUT_S)
            Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Serve one client's connection with one connection to the store."""
        server: socket.socket | None = None
        with suppress(_CutError, OSError), client:
            self._remember(client)
            reader = _Reader(client)
            while head := reader.head():
                request, fault = self._planned(head)
                time.sleep(fault.delay_s)
                if fault.status is not None or fault.answer is not None:
                    reader.discard(request.num_bytes)
                    client.sendall(fault.answer or _refusal(fault.status or 500, request.method))
                    continue
                head = fault.rewrite(head)
                if server is None:
                    host, port = self.upstream.removeprefix("http://").split(":")
                    server = socket.create_connection((host, int(port)), timeout=_TIMEOUT_S)
                    self._remember(server)
                self._exchange(reader, _Reader(server), head, request, fault)
        self._forget(client, server)

    def _exchange(
        self, client: "_Reader", server: "_Reader", head: bytes, request: Request, fault: Fault
    ) -> None:
        server.socket.sendall(head)
        body = _Passage(server.socket, fault.body_bytes, fault)
        client.body(_Framing(length=request.num_bytes), body)
        answer = _Passage(client.socket, fault.answer_bytes, fault)
        while True:
            answer_head = server.head()
            if not answer_head:
                raise _CutError
            answer.interim = answer_head.startswith(b"HTTP/1.1 100")
            answer(answer_head)
            if not answer.interim:
                break
        framing = _framing_of_answer(answer_head, request.method)
        server.body(framing, answer)
        if framing.until_close:
            raise _CutError

    def _planned(self, head: bytes) -> tuple[Request, Fault]:
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        length = _LENGTH.search(head)
        with self._lock:
            request = Request(
                number=len(self.requests) + 1,
                method=method,
                path=path,
                num_bytes=int(length[1]) if length else 0,
                head=head,
            )
            self.requests.append(request)
            fault = self.plan(request)
            self.num_faults += fault is not None
        return request, fault or Fault()

    def _remember(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def _forget(self, *connections: socket.socket | None) -> None:
        with self._lock:
            self._open -= {each for each in connections if each}
        for each in connections:
            if each is not None:
                each.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Framing:
    """How one knows where a body ends."""

    length: int = 0
    is_chunked: bool = False
    until_close: bool = False


def _framing_of_answer(head: bytes, method: str) -> _Framing:
    status = int(head.split(b" ", 2)[1])
    length = _LENGTH.search(head)
    if method == "HEAD" or status in (204, 304):
        return _Framing()
    if _CHUNKED.search(head):
        return _Framing(is_chunked=True)
    return _Framing(length=int(length[1])) if length else _Framing(until_close=True)


class _Passage:
    """Hands bytes on to a socket, as quickly and as far as a fault lets it."""

    def __init__(self, target: socket.socket, limit: int | None, fault: Fault) -> None:
        self._target, self._fault = target, fault
        self._left = limit
        self.interim = False

    def __call__(self, data: bytes) -> None:
        """Hand on; do what the fault says when its number of bytes is reached."""
        if self.interim:
            self._target.sendall(data)
            return
        if self._left is not None and len(data) >= self._left:
            head, data = data[: self._left], data[self._left :]
            self._send(head)
            self._strike()
        elif self._left is not None:
            self._left -= len(data)
        self._send(data)

    def end(self) -> None:
        """Do what the fault says if the bytes ended before their number was reached."""
        if self._left is not None:
            self._strike()

    def _send(self, data: bytes) -> None:
        rate = self._fault.bytes_per_s
        size = _CHUNK_BYTES if rate is None else max(1, int(rate / 100))
        for begin in range(0, len(data), size):
            piece = data[begin : begin + size]
            self._target.sendall(piece)
            if rate is not None:
                time.sleep(len(piece) / rate)

    def _strike(self) -> None:
        self._left = None
        self._fault.then()
        if self._fault.cut:
            raise _CutError


class _Reader:
    """Reads messages from a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""

    def head(self) -> bytes:
        """Return a message's head with its empty line, nothing where the other side left."""
        while b"\r\n\r\n" not in self._rest:
            data = self.socket.recv(_CHUNK_BYTES)
            if not data:
                return b""
            self._rest += data
        end = self._rest.index(b"\r\n\r\n") + 4
        head, self._rest = self._rest[:end], self._rest[end:]
        return head

    def body(self, framing: _Framing, passage: _Passage) -> None:
        """Hand a body on."""
        if framing.is_chunked:
            self._chunks(passage)
        elif framing.until_close:
            with suppress(_CutError):
                while True:
                    passage(self._some(_CHUNK_BYTES))
        else:
            self._exactly(framing.length, passage)
        passage.end()

    def discard(self, length: int) -> None:
        """Read a body that nobody gets."""
        while length:
            length -= len(self._some(length))

    def _exactly(self, length: int, passage: _Passage) -> None:
        while length:
            data = self._some(length)
            length -= len(data)
            passage(data)

    def _chunks(self, passage: _Passage) -> None:
        while True:
            line = self._line()
            passage(line)
            length = int(line.split(b";")[0], 16)
            self._exactly(length, passage)
            passage(self._line())  # after data; after the last chunk, the end of no trailers
            if not length:
                return

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            data = self.socket.recv(_CHUNK_BYTES)
            if not data:
                raise _CutError
            self._rest += data
        end = self._rest.index(b"\r\n") + 2
        line, self._rest = self._rest[:end], self._rest[end:]
        return line

    def _some(self, most: int) -> bytes:
        """Return one byte at least."""
        if not self._rest:
            self._rest = self.socket.recv(_CHUNK_BYTES)
            if not self._rest:
                raise _CutError
        data, self._rest = self._rest[:most], self._rest[most:]
        return data


def reply(status: int, body: str | bytes = b"", **headers: str) -> bytes:
    """Return an answer's bytes.

    Args:
        status: of HTTP.
        body: what follows the head.
        headers: `content_type` becomes `content-type`; a `length` is not that of the body but of
            what a HEAD is about.
    """
    data = body.encode() if isinstance(body, str) else body
    length = headers.pop("length", str(len(data)))
    lines = [f"HTTP/1.1 {status} by plan", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def without(name: str) -> Callable[[bytes], bytes]:
    """Return what takes a header out of a head, as a store does that does not know it."""
    line = rb"\r\n" + name.encode() + rb":[^\r]*"
    return lambda head: re.sub(line, b"", head, flags=re.IGNORECASE)


def s3_error(status: int, code: str, more: str = "", **headers: str) -> bytes:
    """Return an answer that is an error of S3.

    Args:
        status: of HTTP.
        code: of S3.
        more: elements that follow code and message.
        headers: as of `reply`.
    """
    body = f"<Error><Code>{code}</Code><Message>by plan</Message>{more}</Error>"
    return reply(status, body, content_type="application/xml", **headers)


def _refusal(status: int, method: str) -> bytes:
    """Return an S3 store's answer that something failed."""
    code = _REASONS[status]
    body = f"<Error><Code>{code}</Code><Message>by plan</Message></Error>".encode()
    lines = [f"HTTP/1.1 {status} {code}", "Content-Type: application/xml"]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + (b"" if method == "HEAD" else body)
