"""Files that hold one credential each, as a mounted Secret has them."""

from pathlib import Path

from accrete.errors import ConfigError

_MAX_BYTES = 4096


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
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_BYTES + 1).decode().strip()
    except OSError as error:
        raise ConfigError(
            f"{variable} is {path}, which cannot be read ({error.strerror})"
        ) from error
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > _MAX_BYTES or len(text.split()) != 1:
        raise ConfigError(
            f"{variable} is {path}, which holds no credential: put the value in it, one line and "
            "nothing else"
        )
    return text


def exposed_to(path: Path) -> str | None:
    """Return who else may read a file, for messages; None: nobody, or there is none."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return "every user" if mode & 0o004 else "its group" if mode & 0o040 else None
