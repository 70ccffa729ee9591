"""What a store reads, and what its requests share: one session, waits for one that is away."""

import copy
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

import urllib3

from accrete.core.settings import store_wait_s
from accrete.errors import (
    IntegrityError,
    ObjectMissingError,
    StoreError,
    StoreUnreachableError,
)
from accrete.store import keys
from accrete.store._outage import Outage, StoreWait
from accrete.store._renewing_client import released
from accrete.store._retry import ROUND_S, pause
from accrete.store._session import Session
from accrete.store.bucket import Bucket
from accrete.store.keys import Listed, ObjectRef
from accrete.store.settings import (
    StoreAddress,
    StoreSettings,
    parse_store_uri,
    require_store_settings,
)

T = TypeVar("T")

MAX_NOTE_BYTES = 64 << 20
"""Largest manifest or note that is read into memory; one for 10,000 classes is about 4 MB."""

_CHUNK_BYTES = 1 << 20
_READ_TRIES = 5
_LIST, _GET, PUT, DELETE = "s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
_READ = f"{_GET} and {_LIST}"  # without the latter a missing object looks like a forbidden one
_BROKEN_TRANSFER = (
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.ReadTimeoutError,
    urllib3.exceptions.DecodeError,
)


class StoreReader:
    """An ObjectStore, as far as it reads."""

    def __init__(
        self,
        settings: StoreSettings,
        address: StoreAddress,
        *,
        patient: bool = True,
        wait_s: float | None = None,
    ) -> None:
        """Describe a store; nothing is contacted until the first call.

        Args:
            settings: the store.
            address: the bucket (and prefix).
            patient: ask a store that does not answer again, up to minutes; else once, for seconds.
            wait_s: how long a request waits for one that is away all the same; None: as the
                environment says where it is patient, else not at all.

        Raises:
            ConfigError: that is no time.
        """
        self.settings = settings
        self.address = address
        if wait_s is None:
            wait_s = store_wait_s() if patient else 0.0
        self._session = Session(settings, address, patient=patient, wait_s=wait_s)
        self._waiting = self._session.foreground
        self.traffic = self._session.traffic
        self.credentials = self._session.credentials
        self.bucket = Bucket(self._session)
        self._client = self._session.client
        self._explained = self._session.explained

    @property
    def proxy_address(self) -> str | None:
        """Address of the proxy that leads there, None where none does."""
        return self._session.proxy.address if self._session.proxy else None

    @classmethod
    def open(cls, uri: str, *, patient: bool = True, wait_s: float | None = None) -> Self:
        """Describe the store of an address that the environment has the endpoint and key of.

        Args:
            uri: `s3://bucket[/prefix]`.
            patient: as above.
            wait_s: as above.

        Raises:
            ConfigError: it is no such address, or the environment names no store.
        """
        settings = require_store_settings()
        return cls(settings, parse_store_uri(uri), patient=patient, wait_s=wait_s)

    def told_by(self, tell: Callable[[str], None]) -> None:
        """Have a line told when a store that is away is waited for, and when it is back."""
        self._session.outage.tell = tell

    def in_background(self) -> Self:
        """Return the same store for what must not hold up other work: it waits without end.

        Until its own `release`.
        """
        view = copy.copy(self)
        view._waiting = self._session.background()
        return view

    def at_once(self) -> Self:
        """Return the same store for what must not be done later: it waits for nothing."""
        view = copy.copy(self)
        view._waiting = StoreWait(Outage(), 0.0, "")
        return view

    def release(self) -> None:
        """Have all give up that wait for this view of a store; what it is asked later waits not."""
        self._waiting.release()

    def check(self) -> None:
        """Make sure that the store answers, accepts the credentials and has the bucket.

        Raises:
            StoreUnreachableError, StoreAccessError, BucketMissingError: it does not.
        """
        # A listing, since HEAD is answered without a word of what is wrong.
        next(iter(self.list_objects(keys.doctor_prefix())), None)

    def size_of(self, key: str) -> int | None:
        """Return an object's size in bytes, None where there is no such object."""
        try:
            return self._waited(lambda: self._size_of(key))
        except StoreError as error:
            if error.may_pass or isinstance(error, StoreUnreachableError):
                raise
            self.check()  # which says more: HEAD is answered without a body
            return self._size_of(key)

    def _size_of(self, key: str) -> int | None:
        try:
            with self._explained(key, _READ):
                stat = self._client.stat_object(self.address.bucket, self._full(key))
        except ObjectMissingError:
            return None
        return int(stat.size or 0)

    def has_object(self, ref: ObjectRef) -> bool:
        """Return whether the object is stored with the size that its manifest names."""
        return self.size_of(keys.object_key(ref.sha256)) == ref.num_bytes

    def read_note(self, key: str) -> bytes | None:
        """Return a small object's bytes, None where there is no such object.

        Raises:
            StoreError: it is larger than any manifest or note can be.
        """

        def read() -> bytes:
            response = self._client.get_object(self.address.bucket, self._full(key))
            with released(response):
                data: bytes = response.read(MAX_NOTE_BYTES + 1)
            return data

        try:
            data = self._retried(read, key)
        except ObjectMissingError:
            return None
        if len(data) > MAX_NOTE_BYTES:
            raise StoreError(f"{self.uri(key)} is over {MAX_NOTE_BYTES} bytes: not ours")
        return data

    def status_of(self, key: str) -> int:
        """Return the HTTP status of one try to read an object: tells when a store is ready.

        Raises:
            urllib3.exceptions.HTTPError: nothing answered.
        """
        return self._session.requests.status_of(self._full(key))

    def pull_file(self, ref: ObjectRef, path: Path, key: str | None = None) -> None:
        """Download an object to a file, checked and flushed; on an error no file is left.

        Args:
            ref: what must come.
            path: the file to make.
            key: where it lies; None: at its content's key.

        Raises:
            IntegrityError: the stored bytes are not those the manifest names.
            ObjectMissingError: there is no such object.
        """
        key = key or keys.object_key(ref.sha256)
        started = time.monotonic()
        try:
            digest = self._retried(lambda: self._stream_to(key, path, ref.num_bytes), key)
            if digest != ref.sha256:
                raise IntegrityError(
                    f"{self.uri(key)} holds other bytes than its manifest names (SHA-256 "
                    f"{digest[:12]}… instead of {ref.sha256[:12]}…): delete it and run again"
                )
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self.traffic.add_pulled(ref.num_bytes, time.monotonic() - started)

    def hash_object(self, key: str) -> tuple[str, int]:
        """Return SHA-256 and size in bytes of an object as it is stored.

        Raises:
            ObjectMissingError: there is no such object.
        """

        def read() -> tuple[str, int]:
            hasher, num_bytes = hashlib.sha256(), 0
            response = self._client.get_object(self.address.bucket, self._full(key))
            with released(response):
                for chunk in response.stream(_CHUNK_BYTES):
                    hasher.update(chunk)
                    num_bytes += len(chunk)
            return hasher.hexdigest(), num_bytes

        return self._retried(read, key)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Return some bytes of an object; fewer where it ends before.

        Raises:
            StoreError: the store, or what is before it, knows no ranges and sends everything.
        """

        def read() -> bytes:
            response = self._client.get_object(
                self.address.bucket, self._full(key), offset=offset, length=length
            )
            with released(response):
                data: bytes = response.read(length + 1)
            if len(data) > length:
                raise StoreError(
                    f"{self.uri(key)}: the store answered a request for {length:,} bytes with all "
                    "of it: images are read by ranges (RFC 9110); look at what is before it"
                )
            return data

        return b"" if length == 0 else self._retried(read, key)

    def list_objects(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects below a prefix, sorted by the store."""
        pages, last = self._listing(prefix, None), ""

        def look() -> Listed | None:
            nonlocal pages
            try:
                return next(pages, None)
            except StoreError:
                pages = self._listing(prefix, last or None)  # an iterator that raised is at its end
                raise

        while (listed := self._waited(look)) is not None:
            last = listed.key
            yield listed

    def _listing(self, prefix: str, after: str | None) -> Iterator[Listed]:
        with self._explained(prefix, _LIST):
            for item in self._client.list_objects(
                self.address.bucket,
                prefix=self._full(prefix),
                recursive=True,
                start_after=None if after is None else self._full(after),
            ):
                yield Listed(
                    key=str(item.object_name)[len(self.address.prefix) :],
                    num_bytes=int(item.size or 0),
                    etag=str(item.etag),
                    modified_at=item.last_modified or datetime.max.replace(tzinfo=UTC),
                )

    def list_keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix."""
        return [listed.key for listed in self.list_objects(prefix)]

    def uri(self, key: str) -> str:
        """Return the s3:// address of a key, for messages."""
        return self.address.uri(key)

    def _full(self, key: str) -> str:
        return self._session.full(key)

    def _stream_to(self, key: str, path: Path, num_bytes: int) -> str:
        """Write an object to a file; return the SHA-256 of what came."""
        hasher = hashlib.sha256()
        written = 0
        response = self._client.get_object(self.address.bucket, self._full(key))
        with released(response), path.open("wb") as file:
            for chunk in response.stream(_CHUNK_BYTES):
                written += len(chunk)
                if written > num_bytes:
                    break  # the digest cannot match any more; do not fill the disk
                hasher.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return hasher.hexdigest() if written == num_bytes else f"{written} bytes"

    def _waited(self, ask: Callable[[], T]) -> T:
        """Return what a request comes to, after a store that is away came back."""
        try:
            return self._waiting.waited(ask)
        except StoreError as error:
            if error.may_pass:
                self.traffic.add_error()
            raise

    def _retried(self, read: Callable[[], T], key: str) -> T:
        """Run a read, again after a transfer that broke off, or while the store is away."""
        return self._waited(lambda: self._tried_again(read, key))

    def _tried_again(self, read: Callable[[], T], key: str) -> T:
        began = time.monotonic()
        for attempt in range(_READ_TRIES):
            try:
                with self._explained(key, _READ, passing=_BROKEN_TRANSFER):
                    return read()
            except _BROKEN_TRANSFER as error:
                hangs = isinstance(error, urllib3.exceptions.ReadTimeoutError)
                is_late = hangs and time.monotonic() - began > ROUND_S
                if is_late or attempt == _READ_TRIES - 1:
                    broken = StoreError(
                        f"{self.uri(key)} broke off {attempt + 1} times while it was read "
                        f"({type(error).__name__}): check the network to the store"
                    ).passing()
                    broken.__cause__ = error
                    raise self._session.without_leaks(broken, key) from broken.__cause__
                self.traffic.add_retries(1)
                pause(0.1 * 2**attempt)
        raise AssertionError("unreachable")
