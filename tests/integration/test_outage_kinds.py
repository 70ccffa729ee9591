"""What a store's outage looks like from here: who says it, in which words, and what is none.

Answers of others have the form that those give: nginx's pages, Envoy's local replies ("upstream
connect error …", "no healthy upstream"), Squid's pages, Cloudflare's statuses from 520 on.
"""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from credential_servers import (
    ROLE,
    Answer,
    Bucket,
    ContainerAgent,
    Keys,
    TokenService,
    answering,
    sts_error,
)
from digits import digits_run
from preparing import image_folder, plan_of
from proxy import Fault, Plan, Proxy, Request, reply, s3_error

from accrete.config.planned import split_config
from accrete.core.processes import ending
from accrete.errors import StoreAccessError, StoreError, StoreUnreachableError
from accrete.monitoring.status import run_states, status_text
from accrete.steps.prepare import prepare_step
from accrete.store._ports import free_ports
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri, store_settings

PAGE = "<html><head><title>502 Bad Gateway</title></head><body>502</body></html>"
ENVOY = (
    "upstream connect error or disconnect/reset before headers. reset reason: connection failure"
)


def impatient(store: ObjectStore, endpoint: str, told: list[str], wait_s: float) -> ObjectStore:
    """The store at an endpoint, asked once in each try, so that a try takes no seconds."""
    settings = replace(store.settings, endpoint=endpoint)
    made = ObjectStore(settings, store.address, patient=False, wait_s=wait_s)
    made.told_by(told.append)
    return made


def for_a_while(num_requests: int, answer: bytes) -> Plan:
    left = [num_requests]

    def plan(request: Request) -> Fault | None:
        left[0] -= 1
        head = answer.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return Fault(answer=head if request.method == "HEAD" else answer) if left[0] >= 0 else None

    return plan


def others_slow(number: int, *kinds: tuple[Any, ...]) -> list[Any]:
    """Return values of parameters, all but the first of which are tried among the slow tests."""
    slow = [pytest.param(*kind, marks=pytest.mark.slow) for kind in kinds[number:]]
    return [*kinds[:number], *slow]


@pytest.mark.parametrize(
    ("answer", "words"),
    others_slow(
        1,
        (
            reply(502, PAGE, content_type="text/html", server="nginx"),
            "keeps failing (502 a page called '502 Bad Gateway' from nginx): look at it and at",
        ),
        (
            reply(503, ENVOY, content_type="text/plain", server="istio-envoy"),
            "keeps failing (503 'upstream connect error or disconnect/reset before headers. ",
        ),
        (reply(503, "no healthy upstream", content_type="text/plain"), "503 'no healthy upstream'"),
        (reply(504, PAGE, content_type="text/html"), "keeps failing (504 a page"),
        (reply(429, "slow down", content_type="text/plain"), "keeps failing (429 'slow down')"),
        (reply(500, '{"error": "x"}', content_type="application/json"), "keeps failing (500 "),
        (reply(522, PAGE, content_type="text/html", server="cloudflare"), "from cloudflare)"),
        (reply(503), "keeps failing (503): look at its log"),
        (s3_error(400, "RequestTimeout"), "keeps failing (RequestTimeout: by plan): look at its"),
        (s3_error(409, "OperationAborted"), "keeps failing (OperationAborted: by plan)"),
    ),
)
def test_whoever_says_not_now_is_waited_for(
    answer: bytes, words: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accrete.store._http._PAUSES_S", ())
    for method, ask in (
        ("GET", lambda seen: seen.read_note("key")),
        ("PUT", lambda seen: seen.write_note("key", b"1")),
        ("HEAD", lambda seen: seen.size_of("key")),
        ("GET", lambda seen: seen.list_keys("")),
    ):
        if method == "HEAD" and answer.split()[1] in (b"400", b"409"):
            continue  # it says no more: asked again in words, which is the listing below
        told: list[str] = []
        with Proxy(store.settings.endpoint, for_a_while(1, answer)) as proxy:
            ask(impatient(store, proxy.endpoint, told, wait_s=60))
        assert [line for line in told if "answers again" in line] == told[1:]
        assert words in told[0] or method == "HEAD"
        assert "keeps failing (" in told[0]
        assert told[0].endswith("; it is asked again for 1:00 (ACCRETE_STORE_WAIT)")


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, PAGE, content_type="text/html"),
        reply(301, location="https://login.example.com/"),
        reply(302, location="https://login.example.com/"),
        reply(403, "RBAC: access denied", content_type="text/plain"),
        reply(404, "404 page not found", content_type="text/plain"),
        reply(501, PAGE, content_type="text/html"),
    ],
)
def test_somebody_else_in_a_store_s_place_is_not_waited_for(
    answer: bytes, store: ObjectStore
) -> None:
    told: list[str] = []
    with Proxy(store.settings.endpoint, for_a_while(99, answer)) as proxy:
        seen = impatient(store, proxy.endpoint, told, wait_s=60)
        with pytest.raises(StoreError, match="no object store answers at"):
            seen.read_note("key")
    assert told == []


