"""Objects in an S3 store: content-addressed data, create-only manifests, small mutable notes.

Never sees a tensor. Every read of an object is checked against the size and SHA-256 that a
manifest names; every error says which object, where, and what to do.
"""

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from minio.error import S3Error

from accrete.core.hashing import sha256_of_file
from accrete.errors import (
    IntegrityError,
    ObjectMissingError,
    StoreError,
    StoreUnreachableError,
)
from accrete.store import keys
from accrete.store._renewing_client import UploadProgress, released
from accrete.store._session import Session
from accrete.store.bucket import Bucket
from accrete.store.keys import ObjectRef
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
_CREATED, _EXISTS = (200, 201, 204), (412, 304)
"""304 is MinIO's of 2023 (github.com/minio/minio/issues/19442)."""

_PROOF = b"this store creates only what does not exist"
_LIST, _GET, _PUT, _DELETE = "s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
_READ = f"{_GET} and {_LIST}"  # without the latter a missing object looks like a forbidden one
_BROKEN_TRANSFER = (
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.ReadTimeoutError,
    urllib3.exceptions.DecodeError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as the store lists it."""

    key: str
    """Its key, below the store's prefix."""
    num_bytes: int
    """Its size."""
    etag: str
    """The store's own name of its content."""
    modified_at: datetime
    """When it was last written, by the store's clock, in whole seconds."""


class ObjectStore:
    """One bucket (and prefix) of one S3 store. Safe to share between threads."""

    def __init__(
        self, settings: StoreSettings, address: StoreAddress, *, patient: bool = True
    ) -> None:
        """Describe a store; nothing is contacted until the first call.

        Args:
            settings: the store.
            address: the bucket (and prefix).
            patient: ask a store that does not answer again, up to minutes; else once, for seconds.
        """
        self.settings = settings
        self.address = address
        self._session = Session(settings, address, patient=patient)
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
    def open(cls, uri: str, *, patient: bool = True) -> "ObjectStore":
        """Describe the store of an address that the environment has the endpoint and key of.

        Args:
            uri: `s3://bucket[/prefix]`.
            patient: as above.

        Raises:
            ConfigError: it is no such address, or the environment names no store.
        """
        return cls(require_store_settings(), parse_store_uri(uri), patient=patient)

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
            return self._size_of(key)
        except StoreUnreachableError:
            raise
        except StoreError:
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

    def write_note(self, key: str, data: bytes) -> None:
        """Write a small object, replacing what is there (progress, logs, reports)."""
        with self._explained(key, _PUT):
            self._client.put_object(
                self.address.bucket, self._full(key), io.BytesIO(data), len(data)
            )

    def create_note(self, key: str, data: bytes) -> bool:
        """Create a small object unless it exists; return whether this call created it.

        The store decides the race (`If-None-Match: *`), a header that the client library cannot
        send: so this request is ours.

        Raises:
            StoreError: the store answered neither "created" nor "exists".
        """
        with self._explained(key, _PUT):
            answer = self._session.requests.create(self._full(key), data)
            if answer.status not in (*_CREATED, *_EXISTS):
                raise self._session.errors.not_created(key, _PUT, answer)
        return answer.status in _CREATED

    def prove_create_only(self) -> None:
        """Make sure that the store creates an object only where none is, when it is asked to.

        One that overlooks that would let two runs overwrite each other's manifests. A small object
        stays as the proof, so that the next one takes one request.

        Raises:
            StoreError: it does not, or refuses.
        """
        key = keys.create_only_key()
        if self.create_note(key, _PROOF) and self.create_note(key, _PROOF):
            raise self._session.errors.overlooks_create_only()

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

    def push_file(self, ref: ObjectRef, path: Path, *, renew: bool = False) -> bool:
        """Upload a file under its content's key; return False where it was there already.

        Args:
            ref: what it is.
            path: the file.
            renew: upload it even so: it is as young as its upload then (see gc_mark.py).
        """
        if not renew and self.has_object(ref):
            return False
        key = keys.object_key(ref.sha256)
        started = time.monotonic()
        self.upload(key, path)
        self.traffic.add_pushed(ref.num_bytes, time.monotonic() - started)
        return True

    def upload(self, key: str, path: Path, heard: Callable[[int], None] | None = None) -> None:
        """Upload a file to a key, replacing what is there.

        Args:
            key: where it goes.
            path: the file.
            heard: told of bytes as they are read to be sent; what it raises ends the upload.
        """
        progress: Any = None if heard is None else UploadProgress(heard)
        with self._explained(key, _PUT):
            try:
                self._client.fput_object(
                    self.address.bucket, self._full(key), str(path), progress=progress
                )
            except S3Error as error:
                # Its last request may have been asked again, and done the first time.
                if error.code != "NoSuchUpload" or not self._holds(key, path):
                    raise

    def _holds(self, key: str, path: Path) -> bool:
        """Return whether an object is a file's very bytes."""
        num_bytes = path.stat().st_size
        if self.size_of(key) != num_bytes:
            return False
        return self.hash_object(key) == (sha256_of_file(path), num_bytes)

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens where there is none."""
        with self._explained(key, _DELETE):
            self._client.remove_object(self.address.bucket, self._full(key))

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
        with self._explained(prefix, _LIST):
            for item in self._client.list_objects(
                self.address.bucket, prefix=self._full(prefix), recursive=True
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

    def _retried(self, read: Callable[[], T], key: str) -> T:
        """Run a read, again after a transfer that broke off."""
        for attempt in range(_READ_TRIES):
            try:
                with self._explained(key, _READ, passing=_BROKEN_TRANSFER):
                    return read()
            except _BROKEN_TRANSFER as error:
                if attempt == _READ_TRIES - 1:
                    self.traffic.add_error()
                    broken = StoreError(
                        f"{self.uri(key)} broke off {_READ_TRIES} times while it was read "
                        f"({type(error).__name__}): check the network to the store"
                    )
                    broken.__cause__ = error
                    raise self._session.without_leaks(broken, key) from broken.__cause__
                self.traffic.add_retries(1)
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")
