"""The store of this machine's commands: the environment's, else the embedded one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from accrete.core.settings import home_path
from accrete.core.units import format_bytes
from accrete.store.embedded import EmbeddedPaths, embedded_store, running_server, stored_bytes
from accrete.store.settings import StoreSettings, default_store_uri, parse_store_uri, store_settings

if TYPE_CHECKING:
    from accrete.store.object_store import ObjectStore


@contextmanager
def local_store() -> Iterator[StoreSettings]:
    """Give the store that the environment names, else run the embedded one meanwhile.

    The embedded one is named in this process's environment then, for sources below s3:// and for
    data sets to plan from.
    """
    settings = store_settings()
    if settings is not None:
        yield settings
        return
    with embedded_store(home_path()) as embedded:
        before = os.environ.copy()
        os.environ.update(embedded.as_environment())
        try:
            yield embedded
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def opened_store(uri: str | None) -> Iterator["ObjectStore"]:
    """Give the store that is meant, the embedded one where the environment names none.

    Args:
        uri: `s3://bucket[/prefix]`; None: the environment's, or `s3://accrete`.

    Raises:
        StoreError: it cannot be used.
    """
    from accrete.store.object_store import ObjectStore

    with local_store() as settings:
        store = ObjectStore(settings, parse_store_uri(uri or default_store_uri()))
        store.check()
        yield store


def describe_store(settings: StoreSettings) -> str:
    """Return where a store is, for people; with the size of an embedded one."""
    home = home_path()
    if running_server(EmbeddedPaths(home)) != settings:
        return settings.endpoint
    return f"{home / 'store'} ({format_bytes(stored_bytes(home))})"
