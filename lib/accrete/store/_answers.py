"""What answered a request: a store, its refusal in code, or somebody else who stands in its place.

Pure. A client takes whatever comes for the store's: a login page that answers 200 to an upload, a
console's page for a listing. S3 says what it is: in XML with a known root, and in headers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

MAX_ANSWER_BYTES = 1 << 16
"""Of an answer that is no success, so much is read; S3's errors are about 1 KB."""

_SHOWN = 80
_OWN_HEADERS = ("x-amz-", "x-minio-", "x-goog-", "x-guploader-", "x-rgw-", "x-oss-", "x-obs-")
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(rb"<[^>]*>")
_EXPECTING = re.compile(r"expecting '([a-z0-9-]{1,63})'")
_AWS_ENDPOINT = re.compile(r"\bs3[.-]((?!dualstack)[a-z]{2}-[a-z0-9-]+)\.amazonaws\.com")
_PAGES = ("text/html", "application/xhtml+xml", "application/json", "application/problem+json")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAnswer:
    """An answer to one request, whole or its beginning."""

    method: str
    """Of the request."""
    path: str
    """Of the request's address."""
    query: str
    """Of the request's address."""
    status: int
    """HTTP status."""
    headers: Mapping[str, str]
    """With names that are looked up in any case."""
    body: bytes | None
    """None where it was not read: a stream of an object's bytes."""

    @property
    def content_type(self) -> str:
        """Its type without parameters, in lower case; empty where it says none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRefusal:
    """An error as S3 says it."""

    code: str
    """Such as `SlowDown`."""
    message: str
    """For people."""
    region: str | None
    """Where the bucket is, if that is what is wrong."""


def refusal(body: bytes | None) -> StoreRefusal | None:
    """Return the error that an answer's body is, None where it is none of S3's."""
    root = _root(body)
    if root is None or _name(root) != "Error":
        return None
    fields = {_name(each): (each.text or "").strip() for each in root}
    if not fields.get("Code"):
        return None
    return StoreRefusal(
        code=fields["Code"],
        message=fields.get("Message", ""),
        region=fields.get("Region") or fields.get("BucketRegion") or _region_of(fields),
    )


def _region_of(fields: Mapping[str, str]) -> str | None:
    """Return the region in the endpoint that an answer redirects to."""
    found = _AWS_ENDPOINT.search(fields.get("Endpoint", ""))
    return found[1] if found else None


def other_region(answer: StoreAnswer, region: str) -> str | None:
    """Return the region that an answer says the bucket is in, None where that is not the matter.

    A bucket of another region is answered with 301 or 400, to HEAD without a body.

    Args:
        answer: what came.
        region: for which the request was signed.
    """
    if answer.status not in (301, 307, 400, 403):
        return None
    said = refusal(answer.body)
    named = (said.region if said else None) or answer.headers.get("x-amz-bucket-region")
    if not named and said and (found := _EXPECTING.search(said.message)):
        named = found[1]
    return named if named and named != region else None


def stranger(answer: StoreAnswer, *, of_object: bool = False) -> str | None:
    """Return what answered in a store's place, in words; None where it may be a store.

    Args:
        answer: what came.
        of_object: whether it was asked about an object: all that succeeds there has an ETag, or is
            XML of S3's.
    """
    if answer.headers.get("location") and answer.status in (301, 302, 303, 307, 308):
        if _says_s3(answer):
            return None
        where = urlsplit(answer.headers["location"])
        return f"{answer.status}, redirected to {where.hostname or ''}{where.path}"
    if 200 <= answer.status < 300:
        return _page_for_success(answer, of_object=of_object)
    if answer.method == "HEAD":
        return None  # it says nothing, and some stores call that nothing a page
    if _says_s3(answer) or (not answer.body and answer.content_type not in _PAGES):
        return None
    return f"{answer.status} {_shown(answer)}".strip() + _server(answer)


def is_listing(body: bytes) -> bool:
    """Return whether a body is a listing of a bucket."""
    root = _root(body)
    return root is not None and _name(root) in ("ListBucketResult", "ListAllMyBucketsResult")


def _page_for_success(answer: StoreAnswer, *, of_object: bool) -> str | None:
    """Return what a success says that is none of S3's: a page, or a listing that is none."""
    if "list-type=" in answer.query and answer.body is not None and not is_listing(answer.body):
        return f"{answer.status} {_shown(answer)}".strip() + _server(answer)
    if _says_s3(answer) or answer.headers.get("etag"):
        return None  # an object may itself be a page
    if of_object and answer.method in ("PUT", "POST", "GET", "HEAD"):
        return f"{answer.status} {_shown(answer)}".strip() + _server(answer)
    if answer.content_type not in _PAGES and not (answer.body and answer.method == "DELETE"):
        return None
    length = answer.headers.get("content-length")
    if length == "0" or (answer.body == b"" and answer.method != "HEAD"):
        return None  # some stores call nothing a page
    return f"{answer.status} {_shown(answer)}".strip() + _server(answer)


def _says_s3(answer: StoreAnswer) -> bool:
    if any(name.lower().startswith(_OWN_HEADERS) for name in answer.headers):
        return True
    root = _root(answer.body)
    return root is not None and (refusal(answer.body) is not None or _name(root).endswith("Result"))


def _root(body: bytes | None) -> ET.Element | None:
    if not body or not body.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        return None
    try:
        return ET.fromstring(body)  # noqa: S314  expat bounds what entities can do since 2.4.1
    except (ET.ParseError, ValueError, LookupError):
        return None


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _shown(answer: StoreAnswer) -> str:
    """Return the title of a page or the beginning of a text, in quotation marks."""
    body = answer.body or b""
    title = _TITLE.search(body)
    if title is not None and title[1].strip():
        text, kind = title[1], "a page called "
    else:
        text, kind = _TAG.sub(b" ", body), ""
    words = " ".join(unescape(text.decode(errors="replace")).split())
    if not words:
        return f"({answer.content_type})" if answer.content_type else ""
    return f"{kind}{words[:_SHOWN]!r}{'…' if len(words) > _SHOWN else ''}"


def _server(answer: StoreAnswer) -> str:
    server = answer.headers.get("server", "")
    return f" from {server[:40]}" if server else ""
