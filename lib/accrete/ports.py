"""Free loopback ports for SeaweedFS, which also takes port + 10000 for gRPC beside each."""

import random
import socket

from accrete.errors import AccreteError

GRPC_OFFSET = 10_000


def free_ports(count: int) -> list[int]:
    """Return ports on 127.0.0.1 that are free together with port + 10000.

    Another process may take one before it is used: the caller starts again then.

    Raises:
        AccreteError: none were found in a thousand tries.
    """
    found: list[int] = []
    for _ in range(1000):
        port = random.SystemRandom().randrange(15_000, 22_000)
        if port not in found and _is_free(port) and _is_free(port + GRPC_OFFSET):
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
