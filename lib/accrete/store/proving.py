"""What this program needs of a store, tried on the very bucket and prefix that a run would use.

Stores that speak S3 differ in what they leave out. Each finding is a line: what was tried, what
came of it and, where that will not do, what to do.
"""

import hashlib
import platform
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from uuid import uuid4

from accrete.core.units import format_bytes
from accrete.errors import StoreError
from accrete.store import keys
from accrete.store.object_store import ObjectStore

_LARGE_BYTES = (5 << 20) + 1024
"""More than one part of an upload: the smallest part that S3 takes is 5 MiB."""

_SKEW_S, _REFUSED_S = 60, 300
"""A clock that is off by more is remarked on, or called wrong: S3 refuses from 15 minutes on."""

_RACES, _RACERS = 3, 8

_FIRST, _SECOND = b"written by accrete doctor", b"and overwritten at once"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one trial."""

    what: str
    """What was tried."""
    ok: bool
    """Whether it is as it must be."""
    detail: str
    """What was found, and what to do."""


class _UnfitError(StoreError):
    """The store answered, and not as it must."""


def prove(store: ObjectStore) -> Iterator[Finding]:
    """Yield what a store can do, as each trial ends; nothing but one small object is left in it.

    The store has been reached: `check` says whether it can be.

    Args:
        store: with the rights of a step (docs/security.md).
    """
    base = f"{keys.doctor_prefix()}{platform.node() or 'here'}-{uuid4().hex[:8]}"
    trials: tuple[tuple[str, Callable[[ObjectStore, str], str]], ...] = (
        ("clock", _clock),
        ("writing", _writing),
        ("ranges", _ranges),
        ("deleting", _deleting),
        ("large objects", _large),
        ("creating once", _create_only),
        ("checksums", _checksums),
        ("versions", _versions),
    )
    try:
        for what, trial in trials:
            try:
                yield Finding(what, True, trial(store, base))
            except StoreError as error:
                yield Finding(what, False, str(error))
    finally:
        races = [f"{base}-{number}" for number in range(_RACES)]
        for key in (base, f"{base}-large", f"{base}-sum", *races):
            with suppress(StoreError):
                store.delete(key)


def _clock(store: ObjectStore, _: str) -> str:
    off_s = (datetime.now(UTC) - store.bucket.clock()).total_seconds()
    if abs(off_s) < _SKEW_S:
        return "this machine's and the store's agree"
    words = (
        f"this machine's is {abs(off_s):,.0f} s {'ahead of' if off_s > 0 else 'behind'} the store's"
    )
    if abs(off_s) < _REFUSED_S:
        return f"{words}; from 900 s on requests are refused"
    raise _UnfitError(f"{words}, and from 900 s on requests are refused: set it right (NTP)")


def _writing(store: ObjectStore, key: str) -> str:
    for data in (_FIRST, _SECOND):
        store.write_note(key, data)
        came = store.read_note(key)
        if came != data:
            raise _UnfitError(
                f"{store.uri(key)} reads as {'nothing' if came is None else 'something else'} just "
                "after it was written: a run needs a store that reads what was written last; if a "
                "cache or a replica is between, go round it"
            )
    if key not in store.list_keys(key):
        raise _UnfitError(
            f"{store.uri(key)} is not in the listing just after it was written: a run needs a "
            "store whose listings are up to date"
        )
    if store.size_of(key) != len(_SECOND):
        raise _UnfitError(f"{store.uri(key)} has another size to HEAD than it was written with")
    return "what is written is read and listed at once"


def _ranges(store: ObjectStore, key: str) -> str:
    came = store.read_range(key, 4, 11)
    if came != _SECOND[4:15]:
        raise _UnfitError(
            f"a read of 11 bytes of {store.uri(key)} came to other bytes: images are read from the "
            "store by ranges (RFC 9110); look at what is before it"
        )
    return "parts of objects can be read"


def _large(store: ObjectStore, base: str) -> str:
    if store.size_of(base) is not None:
        raise _UnfitError("not tried, since nothing that is written here can be deleted again")
    data = hashlib.sha256(base.encode()).digest() * (_LARGE_BYTES // 32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large"
        path.write_bytes(data)
        store.upload(f"{base}-large", path)
    if store.hash_object(f"{base}-large") != (hashlib.sha256(data).hexdigest(), len(data)):
        raise _UnfitError(
            f"{format_bytes(len(data))} that were uploaded in parts came back as other bytes: look "
            "at the store and at what is between"
        )
    return f"{format_bytes(len(data))} uploaded in parts came back unharmed"


def _create_only(store: ObjectStore, base: str) -> str:
    store.prove_create_only()
    for number in range(_RACES):
        key = f"{base}-{number}"
        start = Barrier(_RACERS)

        def race(racer: int, key: str = key, start: Barrier = start) -> bool:
            start.wait()
            return store.create_note(key, b"%d" % racer)

        with ThreadPoolExecutor(_RACERS) as racers:
            won = sum(racers.map(race, range(_RACERS)))
        if won > 1:
            raise _UnfitError(
                f"of {_RACERS} that created {store.uri(key)} at once {won} were told that they "
                "had: two runs would overwrite each other; use another store (docs/store.md)"
            )
    return f"an object is created once, also where {_RACERS} try at once (If-None-Match)"


def _checksums(store: ObjectStore, base: str) -> str:
    if store.bucket.refuses_damage(f"{base}-sum", _FIRST):
        return "bytes that were damaged on their way are refused (Content-MD5)"
    return "what is sent is not checked (Content-MD5): damage on the way shows when it is read"


def _versions(store: ObjectStore, _: str) -> str:
    state = store.bucket.keeping()
    if state is None:
        return "whether old ones are kept is not to be told (s3:GetBucketVersioning)"
    if state.retention:
        return (
            f"object lock keeps every object for {state.retention}, and what is deleted or "
            "overwritten as old versions: `accrete gc` frees nothing by itself (docs/store.md)"
        )
    if state.is_versioned:
        return (
            "the bucket keeps what is deleted or overwritten as old versions: `accrete gc` frees "
            "nothing by itself; give the bucket a lifecycle rule that expires noncurrent versions "
            "(docs/store.md)"
        )
    if state.was_versioned:
        return (
            "new ones are not kept, but those from before the bucket's versioning was suspended "
            "stay: `accrete gc` does not free them (docs/store.md)"
        )
    return "none are kept: what is deleted is gone"


def _deleting(store: ObjectStore, key: str) -> str:
    store.delete(key)
    if store.size_of(key) is not None or key in store.list_keys(key):
        raise _UnfitError(
            f"{store.uri(key)} is still there just after it was deleted: a run needs a store that "
            "is up to date"
        )
    return "what is deleted is gone at once"
