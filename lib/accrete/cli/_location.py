"""Where --data is: one place written in one way, and on a cluster one that its pods can read."""

import re
import shlex
from pathlib import PurePath

from accrete.config.run import SourceConfig
from accrete.core.options import Given
from accrete.core.settings import shown_address
from accrete.errors import ConfigError
from accrete.store.settings import parse_store_uri

_S3 = "s3://"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def normalized_location(location: str) -> str:
    """Return the one way to write a place: `photos/`, `./photos` and `photos` are one run.

    Args:
        location: a local path, which may begin with `~`, or `s3://bucket[/prefix]`.

    Raises:
        ConfigError: it is an address of another kind.
    """
    if location.startswith(_S3):
        return str(parse_store_uri(location))
    if _SCHEME.match(location):
        raise ConfigError(
            f"--data is {shown_address(location)!r}: give a local folder or file, or s3://bucket/prefix"
        )
    if not location.strip():
        raise ConfigError("--data is empty: give a folder or file, or s3://bucket/prefix")
    path = str(PurePath(location))  # keeps `..`, which may leave a link's folder
    return f"./{path}" if path.startswith("~") and not location.startswith("~") else path


def refuse_local_data(given: Given[SourceConfig]) -> None:
    """Refuse images of this machine for a run on a cluster, before anything is read of them.

    torchvision's sets too: a pod would fetch them anew, which no network policy of ours lets it.

    Raises:
        ConfigError: says how they get to where pods can read them.
    """
    location = given.values.get("location")
    if not location or given.values.get("kind") == "digits":
        return
    if normalized_location(location).startswith(_S3):
        return
    there = shlex.quote(f"s3://BUCKET/{PurePath(location).name.strip('.~') or 'images'}")
    raise ConfigError(
        f"--data {location} is a place on this machine, which a cluster's pods cannot read: "
        f"`accrete data push {_typed(location)} {there}`, then --data {there}"
    )


def _typed(location: str) -> str:
    """Return a path as a shell takes it; a `~` at its beginning stays one."""
    if not location.startswith("~"):
        return shlex.quote(location)
    home, slash, rest = location.partition("/")
    return home + slash + (shlex.quote(rest) if rest else "")
