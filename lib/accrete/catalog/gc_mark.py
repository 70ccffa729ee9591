"""The mark that a collection of unnamed objects leaves in the store, and who heeds it.

A collector removes what no run names. A writer may be about to name an old object: it found it
stored, did not upload it again, and has not published yet. Neither can lock a store, so both write
first and look afterwards:

- the collector writes the mark, then lists objects, then reads records and manifests, then removes
  what is named nowhere and was written long ago;
- the writer publishes, then looks at the mark. If it changed since the writer began, objects may be
  gone: it waits until the collector has ended and makes sure of its objects again.

One of the two sees the other, whatever the order: a collector that began after the writer had
published reads what the writer published. No clock of either machine is relied on.
"""

import json
import time
from collections.abc import Callable
from uuid import uuid4

from accrete.core.hashing import canonical_json
from accrete.errors import StoreError
from accrete.store import keys
from accrete.store.object_store import ObjectStore

BEAT_S = 10.0
"""A collector at work rewrites its mark this often, and removes nothing when it could not."""

DEAD_AFTER_S = 60.0
"""A mark that stays the same for this long is of a collector that was killed."""

_POLL_S = 2.0


class CollectionMark:
    """A collector's own mark, while it is at work."""

    def __init__(self, store: ObjectStore, *, dead_after_s: float = DEAD_AFTER_S) -> None:
        """Set the mark.

        Raises:
            StoreError: another collector is at work.
        """
        self._store, self._id, self._beats = store, uuid4().hex, 0
        self._dead_after_s = dead_after_s
        _wait_for_end(_Sight(store), store, dead_after_s, _refuse_living)
        self._write("removing")
        time.sleep(min(1.0, dead_after_s / 4))  # who began at the same moment writes its mark now
        self._renew()

    def beat(self) -> None:
        """Keep the mark alive; call before each removal.

        Raises:
            StoreError: this collector was held up for so long that others count it as killed, or
                another one took over.
        """
        silence_s = time.monotonic() - self._written_at
        if silence_s > self._dead_after_s / 2:
            raise StoreError(
                f"the collection was held up for {silence_s:.0f} s, so that writers may count on "
                "what it was to remove: it ends here; run it again"
            )
        if silence_s > min(BEAT_S, self._dead_after_s / 6):
            self._renew()

    def _renew(self) -> None:
        if _parsed(self._store.read_note(keys.collection_key())).get("id") != self._id:
            raise StoreError(
                f"another collection began in {self._store.address} meanwhile: this one ends, "
                "what it has not removed is left to the other"
            )
        self._write("removing")

    def end(self) -> None:
        """Say that nothing will be removed any more."""
        self._write("ended")

    def _write(self, state: str) -> None:
        self._beats += 1
        note = {"id": self._id, "state": state, "beat": self._beats}
        self._store.write_note(keys.collection_key(), canonical_json(note))
        self._written_at = time.monotonic()


class CollectionWatch:
    """A writer's view of the mark, from before it relies on stored objects."""

    def __init__(
        self,
        store: ObjectStore,
        notice: Callable[[str], None] = lambda _text: None,
        *,
        dead_after_s: float = DEAD_AFTER_S,
    ) -> None:
        """Look at the mark.

        Args:
            store: where objects are relied on.
            notice: told when a collector at work is waited for.
            dead_after_s: seconds of silence after which a collector counts as killed.
        """
        self._store, self._notice, self._dead_after_s = store, notice, dead_after_s
        self._sight = _Sight(store)

    def was_disturbed(self) -> bool:
        """Return whether objects may have been removed since the last call, or the beginning.

        Waits for a collector at work, so that afterwards what is stored stays stored.
        """
        before = self._sight
        self._sight = _wait_for_end(before, self._store, self._dead_after_s, self._wait_for_living)
        return self._sight.note != before.note

    def _wait_for_living(self) -> None:
        self._notice("waiting for the end of a collection (accrete gc) in this store")


class _Sight:
    """The mark as it was seen, and since when."""

    def __init__(self, store: ObjectStore) -> None:
        self.note = store.read_note(keys.collection_key())
        self.seen_at = time.monotonic()

    @property
    def is_removing(self) -> bool:
        return _parsed(self.note).get("state") == "removing"


def _wait_for_end(
    seen: _Sight, store: ObjectStore, dead_after_s: float, found_living: Callable[[], None]
) -> _Sight:
    """Return the mark when no collector is at work.

    Args:
        seen: the mark as it was when the caller last looked.
        store: where to look.
        dead_after_s: seconds after which an unchanged mark is a killed collector's.
        found_living: called once when a mark is seen to change, which only a living one does.
    """
    was_told = False
    while True:
        now = _Sight(store)
        if not now.is_removing:
            return now
        if now.note != seen.note:
            if seen.is_removing and not was_told:
                found_living()
                was_told = True
            seen = now
        elif now.seen_at - seen.seen_at > dead_after_s:
            return seen
        time.sleep(min(_POLL_S, dead_after_s / 20))


def _refuse_living() -> None:
    raise StoreError("another collection is at work in this store: let it end")


def _parsed(note: bytes | None) -> dict[str, object]:
    """Return a mark's fields; a note that is none says nothing."""
    try:
        fields = json.loads(note or b"{}")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
