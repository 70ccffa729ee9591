"""What a store may answer beside "yes" and "no", and who else may answer in its place.

Behind the proxy is a real store, which answers all that the plan leaves alone. Answers of others
have the form that those give: AWS's are from its API reference (Error Responses; PutObject,
conditional writes), a service mesh's from Envoy's RBAC filter, a login's from oauth2-proxy's
redirection to its provider.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from proxy import Fault, Plan, Proxy, Request, reply, s3_error, without

from accrete.core.hashing import sha256_of_bytes
from accrete.errors import AccreteError, StoreAccessError, StoreError
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

LOGIN = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>…</body></html>"
CONSOLE = "<html><head><title>MinIO Console</title></head></html>"


@contextmanager
def answering(
    store: ObjectStore, plan: Plan = lambda _: None
) -> Iterator[tuple[ObjectStore, Proxy]]:
    """The test's store behind a proxy with a plan, and the proxy."""
    with Proxy(store.settings.endpoint, plan) as proxy:
        settings = StoreSettings(
            endpoint=proxy.endpoint,
            access_key=store.settings.access_key,
            secret_key=store.settings.secret_key,
        )
        yield ObjectStore(settings, store.address), proxy


def always(answer: bytes) -> Plan:
    return first(-1, answer)


def first(number: int, answer: bytes, method: str = "") -> Plan:
    """Answer so the first requests (of a method), and leave the others to the store."""
    left = [number]

    def plan(request: Request) -> Fault | None:
        if left[0] and request.method.startswith(method):
            left[0] -= 1
            return Fault(answer=head_of(answer) if request.method == "HEAD" else answer)
        return None

    return plan


