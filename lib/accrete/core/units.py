"""Numbers, sizes, times and paths as people write and read them."""

import os
import re
from datetime import timedelta

from accrete.errors import ConfigError

MISSING = "–"
"""What stands where there is no number."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_TIMES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_BINARY = ("bytes", "KiB", "MiB", "GiB", "TiB")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([KMGT]i?|)", re.ASCII)


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


def format_percent(share: float | None, num_digits: int = 2) -> str:
    """Return 0.9861 as `98.61 %`: two digits tell one of 10,000 test images."""
    return MISSING if share is None else f"{100 * share:.{num_digits}f} %"


def format_count(number: float | None) -> str:
    """Return 12034 as `12,034`."""
    return MISSING if number is None else f"{number:,.0f}"


def format_counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 class`, `1,024 classes`."""
    return f"{number:,} {pluralize(number, noun, plural)}"


def pluralize(number: int, noun: str, plural: str | None = None) -> str:
    """Return a noun as it stands after a number; its plural is made with an s if none is given."""
    return noun if number == 1 else plural or f"{noun}s"


def format_bytes(num_bytes: float) -> str:
    """Return 12900000 as `12.3 MiB`."""
    power = min(max(int(num_bytes).bit_length() - 1, 0) // 10, len(_BINARY) - 1)
    return f"{num_bytes / 1024**power:,.{min(power, 1)}f} {_BINARY[power]}"


def format_seconds(seconds: float) -> str:
    """Return a measured time in the unit a reader would pick: `41 ms`, `8.1 s`, `3 h 12 min`."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02d} min"


def format_clock(seconds: float) -> str:
    """Return a time that is counting, to the second: `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_path(path: os.PathLike[str]) -> str:
    """Return a path as any terminal takes it, bytes that are no UTF-8 as `\\xff`."""
    return os.fsencode(path).decode(errors="backslashreplace")
