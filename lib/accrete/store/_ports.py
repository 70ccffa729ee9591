"""Free loopback ports for SeaweedFS, which also takes port + 10000 for gRPC beside each."""

import os
import random
import socket
from contextlib import suppress
from pathlib import Path

from accrete.errors import AccreteError

GRPC_OFFSET = 10_000

_SOCKETS = "/tmp"  # noqa: S108  where SeaweedFS puts its own, named by port


def free_ports(count: int, user: int | None = None) -> list[int]:
    """Return ports on 127.0.0.1 that are free together with port + 10000.

    Another process may take one before it is used: the caller starts again then.

    Args:
        count: how many.
        user: id of the user who will run the server; None: this process's. A socket file that a
            killed server of somebody else's left behind is in that user's way.

    Raises:
        AccreteError: none were found in a thousand tries.
    """
    found: list[int] = []
    for _ in range(1000):
        port = random.SystemRandom().randrange(15_000, 22_000)
        both = (port, port + GRPC_OFFSET)
        if port not in found and all(map(_is_free, both)) and not _is_taken(port, user):
            found.append(port)
            if len(found) == count:
                return found
    raise AccreteError(f"no {count} free loopback ports were found: close some servers")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_taken(port: int, user: int | None) -> bool:
    """Return whether a socket file of somebody else's has a port's name."""
    own = os.getuid() if user is None else user
    with suppress(FileNotFoundError):
        return any(path.stat().st_uid != own for path in _sockets_of(port))
    return False


def remove_sockets(ports: list[int]) -> None:
    """Remove the socket files that a server of this user's left behind.

    One that somebody listens on is another server's, which was given a port of the one that ended.
    """
    for port in ports:
        for path in _sockets_of(port):
            if not _is_listened_on(path):
                with suppress(OSError):
                    path.unlink()


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _sockets_of(port: int) -> list[Path]:
    """Return the socket files of a server with this port."""
    return [
        path
        for number in (port, port + GRPC_OFFSET)
        for path in Path(_SOCKETS).glob(f"seaweedfs-*-{number}.sock")
    ]
