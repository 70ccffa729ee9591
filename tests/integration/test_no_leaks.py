"""Whatever a server answers, no key, token or signature is in what we raise, log or print.

A server answers every request with one failure of many; the bodies repeat the request as S3's own
SignatureDoesNotMatch does, and as pages of ingresses do.
"""

import html
import json
import logging
import os
import random
import re
import subprocess
import sys
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from credential_servers import ROLE, XML, Answer, Asked, answering

from accrete.errors import AccreteError
from accrete.store._redaction import repeats, shown_text
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri, store_settings

ACCESS = "AKIADISTINCTIVEKEY01"
SECRET = "dIsTiNcT/sEcReT+of.ThIs~tEsT=wHiChEnDs"
TOKEN = "IQoJb3JpZ2luX2VjEPr/" + "aBcDeFgHiJkLmNoPqRsTuVwXyZqwErTy+/" * 8 + "=="
JWT = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6In" + ".eyJzdWIiOiJzeXN0ZW06c2VydmljZWFj" + ".c2lnbmF0dXJlb2Z0aGU"
)
AGENT_TOKEN = "aGeNt/tOkEn-ZyXwVuTsRqPoNm"
STATUSES = (
    *(200, 204, 206, 301, 302, 307, 400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 416, 429),
    *(500, 501, 502, 503, 504, 505, 599),
)
TRIES = 120


class Echo:
    """Answers with one failure, and keeps what it was sent."""

    def __init__(self, seed: str, known: tuple[str, ...] = (SECRET, ACCESS, TOKEN)) -> None:
        self.known = known
        self.rng = random.Random(seed)
        self.status = self.rng.choice(STATUSES)
        self.form = self.rng.choice(FORMS)
        self.sent: set[str] = set()

    def __call__(self, asked: Asked) -> Answer:
        authorization = asked.headers.get("Authorization") or ""
        self.sent |= set(re.findall(r"Signature=([0-9a-f]{64})", authorization))
        return self.form(self, asked)


def everything(echo: Echo, asked: Asked) -> str:
    """Return all that the server knows: the request, and its keys, which it may log."""
    headers = "\n".join(f"{name}: {value}" for name, value in asked.headers.items())
    known = [*echo.known, *map(quote, echo.known), *(key[9:30] for key in echo.known)]
    known += [b64encode(key.encode()).decode() for key in echo.known]
    return f"{asked.method} {asked.path}\n{headers}\n{asked.body.decode('latin-1')}\n{known}"


def as_xml(echo: Echo, asked: Asked) -> Answer:
    code = echo.rng.choice(
        ["SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "AccessDenied", "Odd",
         "NoSuchKey", "InternalError", "RequestTimeTooSkewed", "NoSuchBucket", "BadRequest"]
    )  # fmt: skip
    said = html.escape(everything(echo, asked))
    inner = "".join(
        f"<{name}>{said}</{name}>"
        for name in (
            "Message",
            "StringToSign",
            "CanonicalRequest",
            "Resource",
            "RequestId",
            "HostId",
        )
    )
    key = f"<AWSAccessKeyId>{echo.known[1]}</AWSAccessKeyId>"
    return Answer(echo.status, f"<Error><Code>{code}</Code>{inner}{key}</Error>".encode(), XML)


def as_odd_code(echo: Echo, asked: Asked) -> Answer:
    code = asked.headers.get("Authorization") or echo.rng.choice(echo.known)
    code = echo.rng.choice([*echo.known, code])
    return Answer(echo.status, f"<Error><Code>{html.escape(code)}</Code></Error>".encode(), XML)


def as_broken_xml(echo: Echo, asked: Asked) -> Answer:
    return Answer(echo.status, f"<Error><Code>{everything(echo, asked)}".encode(), XML)


def as_page(echo: Echo, asked: Asked) -> Answer:
    text = f"<html><h1>{echo.status}</h1><pre>{everything(echo, asked)}</pre></html>"
    return Answer(echo.status, text.encode(), {"Content-Type": "text/html"})


def as_json(echo: Echo, asked: Asked) -> Answer:
    text = json.dumps(
        {"code": "AccessDenied", "message": everything(echo, asked)[:250], "Code": echo.known[0]}
    )
    return Answer(echo.status, text.encode(), {"Content-Type": "application/json"})


def as_headers(echo: Echo, asked: Asked) -> Answer:
    names = ("x-amz-request-id", "x-amz-id-2", "Server", "Content-Type", "x-amz-bucket-region")
    names += ("Date", "ETag", "Last-Modified", "Retry-After", "WWW-Authenticate")
    headers = {name: echo.rng.choice(echo.known) for name in names}
    return Answer(echo.status, everything(echo, asked).encode(), headers)


