"""One credential: what it may be made of, and files that hold one, as a mounted Secret has them.

No message repeats one, nor a character of it: where it is wrong is said, and how.
"""

from pathlib import Path

from accrete.errors import ConfigError

_MAX_BYTES = 1 << 16
"""More than any token has; keys have some dozens."""

_AROUND = " \t\r\n"
_AGAIN = "put the value in it, one line and nothing else"
_FIRST, _LAST = 0x21, 0x7E
"""The visible characters of ASCII: nothing else stands in a header of HTTP as it is."""


def check_credential(text: str, place: str) -> str:
    """Return a key, secret or token that can be sent as it is.

    Args:
        text: as it was given.
        place: what holds it, for messages: a variable, or a file and the variable that names it.

    Raises:
        ConfigError: it has a blank, a line end or another character that none has, or is too long.
    """
    at = next((i for i, c in enumerate(text) if not _FIRST <= ord(c) <= _LAST), None)
    if at is None and text and len(text) <= _MAX_BYTES:
        return text
    if at is None:
        raise ConfigError(f"{place} has {len(text):,} characters, which is no credential")
    kind = _kind_of(text[at])
    if not text[at:].strip(_AROUND):
        where = f"{kind} at its end"
    elif not text[: at + 1].strip(_AROUND):
        where = f"{kind} at its beginning"
    else:
        where = f"{kind} as character {at + 1} of {len(text)}"
    raise ConfigError(f"{place} has {where}: give the value without it")


def _kind_of(character: str) -> str:
    if character in "\r\n":
        return "a line end"
    if character == "\ufeff":
        return "a byte order mark"
    if character.isspace():
        return "a blank"
    return "a control character" if ord(character) < 0x80 else "a character that is not ASCII"


def read_credential(path: str, variable: str) -> str:
    """Return the credential in a file.

    Who else may read the file is not asked: a mounted Secret is readable for all users of its pod,
    of which there is one. `accrete doctor` says it outside of pods.

    Args:
        path: the file; space and line ends around the credential do not count.
        variable: what names the file, for messages.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    place = f"{variable} is {path}, which"
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_BYTES + 1).decode().strip(_AROUND)
    except OSError as error:
        raise ConfigError(f"{place} cannot be read ({error.strerror})") from error
    except ValueError:  # no UTF-8, or a path with a zero byte; neither is repeated
        raise ConfigError(f"{place} holds no credential: {_AGAIN}") from None
    if not text:
        raise ConfigError(f"{place} holds no credential: {_AGAIN}")
    return check_credential(text, place)


def exposed_to(path: Path) -> str | None:
    """Return who else may read a file, for messages; None: nobody, or there is none."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return "every user" if mode & 0o004 else "its group" if mode & 0o040 else None
