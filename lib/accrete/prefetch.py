"""The next stage's shards, fetched to this node while a stage trains."""

from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

from accrete.cache import NodeCache
from accrete.errors import AccreteError
from accrete.store import ObjectRef


class Prefetch:
    """Fetches objects in a thread while a block runs; its end waits for what is on its way."""

    def __init__(self, cache: NodeCache, refs: Sequence[ObjectRef]) -> None:
        """Fetch these; what cannot be had is left to the stage that needs it."""
        self.pulled_bytes = 0
        self._cache, self._refs = cache, refs
        self._thread = Thread(target=self._fetch, daemon=True)

    def __enter__(self) -> "Prefetch":
        if self._refs:
            self._thread.start()
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if self._refs and error_type is None:
            self._thread.join()

    def _fetch(self) -> None:
        with suppress(AccreteError):
            self.pulled_bytes = self._cache.fetch(self._refs).pulled_bytes