def as_redirect(echo: Echo, asked: Asked) -> Answer:
    signed = quote(asked.headers.get("Authorization") or echo.known[0])
    query = f"X-Amz-Signature={signed}&X-Amz-Security-Token={echo.known[-1]}"
    place = f"http://127.0.0.1:1/{quote(echo.known[0])}?{query}"
    return Answer(echo.rng.choice([301, 302, 307, 308]), b"", {"Location": place})


def as_cut_body(echo: Echo, asked: Asked) -> Answer:
    return Answer(echo.status, everything(echo, asked).encode(), {"Content-Length": "99999"})


def as_cut_chunks(echo: Echo, asked: Asked) -> Answer:
    said = "\r\n".join(echo.known)
    text = f"HTTP/1.1 {echo.status} x\r\nTransfer-Encoding: chunked\r\n\r\n{said}\r\n"
    return Answer(None, text.encode())


def as_no_http(echo: Echo, asked: Asked) -> Answer:
    said = echo.rng.choice([*echo.known, f"HTTP/{echo.known[0]} 200", everything(echo, asked), ""])
    return Answer(None, said.encode() + b"\r\n\r\n")


def as_odd_head(echo: Echo, asked: Asked) -> Answer:
    first, last = echo.known[0], echo.known[-1]
    lines = echo.rng.choice([f" {first}\r\n{last}\r\n", f"X: {first}\r\n{last} \r\n:{last}\r\n"])
    return Answer(None, f"HTTP/1.1 {echo.status} {first}\r\n{lines}\r\n\r\n{last}".encode())


def as_bad_compression(echo: Echo, asked: Asked) -> Answer:
    return Answer(echo.status, everything(echo, asked).encode(), {"Content-Encoding": "gzip"})


FORMS: tuple[Callable[[Echo, Asked], Answer], ...] = (
    as_xml, as_xml, as_odd_code, as_broken_xml, as_page, as_json, as_headers, as_redirect,
    as_cut_body, as_cut_chunks, as_no_http, as_odd_head, as_bad_compression,
)  # fmt: skip


def leaks(text: str, sent: set[str]) -> list[str]:
    """Return the pieces of secrets in a text; pieces that any text has are none of a secret."""
    found = [signature for signature in sent if signature in text]
    for secret in (ACCESS, SECRET, TOKEN, JWT, AGENT_TOKEN):
        shifted = (b64encode(b"\0" * shift + secret.encode()).decode()[4:-4] for shift in range(3))
        forms = (secret, quote(secret, safe=""), html.escape(secret), *shifted)
        size = len(ACCESS) if secret == ACCESS else 8
        found += {
            form[at : at + size]
            for form in forms
            for at in range(len(form) - size + 1)
            if form[at : at + size] in text
        }
    return found


