"""The way to a store: proxies, buckets in the host's name, endpoints with a path, IPv6.

The store is a real SeaweedFS on loopback. A name that nobody else has leads there through a proxy,
which is then tested with it.
"""

import re
import select
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
from certificates import Authority
from proxy import Fault, Plan, Proxy, reply
from seaweed import ADMIN, SeaweedServer, make_bucket, seaweed_server, store_of

from accrete.core.hashing import sha256_of_bytes
from accrete.core.proxies import proxy_to
from accrete.errors import ConfigError, StoreError, StoreUnreachableError
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri, store_settings

NAME = "s3.example.test"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    folder = tmp_path_factory.mktemp("ways")
    with seaweed_server(folder, f"-s3.domainName={NAME}") as running:
        make_bucket(store_of(running, ADMIN))
        yield running


def store_at(
    endpoint: str, addressing: str = "auto", ca: Path | None = None, prefix: str = "of ours/ä"
) -> ObjectStore:
    settings = StoreSettings(
        endpoint=endpoint,
        access_key=ADMIN[0],
        secret_key=ADMIN[1],
        addressing=addressing,
        ca_bundle=str(ca) if ca else None,
    )
    return ObjectStore(settings, parse_store_uri(f"s3://accrete/{prefix}/{uuid4().hex}"))


def try_everything(store: ObjectStore, folder: Path, name: str = "a note+1") -> None:
    """Use every kind of request."""
    store.check()
    store.prove_create_only()
    store.write_note(name, b"kept")
    assert store.read_note(name) == b"kept"
    assert store.read_range(name, 1, 2) == b"ep"
    assert store.create_note("once", b"first")
    assert not store.create_note("once", b"second")
    data = bytes(range(256)) * 30_000  # several parts
    ref = ObjectRef(sha256=sha256_of_bytes(data), num_bytes=len(data))
    (folder / "data").write_bytes(data)
    assert store.push_file(ref, folder / "data")
    store.pull_file(ref, folder / "back")
    assert (folder / "back").read_bytes() == data
    assert name in store.list_keys("")
    store.delete("once")
    store.delete(name)
    assert store.size_of(name) is None
    store.bucket.clock()


