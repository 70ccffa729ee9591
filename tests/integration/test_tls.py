"""TLS to the store: SeaweedFS's own, with certificates of a CA that only the tests know."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3
from certificates import Authority
from conftest import HANGS_S
from seaweed import ADMIN, make_bucket, seaweed_server

from accrete.core.hashing import sha256_of_bytes
from accrete.errors import AccreteError, ConfigError, StoreError, StoreUnreachableError
from accrete.store._ports import free_ports
from accrete.store.embedded import embedded_store
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri


@dataclass(frozen=True, slots=True)
class Place:
    """The servers of this file."""

    ca: Path
    """The CA's certificate."""
    other_ca: Path
    """Another's."""
    port: int
    """A store whose certificate is for localhost, and right."""
    expired: int
    """One whose certificate has expired."""
    early: int
    """One whose certificate is not valid yet."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The whole store with a right certificate; gateways of the others say enough."""
    folder = tmp_path_factory.mktemp("tls")
    ca, other = Authority(folder, "ca"), Authority(folder, "other-ca")
    right = ca.server("right", "localhost")
    expired = ca.server("expired", "localhost", since=-3, until=-1)
    early = ca.server("early", "localhost", since=1, until=3)
    with (
        seaweed_server(folder / "right", *right.options) as first,
        seaweed_server(folder / "expired", *expired.options) as second,
        seaweed_server(folder / "early", *early.options) as third,
    ):
        place = Place(ca.path, other.path, first.port, second.port, third.port)
        store = store_at(f"https://localhost:{place.port}", ca.path)
        make_bucket(store)
        yield place


def store_at(endpoint: str, ca_bundle: Path | None) -> ObjectStore:
    settings = StoreSettings(
        endpoint=endpoint,
        access_key=ADMIN[0],
        secret_key=ADMIN[1],
        ca_bundle=str(ca_bundle) if ca_bundle else None,
    )
    return ObjectStore(settings, parse_store_uri("s3://accrete/tls"))


@contextmanager
def at_once() -> Iterator[None]:
    """Fail where a request is tried again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(urllib3.Retry, "sleep", lambda *_: pytest.fail("it tried again"))
        yield


def failure_of(endpoint: str, ca_bundle: Path | None) -> str:
    """Return what a check says; it says so without trying again."""
    with at_once(), pytest.raises(AccreteError) as caught:
        store_at(endpoint, ca_bundle).check()
    assert isinstance(caught.value, StoreUnreachableError), repr(caught.value)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"the object store at {endpoint} cannot be reached: ")
    return message


def test_every_way_of_reading_and_writing_works_with_the_right_ca(
    place: Place, tmp_path: Path
) -> None:
    store = store_at(f"https://localhost:{place.port}", place.ca)
    store.check()
    store.write_note("note", b"kept")
    assert store.read_note("note") == b"kept"
    assert store.create_note("once", b"first")
    assert not store.create_note("once", b"second")
    assert store.read_note("once") == b"first"
    data = bytes(range(256)) * 50_000  # several parts
    ref = ObjectRef(sha256=sha256_of_bytes(data), num_bytes=len(data))
    (tmp_path / "data").write_bytes(data)
    assert store.push_file(ref, tmp_path / "data")
    store.pull_file(ref, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert set(store.list_keys("")) >= {"note", "once"}
    assert store.status_of("note") == 200
    store.delete("note")
    assert store.status_of("note") == 404


@pytest.mark.slow
def test_a_whole_run_works_over_tls(place: Place, tmp_path: Path) -> None:
    """Command, KFP's runner, a process for each step: all get the CA, by one variable."""
    settings = store_at(f"https://localhost:{place.port}", place.ca).settings
    classes = tmp_path / "classes.txt"
    classes.write_text("0\n1\n2\n")
    done = accrete(
        tmp_path, settings.as_environment(), "run", "--only-classes", str(classes),
        "--stages", "2,1", "--budget-epochs", "1", "--name", "tls", "--store", "s3://accrete/run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + log_of(tmp_path)
    store = ObjectStore(settings, parse_store_uri("s3://accrete/run"))
    assert len(store.list_keys("stages/")) == 2
    assert store.read_note("runs/tls/report.html")


def accrete(
    folder: Path, env: dict[str, str], *arguments: str
) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    return subprocess.run(
        [str(Path(sys.executable).parent / "accrete"), *arguments],
        env=clean | {"ACCRETE_HOME": str(folder / "home")} | env,
        cwd=folder, capture_output=True, text=True, timeout=HANGS_S, check=False,
    )  # fmt: skip


def log_of(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("home/runs/*/run.log"))


@pytest.mark.parametrize("which", ["another CA", "the system's"])
def test_a_certificate_of_an_unknown_ca_is_refused(place: Place, which: str) -> None:
    bundle = place.other_ca if which == "another CA" else None
    message = failure_of(f"https://localhost:{place.port}", bundle)
    assert f"from no CA in {bundle or 'this system'}" in message
    assert message.endswith("name the file of its CA's certificate in ACCRETE_S3_CA_BUNDLE")


def test_a_certificate_for_another_name_is_refused(place: Place) -> None:
    message = failure_of(f"https://127.0.0.1:{place.port}", place.ca)
    assert message.endswith(
        "its certificate is not for 127.0.0.1: use a name or address that it has"
    )


def test_a_certificate_out_of_its_time_is_refused(place: Place) -> None:
    assert "its certificate has expired" in failure_of(
        f"https://localhost:{place.expired}", place.ca
    )
    assert "its certificate is not valid yet" in failure_of(
        f"https://localhost:{place.early}", place.ca
    )


def test_https_to_a_port_without_tls_is_told(tmp_path: Path) -> None:
    with embedded_store(tmp_path / "home") as settings:
        endpoint = settings.endpoint.replace("http://", "https://")
        message = failure_of(endpoint, None)
    assert message.endswith(
        "it answers without TLS: give http:// instead of https://, or its port for TLS"
    )


def test_http_to_a_port_with_tls_is_told(place: Place) -> None:
    store = store_at(f"http://localhost:{place.port}", None)
    for ask in (store.check, lambda: store.read_note("note"), lambda: store.create_note("n", b"")):
        expected = r"give https:// if that is its port for TLS$"
        with at_once(), pytest.raises(StoreError, match=expected):
            ask()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"cannot be read \(No such file or directory\)"),
        (b"", "holds no CA certificate that can be read"),
        (b"no certificate\n", "holds no CA certificate that can be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "holds no CA certificate that can be read"),
        (b"\x30\x82\x01\x00", "holds no CA certificate that can be read"),
    ],
)
def test_a_ca_bundle_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    port = free_ports(1)[0]  # nothing is asked there
    with pytest.raises(ConfigError, match=f"ACCRETE_S3_CA_BUNDLE is {path}, which {problem}"):
        store_at(f"https://localhost:{port}", path)


def test_a_ca_bundle_that_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        store_at("https://localhost", tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ACCRETE_S3_CA_BUNDLE": "/no/such/ca.pem"}, "which cannot be read"),
        ({"ACCRETE_S3_CA_BUNDLE": ""}, "from no CA in this system's CA certificates"),
    ],
)
def test_a_command_says_what_is_wrong_with_tls_in_one_line(
    place: Place, tmp_path: Path, change: dict[str, str], problem: str
) -> None:
    env = store_at(f"https://localhost:{place.port}", place.ca).settings.as_environment()
    done = accrete(tmp_path, env | change, "status")
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("accrete: error: ")
    assert done.stderr.count("\n") == 1
    assert problem in done.stderr