@contextmanager
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have nothing wait between tries: what is said does not depend on it."""
    with monkeypatch.context() as patch:
        patch.setattr("accrete.store._retry._wait", lambda _: None)
        yield


@pytest.mark.parametrize(
    "chunk", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in range(1, 8))]
)
def test_no_answer_of_a_store_makes_us_repeat_a_secret(
    chunk: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    ref = ObjectRef(sha256="0" * 64, num_bytes=3)
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "large").write_bytes(bytes(6 << 20))
    asks: list[Callable[[ObjectStore], object]] = [
        lambda store: store.check(), lambda store: store.bucket.create(),
        lambda store: store.size_of("key"), lambda store: store.has_object(ref),
        lambda store: store.read_note("key"), lambda store: store.write_note("key", b"x"),
        lambda store: store.create_note("key", b"x"), lambda store: store.status_of("key"),
        lambda store: store.pull_file(ref, tmp_path / "pulled"),
        lambda store: store.hash_object("key"), lambda store: store.delete("key"),
        lambda store: store.push_file(ref, tmp_path / "file"),
        lambda store: store.upload("key", tmp_path / "large"),
        lambda store: store.read_range("key", 0, 4), lambda store: store.list_keys("some/"),
        lambda store: store.bucket.clock(), lambda store: store.bucket.keeping(),
        lambda store: store.prove_create_only(),
        lambda store: store.bucket.refuses_damage("key", b"x"),
    ]  # fmt: skip
    raised = 0
    for number in range(chunk * TRIES // 8, (chunk + 1) * TRIES // 8):
        echo = Echo(f"store {number}")
        with answering(echo) as endpoint, patience(monkeypatch):
            env = {
                "ACCRETE_S3_ENDPOINT": endpoint, "ACCRETE_S3_ACCESS_KEY": ACCESS,
                "ACCRETE_S3_SECRET_KEY": SECRET, "ACCRETE_S3_SESSION_TOKEN": TOKEN,
            }  # fmt: skip
            settings = store_settings(env)
            assert settings is not None
            store = ObjectStore(settings, parse_store_uri("s3://accrete"))
            for ask in echo.rng.sample(asks, 4):
                text = ""
                try:
                    ask(store)
                except Exception as error:
                    raised += 1
                    text = f"{error} {error!r} {traceback.format_exc()}"
                text += caplog.text + repr(store) + repr(store.settings) + repr(store.credentials)
                caplog.clear()
                assert leaks(text, echo.sent) == [], f"{number}: {echo.form.__name__} {echo.status}"
    assert raised > TRIES // 8


SOURCES = {
    "web identity": lambda endpoint, folder: {
        "AWS_WEB_IDENTITY_TOKEN_FILE": written(folder / "jwt", JWT), "AWS_ROLE_ARN": ROLE,
        "AWS_ENDPOINT_URL_STS": endpoint,
    },
    "agent": lambda endpoint, folder: {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{endpoint}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": written(folder / "auth", AGENT_TOKEN),
    },
    "instance": lambda endpoint, _: {
        "ACCRETE_S3_CREDENTIALS": "instance", "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
    },
}  # fmt: skip


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(source, marks=() if source == "web identity" else pytest.mark.slow)
        for source in SOURCES
    ],
)
def test_no_answer_of_a_source_of_credentials_makes_us_repeat_a_secret(
    source: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    for number in range(40):
        echo = Echo(f"{source} {number}", known=(JWT, AGENT_TOKEN))
        with answering(echo) as endpoint, patience(monkeypatch):
            env = {"HOME": str(tmp_path), "ACCRETE_S3_ENDPOINT": endpoint}
            settings = store_settings(env | SOURCES[source](endpoint, tmp_path))
            assert settings is not None
            store = ObjectStore(settings, parse_store_uri("s3://accrete"))
            try:
                store.check()
            except AccreteError as error:
                text = f"{error} {error!r} {traceback.format_exc()}"
            else:
                text = "" if echo.status == 200 else "nothing was wrong"
            assert "nothing was wrong" not in text
            assert "\n" not in str(text.partition("Traceback")[0])
            found = leaks(text + caplog.text + repr(settings), echo.sent)
            caplog.clear()
            assert found == [], f"{number}: {echo.form.__name__} {echo.status}"


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_no_command_prints_what_a_store_repeats(number: int, tmp_path: Path) -> None:
    echo = Echo(f"command {number}")
    echo.form = [as_xml, as_page, as_redirect, as_no_http, as_odd_head, as_odd_code][number]
    echo.status = [403, 502, 302, 200, 200, 400][number]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACCRETE_", "AWS_"))}
    said = []
    with answering(echo) as endpoint:
        for command in (
            ["doctor", "--store"],
            ["status"],
            ["run", "--name", "x", "--stages", "5,5"],
        ):
            done = subprocess.run(
                [str(Path(sys.executable).parent / "accrete"), *command],
                env=clean | {
                    "ACCRETE_S3_ENDPOINT": endpoint, "ACCRETE_S3_ACCESS_KEY": ACCESS,
                    "ACCRETE_S3_SECRET_KEY": SECRET, "ACCRETE_S3_SESSION_TOKEN": TOKEN,
                    "ACCRETE_HOME": str(tmp_path), "ACCRETE_STORE_WAIT": "0",
                },
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode != 0
            assert "Traceback" not in done.stderr, done.stderr
            said.append(done.stdout + done.stderr)
    journals = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert leaks("\n".join(said + journals), echo.sent) == []


def test_the_search_finds_pieces_and_the_words_of_stores_are_shown() -> None:
    for text in (
        SECRET[3:11],
        TOKEN[50:58],
        quote(SECRET)[:14],
        f"x{b64encode(SECRET.encode()).decode()}",
    ):
        assert repeats(text, (SECRET, TOKEN))
        assert leaks(text, set())
    for text in (
        "InvalidArgument: Part number must be an integer between 1 and 10000, inclusive",
        "InvalidRequest: Missing required header for this request: x-amz-content-sha256",
        "InvalidRequest: The authorization mechanism you have provided is not supported. Please "
        "use AWS4-HMAC-SHA256.",
        "AuthorizationHeaderMalformed: The authorization header is malformed; the region "
        "'us-east-1' is wrong; expecting 'eu-west-1'",
    ):
        assert shown_text(text, (ACCESS, SECRET, TOKEN)) == text
    digest = "0123456789abcdef" * 4
    assert repeats(digest, ())
    assert not repeats(digest, (), f"s3://accrete/objects/{digest}")
