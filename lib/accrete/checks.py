"""Checks that configuration values share."""

from collections.abc import Sequence

from accrete.errors import ConfigError


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
