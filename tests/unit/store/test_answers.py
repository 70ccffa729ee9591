"""Who answered: a store, or somebody else."""

import pytest
from urllib3 import HTTPHeaderDict

from accrete.store._answers import StoreAnswer, other_region, refusal, stranger

ERROR = b"<Error><Code>NoSuchKey</Code><Message>No such key</Message></Error>"


def answer(
    status: int, body: bytes | None = b"", method: str = "GET", query: str = "", **headers: str
) -> StoreAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return StoreAnswer(
        method=method,
        path="/b/key",
        query=query,
        status=status,
        headers=HTTPHeaderDict(named),
        body=body,
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (ERROR, "NoSuchKey"),
        (b'<?xml version="1.0" encoding="UTF-8"?>\n' + ERROR, "NoSuchKey"),
        (b"\xef\xbb\xbf" + ERROR, "NoSuchKey"),
        (ERROR.replace(b"<Error>", b'<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'),
         "NoSuchKey"),
        (b"<Error><Code></Code></Error>", None),
        (b"<Error><Message>alone</Message></Error>", None),
        (b"<html><Error><Code>X</Code></Error></html>", None),
        (ERROR[:40], None),
        (b'<?xml version="1.0" encoding="no-such"?>' + ERROR, None),
        (b"\x00<", None),
        (b"", None),
        (None, None),
    ],
)  # fmt: skip
def test_an_error_of_s3_is_known_by_its_form(body: bytes | None, code: str | None) -> None:
    said = refusal(body)
    assert (said.code if said else None) == code


@pytest.mark.parametrize(
    "it",
    [
        answer(200, b"<ListBucketResult/>", query="list-type=2"),
        answer(200, None, content_type="text/html", etag='"1"'),
        answer(200, b"", method="PUT", content_type="text/html"),
        answer(204, b"", method="DELETE", content_type="text/html"),
        answer(404, b"", method="HEAD", content_type="text/html", content_length="207"),
        answer(404, ERROR, content_type="application/xml"),
        answer(404, ERROR, content_type="text/plain"),
        answer(403, b""),
        answer(403, b"no", x_amz_request_id="1"),
        answer(503, b""),
        answer(307, b"", location="https://b.s3.eu-west-1.amazonaws.com/", x_amz_request_id="1"),
        answer(412, b"<Error><Code>PreconditionFailed</Code></Error>", method="PUT"),
    ],
    ids=repr,
)
def test_what_may_be_a_store_is_left_to_the_client(it: StoreAnswer) -> None:
    assert stranger(it) is None


@pytest.mark.parametrize(
    ("it", "words"),
    [
        (answer(200, b"<p>hi</p>", content_type="text/html"), "200 'hi'"),
        (answer(200, b"{}", content_type="application/json"), "200 '{}'"),
        (answer(200, b"hello", method="PUT", content_type="text/html"), "200 'hello'"),
        (answer(200, None, content_type="text/html", content_length="9"), "200 (text/html)"),
        (answer(200, None, content_type="text/html"), "200 (text/html)"),
        (answer(200, b"<feed/>", query="list-type=2"), "200"),
        (answer(200, b"", query="list-type=2"), "200"),
        (answer(404, b"404 page not found", content_type="text/plain"), "404 '404 page not found'"),
        (
            answer(502, b"<title>\n Bad&nbsp;gateway &amp; more</title>", server="nginx"),
            "502 a page called 'Bad gateway & more' from nginx",
        ),
        (answer(404, b"x" * 100), f"404 {'x' * 80!r}…"),
        (answer(302, b"", location="https://idp.example.com/login?state=1"),
         "302, redirected to idp.example.com/login"),
        (answer(302, b"", location="/oauth2/start?rd=%2F"), "302, redirected to /oauth2/start"),
        (answer(404, b"", content_type="application/json"), "404 (application/json)"),
    ],
)  # fmt: skip
def test_somebody_else_is_named(it: StoreAnswer, words: str) -> None:
    assert stranger(it) == words


@pytest.mark.parametrize(
    ("it", "region"),
    [
        (answer(400, b"<Error><Code>Malformed</Code><Region>eu-west-1</Region></Error>"),
         "eu-west-1"),
        (answer(301, x_amz_bucket_region="eu-west-1"), "eu-west-1"),
        (answer(403, method="HEAD", x_amz_bucket_region="eu-west-1"), "eu-west-1"),
        (answer(403, method="HEAD", x_amz_bucket_region="us-east-1"), None),
        (answer(404, ERROR, x_amz_bucket_region="eu-west-1"), None),
        (answer(400, ERROR), None),
    ],
)  # fmt: skip
def test_a_region_is_read_where_it_is_the_matter(it: StoreAnswer, region: str | None) -> None:
    assert other_region(it, "us-east-1") == region
