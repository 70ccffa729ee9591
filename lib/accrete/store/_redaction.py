"""Keeps what a server repeats of a request out of messages: keys, tokens, signatures.

Stores explain a refusal with the request as they understood it (S3's SignatureDoesNotMatch has all
that was signed), ingresses with a page that shows the address. Their words are of use, and are
shown unless something of that kind is among them.
"""

import html
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_PIECE = 8
"""Characters in a row by which a secret is known."""
_SHORTEST = 6
"""A secret of fewer characters would be found in any text; no store makes such."""
_SIGNED = re.compile(
    r"[0-9a-f]{64}|eyJ[\w-]{8}|(?<![a-z])"
    r"(signature|credential|authorization|security-token|AWSAccessKeyId)[\"']?\s*[=:]",
    re.IGNORECASE,
)
"""What is a signature, begins a JWT, or stands before one: none is kept to compare with."""
_LEFT_OUT = "an answer that repeats the request, left out here"


def shown_text(text: str, secrets: Iterable[str], known: str = "") -> str:
    """Return a server's text, or a word in its place where it repeats a secret of the request.

    Args:
        text: what the server said.
        secrets: what it was sent or signed with.
        known: what was asked, whose words may be repeated.
    """
    return _LEFT_OUT if repeats(text, secrets, known) else text


def repeats(text: str, secrets: Iterable[str], known: str = "") -> bool:
    """Return whether a text has a piece of a secret in a usual form, or what may be a signature."""
    if any(found[0] not in known for found in _SIGNED.finditer(text)):
        return True
    pieces = (piece for secret in secrets for piece in _pieces(secret))
    return any(piece in text and piece not in known for piece in pieces)


def _pieces(secret: str) -> Iterator[str]:
    for form in {*_forms(secret)} if len(secret) >= _SHORTEST else ():
        for start in range(max(1, len(form) - _PIECE + 1)):
            yield form[start : start + _PIECE]


def _forms(secret: str) -> Iterator[str]:
    yield from (secret, quote(secret, safe=""), quote_plus(secret), html.escape(secret))
    yield secret.encode().hex()
    for shift in range(3):  # base64 of a longer text has it at any of three offsets
        text = b"\0" * shift + secret.encode()
        cut = (shift * 8 + 5) // 6, len(text) * 8 // 6  # whole characters of the secret alone
        yield from (encode(text).decode()[slice(*cut)] for encode in (b64encode, urlsafe_b64encode))


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield what an error comes from, as far as a traceback shows it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if cause is not error:
            yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def without_leaks(error: BaseException, secrets: Iterable[str], known: str = "") -> None:
    """Cut off what an error comes from where its text repeats a secret; its own text stays."""
    secrets = tuple(secrets)
    if any(repeats(f"{cause} {cause!r}", secrets, known) for cause in chain_of(error)):
        error.__cause__, error.__context__ = None, None  # setting a cause hides the context
        error.__suppress_context__ = True
