"""Times that recur, as Kubeflow's scheduler reads them. Pure."""

import re

from accrete.errors import ConfigError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SECOND = ("second", 0, 59, ())
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 6, _WEEKDAYS),
)
_PART = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9][0-9]{0,3}))?")


def check_cron(text: str) -> None:
    """Refuse what is no time that recurs.

    Args:
        text: minute, hour, day, month and weekday (0 is Sunday); a sixth field before them is the
            second. Each is `*` or a list of numbers, names, ranges and steps.

    Raises:
        ConfigError: names the field that is wrong.
    """
    given = text.split()
    fields = (_SECOND, *_FIELDS) if len(given) == len(_FIELDS) + 1 else _FIELDS
    if len(given) != len(fields):
        raise ConfigError(
            f"--recurring is {text[:80]!r}: give five fields, minute, hour, day, month and "
            "weekday, such as '0 * * * *' for every hour"
        )
    for value, (what, low, high, names) in zip(given, fields, strict=True):
        if not all(_is_part(part, low, high, names) for part in value.split(",")):
            named = f" or {names[0]} to {names[-1]}" if names else ""
            raise ConfigError(
                f"--recurring is {text[:80]!r}, whose {what} is {value[:40]!r}: give numbers from "
                f"{low} to {high}{named}, ranges such as {low}-{high}, or *, and /N for every Nth"
            )


def _is_part(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    """Return whether a part of a field means something."""
    found = _PART.fullmatch(part)
    if found is None:
        return False
    ends = [_number(end, low, names) for end in found.group("first", "last") if end is not None]
    return all(low <= end <= high for end in ends) and ends == sorted(ends)


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    """Return a number or a name as a number; -1: it is neither."""
    if text.lower() in names:
        return names.index(text.lower()) + low
    return int(text) if re.fullmatch("[0-9]{1,2}", text) else -1
