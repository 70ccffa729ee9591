"""What goes to a Pushgateway, and that it goes there alone."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry, Gauge

from accrete.core.settings import PushgatewaySettings
from accrete.monitoring.exporters import PushError, Pushgateway

Request = tuple[str, str, Message, bytes]


@contextmanager
def answering(code: int, **headers: str) -> Iterator[tuple[str, list[Request]]]:
    """Answer every request alike; gives the address and what was asked."""
    asked: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.command, self.path, self.headers, body))
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("accrete_any", "Any.", registry=registry).set(3)
    return registry


def test_a_push_replaces_the_group_of_a_run_s_step(registry: CollectorRegistry) -> None:
    with answering(200) as (url, asked):
        Pushgateway(PushgatewaySettings(url=url)).push("a-run", "stage-0001", registry)
    ((method, path, headers, body),) = asked
    assert (method, path) == ("PUT", "/metrics/job/accrete/run/a-run/step/stage-0001")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "Authorization" not in headers
    assert b"accrete_any 3.0\n" in body


def test_a_push_goes_past_the_environment_s_proxy(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200) as (proxy, seen), answering(200) as (url, asked):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        settings = PushgatewaySettings(url=url, username="me", password="very-secret")
        Pushgateway(settings).push("a-run", "stage-0001", registry)
    assert not seen
    (request,) = asked
    assert base64.b64decode(request[2]["Authorization"].removeprefix("Basic ")) == b"me:very-secret"


def test_a_push_that_is_redirected_takes_no_credentials_there_and_was_not_taken(
    registry: CollectorRegistry,
) -> None:
    with answering(200) as (other, seen), answering(307, Location=other) as (url, asked):
        settings = PushgatewaySettings(url=url, username="me", password="very-secret")
        with pytest.raises(PushError, match=f"the Pushgateway at {url} answered 307"):
            Pushgateway(settings).push("a-run", "stage-0001", registry)
    assert len(asked) == 1
    assert not seen


def test_a_password_in_any_letters_is_sent_as_utf_8(registry: CollectorRegistry) -> None:
    with answering(200) as (url, asked):
        settings = PushgatewaySettings(url=url, username="me", password="пароль-é")
        Pushgateway(settings).push("a-run", "stage-0001", registry)
    token = asked[0][2]["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(token).decode() == "me:пароль-é"