def head_of(answer: bytes) -> bytes:
    """An answer as HEAD gets it."""
    return answer.split(b"\r\n\r\n")[0] + b"\r\n\r\n"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited, none of which are."""
    waited: list[float] = []
    monkeypatch.setattr("accrete.store._retry._wait", lambda s: waited.append(s) if s else None)
    return waited


def every_request(store: ObjectStore, folder: Path) -> list[Callable[[], object]]:
    """All that a store is asked, in the order of the constants below."""
    data = b"x" * (6 << 20)
    path = folder / "file"
    path.write_bytes(data)
    ref = ObjectRef(sha256=sha256_of_bytes(data), num_bytes=len(data))
    return [
        store.check,
        lambda: store.size_of("a"),
        lambda: store.read_note("a"),
        lambda: store.write_note("a", b"1"),
        lambda: store.create_note("a", b"1"),
        lambda: store.read_range("a", 0, 1),
        lambda: store.upload("a", path),
        lambda: store.push_file(ref, path, renew=True),
        lambda: store.pull_file(ref, folder / "back"),
        lambda: store.hash_object("a"),
        lambda: store.list_keys(""),
        lambda: store.delete("a"),
        store.prove_create_only,
    ]


SIZE_OF, PUSH, PULL = 1, 7, 8

STRANGERS = {
    "login page": (reply(200, LOGIN, content_type="text/html"), "a page called 'Sign in'"),
    "login redirect": (
        reply(302, location="https://dex.example.com/auth?client_id=x&state=secret"),
        "302, redirected to dex.example.com/auth: is a login before it?",
    ),
    "console": (
        reply(200, CONSOLE, content_type="text/html; charset=utf-8", server="MinIO Console"),
        "a page called 'MinIO Console' from MinIO Console: that is a console: give the port of",
    ),
    "ingress": (
        reply(404, "<html><title>404 Not Found</title></html>", content_type="text/html",
              server="nginx/1.27"),
        "404 a page called '404 Not Found' from nginx/1.27: check ACCRETE_S3_ENDPOINT",
    ),
    "another API": (
        reply(404, '{"kind":"Status","code":404}', content_type="application/json"),
        "404 '{\"kind\":\"Status\",\"code\":404}'",
    ),
    "backend": (reply(404, "default backend - 404", content_type="text/plain"), "default backend"),
    "mesh": (
        reply(403, "RBAC: access denied", content_type="text/plain", server="istio-envoy"),
        "403 'RBAC: access denied' from istio-envoy: a service mesh (Istio) refuses it",
    ),
    "XHTML": (
        reply(200, '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Hi</title></head></html>',
              content_type="application/xhtml+xml"),
        "a page called 'Hi'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("who", STRANGERS)
def test_what_is_no_store_is_named_whatever_it_is_asked(
    who: str, store: ObjectStore, tmp_path: Path
) -> None:
    answer, words = STRANGERS[who]
    with answering(store, always(answer)) as (seen, proxy):
        for index, ask in enumerate(every_request(seen, tmp_path)):
            if index == SIZE_OF and b" 404 " in answer:
                continue  # to HEAD it says what a store says of an object that is not there
            with pytest.raises(StoreError) as caught:
                ask()
            said = str(caught.value)
            assert said.startswith(f"no object store answers at {proxy.endpoint}, but "), said
            if proxy.requests[-1].method != "HEAD":
                assert words in said
            assert "state=secret" not in said
            assert "\n" not in said
    assert not (tmp_path / "back").exists()


def test_a_listing_that_is_none_is_not_an_empty_one(store: ObjectStore) -> None:
    feed = reply(200, "<rss><channel/></rss>", content_type="application/xml")
    with answering(store, always(feed)) as (seen, _), pytest.raises(StoreError, match="no object"):
        seen.list_keys("")


def test_an_object_that_is_a_page_is_an_object(store: ObjectStore) -> None:
    page = reply(200, LOGIN, content_type="text/html", etag='"1"', x_amz_request_id="1")
    with answering(store, always(page)) as (seen, _):
        assert seen.read_note("report.html") == LOGIN.encode()


REGIONS = {
    "malformed": s3_error(400, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>"),
    "redirect": s3_error(
        301,
        "PermanentRedirect",
        "<Endpoint>accrete.s3.eu-central-1.amazonaws.com</Endpoint>",
        x_amz_bucket_region="eu-central-1",
    ),
    "without a body": reply(400, x_amz_bucket_region="eu-central-1"),
    "moved": reply(301, x_amz_bucket_region="eu-central-1"),
}


@pytest.mark.parametrize("kind", REGIONS)
def test_a_bucket_of_another_region_is_told_with_its_region(
    kind: str, store: ObjectStore, tmp_path: Path
) -> None:
    answer = REGIONS[kind]
    with answering(store, always(answer)) as (seen, proxy):
        for ask in every_request(seen, tmp_path):
            with pytest.raises(StoreError) as caught:
                ask()
            assert str(caught.value) == (
                f"bucket 'accrete' is in region eu-central-1, and requests to {proxy.endpoint} are "
                "for us-east-1: set ACCRETE_S3_REGION=eu-central-1 (in a cluster, in the store's "
                "ConfigMap)"
            )


def test_of_two_writers_that_conflict_each_learns_who_was_first(
    store: ObjectStore, waits: list[float]
) -> None:
    conflict = s3_error(409, "ConditionalRequestConflict")
    with answering(store, first(2, conflict, "PUT")) as (seen, _):
        assert seen.create_note("one", b"mine")
    assert store.read_note("one") == b"mine"
    with answering(store, first(2, conflict, "PUT")) as (seen, _):
        assert not seen.create_note("one", b"yours")
    assert store.read_note("one") == b"mine"
    assert len(waits) == 4


def test_a_conflict_that_does_not_end_is_not_taken_for_success(
    store: ObjectStore, waits: list[float]
) -> None:
    conflict = s3_error(409, "ConditionalRequestConflict")
    with (
        answering(store, first(99, conflict, "PUT")) as (seen, _),
        pytest.raises(StoreError, match=r"keeps failing \(ConditionalRequestConflict: by"),
    ):
        seen.create_note("one", b"mine")
    assert store.read_note("one") is None


SELDOM = (
    "InternalError",
    "a conflict",
    "a gateway",
    "an operation",
    "a timeout",
    "throttled",
    "too late",
)

NOT_NOW = {
    "429": reply(429, "slow", content_type="text/plain"),
    "SlowDown": s3_error(503, "SlowDown"),
    "a timeout": s3_error(400, "RequestTimeout"),
    "InternalError": s3_error(500, "InternalError"),
    "a gateway": reply(502, "<title>502 Bad Gateway</title>", content_type="text/html"),
    "an operation": s3_error(409, "OperationAborted"),
    "a conflict": s3_error(409, "ConditionalRequestConflict"),
    "throttled": s3_error(400, "ThrottlingException"),
    "too late": reply(408),
}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow if kind in SELDOM else ()) for kind in NOT_NOW],
)
def test_what_a_store_cannot_do_now_is_asked_again(
    kind: str, store: ObjectStore, waits: list[float], tmp_path: Path
) -> None:
    num_asked = len(every_request(store, tmp_path))
    store.write_note("a", b"1")
    for index in range(num_asked):
        with answering(store, first(2, NOT_NOW[kind])) as (seen, proxy):
            ask = every_request(seen, tmp_path)[index]
            if index == PULL:
                every_request(store, tmp_path)[PUSH]()
            ask()
            assert len(proxy.requests) > 2
            assert seen.traffic.num_retries >= (index != SIZE_OF)
    assert waits


def test_the_end_of_an_upload_that_failed_after_all_is_asked_again(
    store: ObjectStore, waits: list[float], tmp_path: Path
) -> None:
    # S3 may answer 200 to CompleteMultipartUpload before it is done, and say the error in the body.
    failed = s3_error(200, "InternalError")
    (tmp_path / "file").write_bytes(b"x" * (6 << 20))
    ends = [1]

    def plan(request: Request) -> Fault | None:
        if request.method == "POST" and "uploadId" in request.path and ends[0]:
            ends[0] -= 1
            return Fault(answer=failed)
        return None

    with answering(store, plan) as (seen, _):
        seen.upload("big", tmp_path / "file")
    assert store.size_of("big") == 6 << 20
    ends[0] = 99
    with answering(store, plan) as (seen, _), pytest.raises(StoreError, match="keeps failing"):
        seen.upload("other", tmp_path / "file")


def test_an_upload_that_is_not_known_any_more_is_done_only_where_its_bytes_are_there(
    store: ObjectStore, tmp_path: Path
) -> None:
    for letter in b"ab":
        (tmp_path / "file").write_bytes(bytes([letter]) * (6 << 20))
        if letter == ord("a"):
            store.upload("big", tmp_path / "file")
    gone = s3_error(404, "NoSuchUpload")

    def plan(request: Request) -> Fault | None:
        return Fault(answer=gone) if "partNumber=2" in request.path else None

    with answering(store, plan) as (seen, _), pytest.raises(StoreError, match="NoSuchUpload"):
        seen.upload("big", tmp_path / "file")


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, "<a/>", content_type="application/xml"),
        reply(200, "ok", content_type="text/plain"),
        reply(200, "<html>hi</html>"),
        reply(200),
        reply(204),
    ],
    ids=range(5),
)
def test_a_success_about_an_object_without_its_etag_is_nobody_s_word(
    answer: bytes, store: ObjectStore, tmp_path: Path
) -> None:
    with answering(store, always(answer)) as (seen, _):
        for index in (SIZE_OF, 2, 3, 4, 5, 6):
            with pytest.raises(StoreError, match="no object store answers at"):
                every_request(seen, tmp_path)[index]()


def test_s3_s_own_words_about_https_are_not_taken_for_a_port_of_tls(store: ObjectStore) -> None:
    error = s3_error(400, "InvalidArgument", "<Resource>/accrete/https-pages/x</Resource>")
    with (
        answering(store, always(error)) as (seen, _),
        pytest.raises(StoreError, match="the store answered InvalidArgument: by plan"),
    ):
        seen.list_keys("")


@pytest.mark.parametrize(
    ("endpoint", "region", "advice"),
    [
        ("https://s3.us-east-1.amazonaws.com", "eu-central-1",
         "set ACCRETE_S3_ENDPOINT=https://s3.eu-central-1.amazonaws.com "),
        ("http://store:9000", "EU", "set ACCRETE_S3_REGION=eu-west-1 "),
    ],
)  # fmt: skip
def test_the_advice_about_a_region_can_be_followed(endpoint: str, region: str, advice: str) -> None:
    settings = StoreSettings(endpoint=endpoint, access_key="AKIDEXAMPLE", secret_key="of-a-test")
    store = ObjectStore(settings, parse_store_uri("s3://accrete"))
    assert advice in str(store._session.errors.wrong_region(region))
    images = ObjectStore(settings, parse_store_uri("s3://images"))
    said = str(images._session.errors.wrong_region(region))
    assert "a run's images and its store are in one region" in said


def test_an_upload_whose_end_was_done_unheard_is_done(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (6 << 20))
    cuts = [1]

    def plan(request: Request) -> Fault | None:
        if request.method == "POST" and "uploadId" in request.path and cuts[0]:
            cuts[0] -= 1
            return Fault(answer_bytes=1)
        return None

    with answering(store, plan) as (seen, proxy):
        seen.upload("big", tmp_path / "file")
    assert [r.method for r in proxy.requests if "uploadId" in r.path].count("POST") == 2
    assert store.size_of("big") == 6 << 20


def test_a_store_is_left_alone_as_long_as_it_asks(store: ObjectStore, waits: list[float]) -> None:
    busy = reply(429, content_type="text/plain", retry_after="7")
    with answering(store, first(1, busy)) as (seen, _):
        assert seen.list_keys("") == []
    assert waits == [7]


@pytest.mark.parametrize("asked", ["86400", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_store_that_asks_for_hours_is_not_waited_for(
    asked: str, store: ObjectStore, waits: list[float]
) -> None:
    busy = s3_error(503, "SlowDown", retry_after=asked)
    with (
        answering(store, always(busy)) as (seen, _),
        pytest.raises(StoreError, match=r"by plan, and asks to be left alone: Retry-After"),
    ):
        seen.list_keys("")
    assert waits == []


def test_a_pause_that_nobody_understands_is_our_own(store: ObjectStore, waits: list[float]) -> None:
    with answering(store, first(2, reply(503, retry_after="soon"))) as (seen, _):
        assert seen.list_keys("") == []
    assert 0 < sum(waits) < 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            s3_error(503, "SlowDown"),
            "(503 SlowDown: by plan): it is asked more often",
        ),
        (reply(429), "keeps failing (429): it is asked more often than it likes"),
        (s3_error(500, "InternalError"), "keeps failing (500 InternalError: by plan): look at its"),
        (reply(503), "keeps failing (503): look at its log"),
        (
            reply(503, "<title>503 Service Unavailable</title>", content_type="text/html"),
            "keeps failing (503 a page called '503 Service Unavailable'): look at it and at what",
        ),
    ],
)
def test_a_store_that_never_can_is_given_up(
    answer: bytes, words: str, store: ObjectStore, waits: list[float]
) -> None:
    with answering(store, always(answer)) as (seen, _), pytest.raises(StoreError) as caught:
        seen.write_note("a", b"1")
    assert words in str(caught.value)
    assert 10 < sum(waits) < 60


def test_a_store_that_says_that_nothing_changed_says_that_it_exists(store: ObjectStore) -> None:
    with answering(store, first(1, reply(304), "PUT")) as (seen, _):
        assert not seen.create_note("one", b"mine")


def test_a_store_that_knows_no_conditional_write_is_refused(store: ObjectStore) -> None:
    def plan(request: Request) -> Fault | None:
        asked = request.header("if-none-match")
        return Fault(answer=s3_error(501, "NotImplemented")) if asked else None

    with (
        answering(store, plan) as (seen, _),
        pytest.raises(StoreError, match=r"cannot create an object only where there is none"),
    ):
        seen.prove_create_only()


def test_a_store_that_overlooks_the_condition_is_refused(store: ObjectStore) -> None:
    plan: Plan = lambda _: Fault(rewrite=without("if-none-match"))  # noqa: E731
    with (
        answering(store, plan) as (seen, _),
        pytest.raises(StoreError, match=r"overwrites an object that it was asked to create only"),
    ):
        seen.prove_create_only()


def test_the_proof_takes_one_request_where_it_was_made_before(store: ObjectStore) -> None:
    store.prove_create_only()
    with answering(store) as (seen, proxy):
        seen.prove_create_only()
    assert len(proxy.requests) == 1


def test_every_body_is_sent_with_its_checksum(store: ObjectStore, tmp_path: Path) -> None:
    # without which a bucket with object lock takes nothing
    with answering(store) as (seen, proxy):
        for ask in every_request(seen, tmp_path):
            ask()
    sent = [each for each in proxy.requests if each.num_bytes and each.method in ("PUT", "POST")]
    assert len(sent) >= 7
    assert all(each.header("content-md5") for each in sent)


def test_what_head_does_not_say_is_asked_for(store: ObjectStore) -> None:
    expired = s3_error(400, "ExpiredToken")

    def plan(request: Request) -> Fault:
        return Fault(answer=reply(400) if request.method == "HEAD" else expired)

    with answering(store, plan) as (seen, _), pytest.raises(StoreAccessError):
        seen.size_of("a")


def test_an_answer_that_is_neither_is_one_line(store: ObjectStore, tmp_path: Path) -> None:
    odd = [
        s3_error(418, "Teapot"),
        reply(418, content_type="application/xml"),
        reply(403),
        reply(403, "\x1b[31mno\r\nno", content_type="application/xml"),
        reply(200, b"\xff\xfe<", content_type="application/xml"),
        reply(200, "<Error><Code>AccessDenied</Code></Error>", content_type="application/xml"),
        reply(204),
    ]
    for answer in odd:
        with answering(store, always(answer)) as (seen, _):
            for ask in every_request(seen, tmp_path)[:6]:
                said = ""
                try:
                    ask()
                except AccreteError as error:
                    said = str(error)
                assert "\n" not in said
                assert "\x1b" not in said
