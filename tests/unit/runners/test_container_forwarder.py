"""The TCP forwarder: bytes arrive, both ways, and nobody listens afterwards."""

import socket
import threading

import pytest

from accrete.runners._containers import forwarded


@pytest.fixture
def echo() -> int:
    """A server on loopback that sends back what it gets, in capitals."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data.upper())

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def exchange(host: str, port: int, data: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_bytes_go_both_ways_from_the_named_address_alone(echo: int) -> None:
    with forwarded("127.0.0.2", "127.0.0.1", echo) as port:
        assert exchange("127.0.0.2", port, b"hello") == b"HELLO"
        with pytest.raises(OSError, match="refused"):
            exchange("127.0.0.1", port, b"hello")
    with pytest.raises(OSError, match="refused"):
        exchange("127.0.0.2", port, b"hello")


def test_a_target_that_is_gone_ends_the_connection_and_not_the_forwarder(echo: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        gone = unused.getsockname()[1]
    with forwarded("127.0.0.1", "127.0.0.1", gone) as port:
        for _ in range(2):
            assert exchange("127.0.0.1", port, b"") == b""


def test_an_address_of_no_interface_is_refused(echo: int) -> None:
    with pytest.raises(OSError, match="assign"), forwarded("192.0.2.1", "127.0.0.1", echo):
        pass
