"""Free ports for SeaweedFS: what another user's killed server left behind is in the way."""

import os
import socket
from pathlib import Path

import pytest

from accrete.store import _ports as ports


@pytest.fixture
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the one where SeaweedFS puts its socket files."""
    monkeypatch.setattr(ports, "_SOCKETS", tmp_path)
    return tmp_path


def test_ports_differ_and_can_be_had(sockets: Path) -> None:
    found = ports.free_ports(4)
    assert len(set(found)) == 4
    assert all(15_000 <= port < 22_000 for port in found)


@pytest.mark.parametrize("offset", [0, ports.GRPC_OFFSET])
def test_a_port_with_a_socket_file_of_another_user_is_none(sockets: Path, offset: int) -> None:
    for port in range(15_000, 22_000):
        if port % 10:
            (sockets / f"seaweedfs-master-grpc-{port + offset}.sock").touch()
    mine, other = os.getuid(), os.getuid() + 1
    assert all(port % 10 == 0 for port in ports.free_ports(3, other))
    assert any(port % 10 for port in ports.free_ports(3, mine))


def test_only_a_server_s_own_socket_files_are_removed(sockets: Path) -> None:
    names = ("seaweedfs-filer-15001.sock", "seaweedfs-master-grpc-25001.sock")
    others = ("seaweedfs-filer-15002.sock", "other-15001.sock")
    for name in (*names, *others):
        (sockets / name).touch()
    ports.remove_sockets([15_001])
    assert {path.name for path in sockets.iterdir()} == set(others)


def test_a_socket_file_that_a_next_server_listens_on_stays(sockets: Path) -> None:
    path = sockets / "seaweedfs-filer-grpc-25001.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        ports.remove_sockets([15_001])
        assert path.exists()
    ports.remove_sockets([15_001])
    assert not path.exists()
