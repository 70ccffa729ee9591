"""Checks that configuration values share."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from accrete.core.settings import without_user
from accrete.errors import ConfigError

MAX_COUNT = 2**53 - 1
"""Of bytes or images: the largest whole number that a double holds exactly."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ConfigError: it is none.
    """
    if value not in choices:
        raise ConfigError(f"{what} is {value!r}: choose one of {', '.join(choices)}")


def check_range(what: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside low..high, and NaN.

    Raises:
        ConfigError: it is outside.
    """
    if not low <= value <= high:
        raise ConfigError(f"{what} is {value}: it must lie between {low} and {high}")


def is_sha256(value: str) -> bool:
    """Return whether a text is a SHA-256 in hex digits."""
    return _SHA256.fullmatch(value) is not None


def check_sha256(what: str, value: str) -> None:
    """Refuse what is no SHA-256: it becomes part of paths and keys.

    Raises:
        ConfigError: it is not 64 of 0-9 and a-f.
    """
    if not is_sha256(value):
        raise ConfigError(f"{what} is {value[:80]!r}: it must be 64 hex digits")


def check_distinct(what: str, names: Sequence[str]) -> None:
    """Refuse names of which one is there twice.

    Raises:
        ConfigError: names it.
    """
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"{what} have {name[:80]!r} twice: name each once")
        seen.add(name)


def check_plain_address(what: str, address: str) -> None:
    """Refuse what is no http address, and one with credentials or a query in it.

    Raises:
        ConfigError: so it is.
    """
    try:
        url = urlsplit(address)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        good, url = None, urlsplit("")
    if not good or url.username or url.password or url.query or re.search(r"\s", address):
        shown = without_user(address.partition("?")[0])
        raise ConfigError(
            f"{what} is {shown!r}: give http://host:port, without credentials (the compiled "
            "pipeline shows it)"
        )