def test_a_proxy_is_used(
    server: SeaweedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(f"http://127.0.0.1:{server.port}") as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        try_everything(store_at(f"http://{NAME}:8333"), tmp_path)
        assert {each.path.split("/accrete")[0] for each in proxy.requests} == {
            f"http://{NAME}:8333"
        }
        assert len(proxy.requests) > 10


@contextmanager
def tunnels(upstream: int, password: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """A proxy for TLS (CONNECT): `host:port`, and the first line of what it was asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[str] = []

    def serve(client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head and (data := client.recv(4096)):
                head += data
            asked.append(head.decode().splitlines()[0])
            if password and b64encode(password.encode()) not in head:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", upstream)) as server:
                ends = {client: server, server: client}
                while True:
                    for one in select.select(list(ends), [], [])[0]:
                        data = one.recv(1 << 16)
                        if not data:
                            return
                        ends[one].sendall(data)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            Thread(target=serve, args=(client,), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.slow
def test_tls_goes_through_a_proxy_too_with_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path, "ca")
    files = authority.server("store", NAME, "localhost")
    with (
        seaweed_server(tmp_path / "store", *files.options) as server,
        tunnels(server.port, "user:pass word") as (proxy, asked),
    ):
        make_bucket(store_at(f"https://localhost:{server.port}", ca=authority.path))
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass%20word@{proxy}")
        try_everything(store_at(f"https://{NAME}", ca=authority.path), tmp_path)
        assert set(asked) <= {f"CONNECT {NAME}:443 HTTP/1.{minor}" for minor in (0, 1)}
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:wrong-one@{proxy}")
        with pytest.raises(StoreUnreachableError) as caught:
            store_at(f"https://{NAME}", ca=authority.path).check()
        assert str(caught.value).startswith(
            f"the object store at https://{NAME} cannot be reached through the proxy "
            f"http://{proxy} of HTTPS_PROXY (Tunnel connection failed: 407"
        )
        assert "wrong-one" not in repr(caught.value)


def test_a_proxy_s_password_is_repeated_by_no_message(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<title>user u password top-secret-pw is blocked</title>"
    refusal = reply(403, page, content_type="text/html", server="squid")
    with Proxy(store.settings.endpoint, lambda _: Fault(answer=refusal)) as proxy:
        address = proxy.endpoint
        monkeypatch.setenv("HTTP_PROXY", address.replace("://", "://u:top-secret-pw@"))
        with pytest.raises(StoreError) as caught:
            store_at(f"http://{NAME}").check()
    said = str(caught.value)
    assert "top-secret" not in said
    assert f"check the proxy {address} of HTTP_PROXY" in said


def test_a_proxy_that_wants_a_password_is_named(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = reply(407, "<title>Cache Access Denied</title>", content_type="text/html")
    with Proxy(store.settings.endpoint, lambda _: Fault(answer=refusal)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        with pytest.raises(StoreUnreachableError, match=r"of HTTP_PROXY \(407: it wants a"):
            store_at(f"http://{NAME}").check()


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:1")
    monkeypatch.setattr("accrete.store._retry._wait", lambda _: None)
    with pytest.raises(StoreUnreachableError, match=r"through the proxy http://127\.0\.0\.1:1 of "):
        store_at(f"https://{NAME}").check()


@pytest.mark.parametrize(
    "value",
    [
        "socks5://127.0.0.1:1",
        "http://",
        "http://u:secret@h:x",
        "http://u:12/secret@h",
        "u:1#secret@h",
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(ConfigError, match=r"^ALL_PROXY is ") as caught:
        store_at(f"https://{NAME}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "env", "variable"),
    [
        ("http://store:80", {"HTTP_PROXY": "p:1"}, "HTTP_PROXY"),
        ("http://store:80", {"HTTP_PROXY": "p:1", "http_proxy": "q:1"}, "http_proxy"),
        ("http://store:80", {"HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"}, None),
        ("http://store:80", {"HTTPS_PROXY": "p:1"}, None),
        ("https://store", {"HTTPS_PROXY": "p:1"}, "HTTPS_PROXY"),
        ("https://store", {"ALL_PROXY": "p:1"}, "ALL_PROXY"),
        ("https://store", {"HTTPS_PROXY": ""}, None),
        ("https://store", {"HTTPS_PROXY": "p:1", "NO_PROXY": "*"}, None),
        ("https://store", {"HTTPS_PROXY": "p:1", "NO_PROXY": "other, STORE"}, None),
        ("https://a.example.org", {"HTTPS_PROXY": "p:1", "NO_PROXY": ".example.org"}, None),
        ("https://a.example.org", {"HTTPS_PROXY": "p:1", "NO_PROXY": "example.org"}, None),
        ("https://a.example.org", {"HTTPS_PROXY": "p:1", "NO_PROXY": "*.example.org"}, None),
        (
            "https://an-example.org",
            {"HTTPS_PROXY": "p:1", "NO_PROXY": "example.org"},
            "HTTPS_PROXY",
        ),
        ("https://store:9000", {"HTTPS_PROXY": "p:1", "no_proxy": "store:9000"}, None),
        ("https://store:9000", {"HTTPS_PROXY": "p:1", "no_proxy": "store:443"}, "HTTPS_PROXY"),
        ("https://10.1.2.3", {"HTTPS_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3", {"HTTPS_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"}, "HTTPS_PROXY"),
        ("https://10.1.2.3:9000", {"HTTPS_PROXY": "p:1", "NO_PROXY": "10.1.2.3"}, None),
        (
            "https://10.1.2.3:9000",
            {"HTTPS_PROXY": "p:1", "NO_PROXY": "10.1.2.3:9001"},
            "HTTPS_PROXY",
        ),
        ("https://store", {"HTTPS_PROXY": "p:1", "NO_PROXY": "store:443"}, None),
        ("http://localhost.:1", {"HTTP_PROXY": "p:1"}, None),
        ("http://[::ffff:127.0.0.1]:1", {"HTTP_PROXY": "p:1"}, None),
        ("https://[fd00::7]", {"HTTPS_PROXY": "p:1", "NO_PROXY": "fd00::/8"}, None),
        ("https://[fd00::7]", {"HTTPS_PROXY": "p:1", "NO_PROXY": "[fd00::7]"}, None),
        ("http://127.0.0.1:8333", {"HTTP_PROXY": "p:1"}, None),
        ("http://[::1]:8333", {"ALL_PROXY": "p:1"}, None),
        ("http://localhost:8333", {"ALL_PROXY": "p:1"}, None),
    ],
)
def test_which_proxy_leads_there(endpoint: str, env: dict[str, str], variable: str | None) -> None:
    proxy = proxy_to(endpoint, env)
    assert (proxy.variable if proxy else None) == variable


@pytest.mark.slow
def test_a_bucket_may_be_part_of_the_host_s_name(
    server: SeaweedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(f"http://127.0.0.1:{server.port}") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        try_everything(store_at(f"http://{NAME}", "virtual"), tmp_path)
        hosts = {each.header("host") for each in proxy.requests}
        assert hosts == {f"accrete.{NAME}"}
        proxy.requests.clear()
        store_at(f"http://{NAME}", "path").check()
        assert {each.header("host") for each in proxy.requests} == {NAME}


def below(path: str) -> Plan:
    """What stands before a store and takes a path's beginning off, as its users must say."""

    def taken_off(head: bytes) -> bytes:
        line, rest = head.split(b"\r\n", 1)
        method, whole, version = line.split(b" ")
        assert whole.startswith(path.encode()), whole
        short = whole[len(path) :] or b"/"
        told = b"X-Forwarded-Prefix: " + path.encode()
        return b"\r\n".join([b" ".join([method, short, version]), told, rest])

    return lambda _: Fault(rewrite=taken_off)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "/"])