@pytest.mark.parametrize(
    ("status", "passes"), [(502, True), (503, True), (504, True), (403, False), (407, False)]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_forward_proxy_that_cannot_reach_a_store_is_waited_for(
    scheme: str,
    status: int,
    passes: bool,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = reply(status, "<title>ERROR: The URL could not be retrieved</title>",
                 content_type="text/html", server="squid/6.6")  # fmt: skip
    with Proxy("http://127.0.0.1:9", for_a_while(9999, page)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        monkeypatch.setenv("HTTPS_PROXY", proxy.endpoint)
        monkeypatch.setenv("NO_PROXY", "")
        told: list[str] = []
        seen = impatient(store, f"{scheme}://store.example:9000", told, wait_s=0.5)
        with pytest.raises(StoreError, match=f"the proxy {proxy.endpoint}") as caught:
            seen.read_note("key")
    assert caught.value.may_pass == passes
    assert bool(told) == passes


class Greeting:
    """Takes connections and ends each one's TLS in the handshake."""

    def __init__(self, said: bytes, *, resets: bool = False) -> None:
        self.said, self.resets = said, resets
        self.server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"https://127.0.0.1:{self.server.getsockname()[1]}"

    def __enter__(self) -> "Greeting":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                with self.server.accept()[0] as connection, suppress(OSError):
                    connection.recv(1 << 14)
                    if self.resets:
                        linger = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    connection.sendall(self.said)


def alert(description: int) -> bytes:
    """A fatal alert of TLS (RFC 8446, 6)."""
    return bytes([0x15, 3, 3, 0, 2, 2, description])


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        (b"", True),
        (alert(80), True),
        (alert(112), True),
        (alert(40), True),
        (b"SSH-2.0\r\n", False),
    ],
    ids=["ends", "internal_error", "unrecognized_name", "handshake_failure", "no TLS"],
)
def test_tls_that_breaks_off_in_its_handshake_is_waited_for(
    said: bytes, passes: bool, store: ObjectStore
) -> None:
    told: list[str] = []
    with Greeting(said) as greeting:
        seen = impatient(store, greeting.endpoint, told, wait_s=0.5)
        with pytest.raises(StoreUnreachableError) as caught:
            seen.read_note("key")
    assert caught.value.may_pass == passes
    assert bool(told) == passes


def pod_identity(agent: str, bucket: str) -> dict[str, str]:
    return {
        "ACCRETE_S3_ENDPOINT": bucket,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{agent}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "first-token",
    }


@contextmanager
def waiting_store(env: dict[str, str], told: list[str], wait_s: float) -> Iterator[ObjectStore]:
    settings = store_settings({"HOME": "/nonexistent"} | env)
    assert settings is not None
    store = ObjectStore(settings, parse_store_uri("s3://accrete"), wait_s=wait_s)
    store.told_by(told.append)
    yield store


@pytest.mark.slow
def test_an_agent_for_credentials_that_is_away_is_waited_for() -> None:
    """As Pod Identity's is while its pod on a new node is not ready yet."""
    keys, told = Keys(), list[str]()
    agent = ContainerAgent(keys, "first-token")
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    with answering(Bucket(keys)) as bucket:
        env = pod_identity(address, bucket)
        with (
            waiting_store(env, told, 6) as store,
            pytest.raises(
                StoreUnreachableError, match=r"^credentials of .* cannot be reached"
            ) as e,
        ):
            store.check()
        assert e.value.may_pass
        assert told[0].startswith("credentials of ")
        assert told[0].endswith("; it is asked again for 0:06 (ACCRETE_STORE_WAIT)")
        told.clear()
        away = [2]

        def at_last(asked: object) -> Answer:
            away[0] -= 1
            return Answer(503, b"later") if away[0] >= 0 else agent(asked)  # type: ignore[arg-type]

        with (
            answering(at_last) as there,
            waiting_store(pod_identity(there, bucket), told, 60) as store,
        ):
            store.write_note("note", b"x")
            assert store.read_note("note") == b"x"


@pytest.mark.parametrize(
    ("failure", "passes"),
    others_slow(
        1,
        (sts_error(403, "AccessDenied", "no"), False),
        (Answer(503, b"later"), True),
        (Answer(429, b"later"), True),
        (Answer(None), True),
        (sts_error(400, "Throttling", "Rate exceeded"), True),
        (sts_error(400, "IDPCommunicationError", "try again"), True),
    ),
)
def test_a_token_service_says_no_or_not_now(
    failure: Answer, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accrete.store._credential_requests._TRIES", 1)
    keys, told = Keys(), list[str]()
    tokens = TokenService(keys)
    (tmp_path / "token").write_text("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln")
    with answering(Bucket(keys)) as bucket, answering(tokens) as service:
        env = {
            "ACCRETE_S3_ENDPOINT": bucket, "AWS_ENDPOINT_URL_STS": service, "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        }  # fmt: skip
        with waiting_store(env, told, 60) as store:
            tokens.failure = failure
            if passes:
                threading.Timer(0.5, lambda: setattr(tokens, "failure", None)).start()
                monkeypatch.setattr("accrete.store._credential_requests.retries", lambda: False)
                store.check()
                assert len(told) == 2
                return
            with pytest.raises(StoreAccessError):
                store.check()
            assert told == []


def test_a_store_that_is_away_for_two_kinds_of_waits_is_told_of_once(store: ObjectStore) -> None:
    told: list[str] = []
    is_shut = threading.Event()
    is_shut.set()
    plan = lambda _: Fault(body_bytes=0) if is_shut.is_set() else None  # noqa: E731
    with Proxy(store.settings.endpoint, plan) as proxy:
        seen = impatient(store, proxy.endpoint, told, wait_s=60)
        waiting = [
            threading.Thread(target=seen.in_background().write_note, args=("a", b"1")),
            threading.Thread(target=seen.read_note, args=("a",)),
            threading.Thread(target=seen.in_background().write_note, args=("b", b"1")),
        ]
        for thread in waiting:
            thread.start()
            threading.Event().wait(0.2)
        is_shut.clear()
        for thread in waiting:
            thread.join(60)
    assert len(told) == 2
    assert "what is stored meanwhile is put off; what needs the store: it is asked again" in told[0]
    assert told[1].startswith("the object store answers again, after 0:0")


@pytest.mark.slow
def test_what_else_is_answered_ends_no_outage_of_some_requests(store: ObjectStore) -> None:
    """As of a store whose disk is full: it takes nothing, and gives what it has."""
    told: list[str] = []
    is_full = threading.Event()
    is_full.set()

    def plan(request: Request) -> Fault | None:
        return Fault(status=500) if request.method == "PUT" and is_full.is_set() else None

    with Proxy(store.settings.endpoint, plan) as proxy:
        seen = impatient(store, proxy.endpoint, told, wait_s=60)
        writing = threading.Thread(target=seen.in_background().write_note, args=("a", b"1"))
        writing.start()
        for _ in range(80):
            seen.list_keys("")
            threading.Event().wait(0.05)
        num_tries = sum(request.method == "PUT" for request in proxy.requests)
        assert [line.partition(" (")[0] for line in told] == [
            f"the object store at {proxy.endpoint} keeps failing"
        ]
        assert num_tries <= 4
        is_full.clear()
        writing.join(60)
        assert len(told) == 2


@pytest.mark.slow
def test_a_store_that_comes_and_goes_is_not_told_of_each_time(store: ObjectStore) -> None:
    told: list[str] = []
    answers = [s3_error(503, "SlowDown"), None] * 6

    def plan(_: Request) -> Fault | None:
        answer = answers.pop(0)
        return None if answer is None else Fault(answer=answer)

    with Proxy(store.settings.endpoint, plan) as proxy:
        seen = impatient(store, proxy.endpoint, told, wait_s=60)
        for _ in range(6):
            seen.write_note("a", b"1")
    assert len(told) == 2 * 3


def patient(store: ObjectStore, endpoint: str, told: list[str], wait_s: float) -> ObjectStore:
    made = ObjectStore(replace(store.settings, endpoint=endpoint), store.address, wait_s=wait_s)
    made.told_by(told.append)
    return made


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a second stand for half a minute, and the same for what a store may take."""
    for name in ("_retry.ROUND_S", "_reading.ROUND_S", "_http._READ_S", "_http._LARGE_READ_S"):
        monkeypatch.setattr(f"accrete.store.{name}", 1.0)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("wait_s", [0.0, pytest.param(60.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_store_that_hangs_is_heard_of_after_one_round(
    method: str, wait_s: float, store: ObjectStore
) -> None:
    told: list[str] = []
    hangs = threading.Event()
    hangs.set()
    plan = lambda _: Fault(delay_s=3600) if hangs.is_set() else None  # noqa: E731
    with Proxy(store.settings.endpoint, plan) as proxy:
        seen = patient(store, proxy.endpoint, told, wait_s)
        ask = seen.check if method == "GET" else lambda: seen.write_note("a", b"1")
        began = time.monotonic()
        if not wait_s:
            with pytest.raises(StoreUnreachableError, match=r"\(ReadTimeoutError\)"):
                ask()
            assert time.monotonic() - began < 3
            return
        seen.told_by(lambda line: (told.append(line), hangs.clear())[0])
        ask()
        assert len(told) == 2
        assert len(proxy.requests) == 2


@pytest.mark.usefixtures("soon")
def test_an_object_that_stops_on_its_way_is_heard_of(store: ObjectStore) -> None:
    told: list[str] = []
    store.write_note("a", b"x" * 3000)
    with Proxy(store.settings.endpoint, lambda _: Fault(bytes_per_s=100)) as proxy:
        seen = patient(store, proxy.endpoint, told, 60)

        def stop(request: Request) -> Fault | None:
            stops = request.number == 1
            return (
                Fault(answer_bytes=1500, then=lambda: time.sleep(10), cut=False) if stops else None
            )

        proxy.plan = stop
        assert seen.read_note("a") == b"x" * 3000


@pytest.mark.slow
@pytest.mark.usefixtures("soon")
def test_a_store_that_asks_to_be_left_alone_for_longer_is_heard_of_at_once(
    store: ObjectStore,
) -> None:
    told: list[str] = []
    asked_at: list[float] = []
    busy = s3_error(503, "SlowDown", retry_after="4")

    def plan(_: Request) -> Fault | None:
        asked_at.append(time.monotonic())
        return Fault(answer=busy) if len(asked_at) == 1 else None

    with Proxy(store.settings.endpoint, plan) as proxy:
        patient(store, proxy.endpoint, told, 60).write_note("a", b"1")
    assert "and asks to be left alone: Retry-After 4" in told[0]
    first, second = asked_at
    assert 4 <= second - first < 8


@pytest.mark.slow
def test_a_wait_that_is_shorter_than_a_round_is_told_of(store: ObjectStore) -> None:
    told: list[str] = []
    with Proxy(store.settings.endpoint, lambda _: Fault(body_bytes=0)) as proxy:
        seen = patient(store, proxy.endpoint, told, 1)
        with pytest.raises(StoreUnreachableError):
            seen.read_note("a")
    assert [line.rpartition(";")[2] for line in told] == [
        " it is asked again for 0:01 (ACCRETE_STORE_WAIT)"
    ]


@pytest.mark.slow
def test_tries_that_are_of_a_wait_end_with_it(store: ObjectStore) -> None:
    """A store that says "not now" is asked eight times within 23 s; then for a second, not so."""
    told: list[float] = []
    with Proxy(store.settings.endpoint, lambda _: Fault(status=503)) as proxy:
        seen = patient(store, proxy.endpoint, [], 1)
        seen.told_by(lambda _: told.append(time.monotonic()))
        with pytest.raises(StoreError, match="keeps failing"):
            seen.read_note("a")
        assert len(told) == 1
        assert time.monotonic() - told[0] < 5


@pytest.fixture
def ending_soon() -> Iterator[threading.Timer]:
    timer = threading.Timer(0.5, ending().set)
    yield timer
    timer.cancel()
    ending().clear()


def test_pauses_between_tries_end_when_the_process_does(
    store: ObjectStore, ending_soon: threading.Timer
) -> None:
    busy = s3_error(503, "SlowDown", retry_after="20")
    with Proxy(store.settings.endpoint, lambda _: Fault(answer=busy)) as proxy:
        seen = patient(store, proxy.endpoint, [], 60)
        ending_soon.start()
        began = time.monotonic()
        with pytest.raises(StoreError, match="keeps failing"):
            seen.write_note("a", b"1")
        assert time.monotonic() - began < 5


@pytest.mark.slow
def test_an_outage_of_the_source_s_own_store_is_in_the_journal(
    store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {"a": 4, "b": 4}
    image_folder(tmp_path / "images", counts, lambda _: 8)
    for path in (tmp_path / "images").rglob("*.png"):
        store.upload(f"images/{path.relative_to(tmp_path / 'images')}", path)
    back_at: list[float] = []

    def plan(request: Request) -> Fault | None:
        if "/images/" not in request.path:
            return None
        if not back_at:
            back_at.append(time.monotonic() + 5)
        return Fault(body_bytes=0) if time.monotonic() < back_at[0] else None

    config = digits_run(1, 1)
    source = replace(config.source, kind="imagefolder", location=store.uri("images"))
    config = replace(
        config, source=source, plan=replace(plan_of({"a": 3, "b": 3}), stage_sizes=(1, 1))
    )
    editable, planned = split_config(config)
    with Proxy(store.settings.endpoint, plan) as proxy:
        env = store.settings.as_environment() | {
            "ACCRETE_S3_ENDPOINT": proxy.endpoint, "ACCRETE_STORE_WAIT": "60",
            "ACCRETE_CACHE": str(tmp_path / "cache"),
        }  # fmt: skip
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        prepare_step(
            config=editable, planned=planned, num_stages=2,
            run_name="its", store_uri=str(store.address),
            dataset_path=str(tmp_path / "dataset"), plan_path=str(tmp_path / "plan"),
        )  # fmt: skip
    (state,) = run_states(store, "its")
    shown = status_text(state)
    assert "; it is asked again for 1:00 (ACCRETE_STORE_WAIT)" in shown
    assert "the object store answers again, after 0:0" in shown
    assert shown.count("cannot be reached") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("ending_soon")  # which clears it
def test_a_store_that_hangs_holds_up_no_process_that_is_told_to_end(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accrete.store._http._LAST_READ_S", 0.5)
    ending().set()
    with Proxy(store.settings.endpoint, lambda _: Fault(delay_s=3600)) as proxy:
        began = time.monotonic()
        with pytest.raises(StoreUnreachableError):
            patient(store, proxy.endpoint, [], 60).write_note("a", b"1")
        assert time.monotonic() - began < 7
