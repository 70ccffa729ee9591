"""Sizes and times as people write them."""

import re
from datetime import timedelta

from accrete.errors import ConfigError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_TIMES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([KMGT]i?|)")


def parse_duration(text: str, what: str) -> timedelta:
    """Return the time of a text such as `30m`, `24h` or `7d`.

    Raises:
        ConfigError: not of that form, or over ten years.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or (found := timedelta(**{_TIMES[match[2]]: int(match[1])})).days > 3650:
        raise ConfigError(f"{what} is {text!r}: give a time such as 30m, 24h or 7d")
    return found


def parse_bytes(text: str, what: str) -> int:
    """Return the bytes of a quantity such as `512M`, `4G`, `1.5Gi` or `1000000`.

    Raises:
        ConfigError: not of that form, or under a megabyte.
    """
    match = _QUANTITY.fullmatch(text.strip())
    num_bytes = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if num_bytes < 1_000_000:
        raise ConfigError(f"{what} is {text!r}: give at least 1M, in a form such as 512M or 4Gi")
    return num_bytes