def test_an_endpoint_may_have_a_path(end: str, server: SeaweedServer, tmp_path: Path) -> None:
    with Proxy(f"http://127.0.0.1:{server.port}", below("/storage/v1/s3")) as proxy:
        # What the server makes of such a path, to check the signature, does not hold for all keys.
        try_everything(
            store_at(f"{proxy.endpoint}/storage/v1/s3{end}", prefix="plain"), tmp_path, "note"
        )


def test_an_endpoint_may_be_of_ipv6(server: SeaweedServer, tmp_path: Path) -> None:
    try:
        proxy = Proxy(f"http://127.0.0.1:{server.port}", host="::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with proxy:
        try_everything(store_at(proxy.endpoint), tmp_path)
        port = re.sub(r".*:", "", proxy.endpoint)
        assert {each.header("host") for each in proxy.requests} == {f"[::1]:{port}"}


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://[::1]:80", "[::1]"),
        ("https://[2001:db8::1]:443", "[2001:db8::1]"),
        ("https://store:443", "store"),
        ("https://store:9443", "store:9443"),
        ("https://s3.eu-central-1.amazonaws.com", "accrete.s3.eu-central-1.amazonaws.com"),
        ("https://s3.amazonaws.com", "accrete.s3.us-east-1.amazonaws.com"),
        ("https://s3-eu-west-1.amazonaws.com", "accrete.s3.eu-west-1.amazonaws.com"),
        (
            "https://s3.dualstack.eu-west-1.amazonaws.com",
            "accrete.s3.dualstack.eu-west-1.amazonaws.com",
        ),
        ("https://s3.cn-north-1.amazonaws.com.cn", "accrete.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_which_host_is_asked(endpoint: str, host: str) -> None:
    env = {
        "ACCRETE_S3_ENDPOINT": endpoint,
        "ACCRETE_S3_ACCESS_KEY": "AKIDEXAMPLE",
        "ACCRETE_S3_SECRET_KEY": "secret-of-this-test",
    }
    settings = store_settings(env)
    assert settings is not None
    store = ObjectStore(settings, parse_store_uri("s3://accrete"))
    url = store._client.get_presigned_url("GET", "accrete", "key")
    assert url.split("/")[2] == host


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"ACCRETE_S3_REGION": "eu central"}, "ACCRETE_S3_REGION is 'eu central': a region has"),
        ({"ACCRETE_S3_REGION": "EU-Central-1"}, "ACCRETE_S3_REGION is 'EU-Central-1': a region"),
        ({"ACCRETE_S3_REGION": "eu-central-1\n"}, "ACCRETE_S3_REGION is 'eu-central-1\\n': a"),
        ({"ACCRETE_S3_REGION": "é"}, "ACCRETE_S3_REGION is 'é': a region has lower-case"),
        ({"ACCRETE_S3_REGION": "-x"}, "ACCRETE_S3_REGION is '-x': a region has lower-case"),
        ({"ACCRETE_S3_ADDRESSING": "host"}, "ACCRETE_S3_ADDRESSING is 'host': choose one of auto"),
        (
            {
                "ACCRETE_S3_REGION": "us-east-1",
                "ACCRETE_S3_ENDPOINT": "https://s3.eu-west-1.amazonaws.com",
            },
            "ACCRETE_S3_REGION is us-east-1, and ACCRETE_S3_ENDPOINT is one of eu-west-1",
        ),
        ({"ACCRETE_S3_ENDPOINT": "http://s3/x?y=1"}, "store endpoint is 'http://s3/x?y=1': leave"),
        ({"ACCRETE_S3_ENDPOINT": "http://s3/#x"}, "store endpoint is 'http://s3/#x': leave out"),
    ],
)
def test_settings_that_lead_nowhere_are_one_line(env: dict[str, str], said: str) -> None:
    keys = {"ACCRETE_S3_ACCESS_KEY": "AKIDEXAMPLE", "ACCRETE_S3_SECRET_KEY": "of-this-test"}
    with pytest.raises(ConfigError) as caught:
        store_settings({"ACCRETE_S3_ENDPOINT": "http://store:9000"} | keys | env)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("endpoint", "addressing"),
    [
        ("https://s3.us-east-1.amazonaws.com/accrete", "auto"),
        ("https://s3.amazonaws.com/elsewhere", "auto"),
        ("https://account.r2.cloudflarestorage.com/accrete/", "auto"),
        ("https://accrete.oss-cn-hangzhou.aliyuncs.com", "auto"),
        ("https://accrete.example.com", "virtual"),
    ],
)
def test_an_endpoint_with_the_bucket_in_it_is_refused(endpoint: str, addressing: str) -> None:
    with pytest.raises(ConfigError, match=r": leave the bucket out, which --store or ACCRETE_STO"):
        store_at(endpoint, addressing)


def test_a_host_may_begin_like_the_bucket() -> None:
    store_at("https://accrete.example.com")


@pytest.mark.parametrize(
    "host",
    [
        *("https://ec.amazonaws.com", "https://sts.amazonaws.com"),
        *("https://accrete.s3.amazonaws.com", "https://accrete.s3.eu-central-1.amazonaws.com"),
    ],
)
def test_a_host_of_aws_that_is_not_s3_s_own_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"give S3's own host, .* without the bucket$"):
        store_at(host)


@pytest.mark.parametrize("bucket", ["a", "a b", "-ab", "ab-", "a" * 64, "a_/x?", "ä-bucket"])
def test_a_bucket_that_cannot_be_is_refused(bucket: str) -> None:
    with pytest.raises(ConfigError, match=r"^(bucket|store) is "):
        parse_store_uri(f"s3://{bucket}")
