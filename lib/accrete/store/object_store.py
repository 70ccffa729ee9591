"""Objects in an S3 store: content-addressed data, create-only manifests, small mutable notes.

Never sees a tensor. Every read of an object is checked against the size and SHA-256 that a
manifest names; every error says which object, where, and what to do.
"""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minio.error import S3Error

from accrete.core.hashing import sha256_of_file
from accrete.store import keys
from accrete.store._outage import outages_told_by
from accrete.store._reading import DELETE, PUT, StoreReader
from accrete.store._renewing_client import UploadProgress
from accrete.store.keys import ObjectRef

_CREATED, _EXISTS = (200, 201, 204), (412, 304)
"""304 is MinIO's of 2023 (github.com/minio/minio/issues/19442)."""

_PROOF = b"this store creates only what does not exist"


__all__ = ["ObjectStore", "outages_told_by"]


class ObjectStore(StoreReader):
    """One bucket (and prefix) of one S3 store. Safe to share between threads."""

    def write_note(self, key: str, data: bytes) -> None:
        """Write a small object, replacing what is there (progress, logs, reports)."""

        def write() -> None:
            with self._explained(key, PUT):
                self._client.put_object(
                    self.address.bucket, self._full(key), io.BytesIO(data), len(data)
                )

        self._waited(write)

    def create_note(self, key: str, data: bytes) -> bool:
        """Create a small object unless it exists; return whether this call created it.

        The store decides the race (`If-None-Match: *`), a header that the client library cannot
        send: so this request is ours.

        Raises:
            StoreError: the store answered neither "created" nor "exists".
        """

        def create() -> bool:
            with self._explained(key, PUT):
                answer = self._session.requests.create(self._full(key), data)
                if answer.status not in (*_CREATED, *_EXISTS):
                    raise self._session.errors.not_created(key, PUT, answer)
            return answer.status in _CREATED

        return self._waited(create)

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
            heard: told of bytes as they are read to be sent, and of those that were read in vain
                as less than none; what it raises ends the upload.
        """

        num_heard = 0

        def hear(num_bytes: int) -> None:
            nonlocal num_heard
            num_heard += num_bytes
            assert heard is not None
            heard(num_bytes)

        def send() -> None:
            if num_heard:
                hear(-num_heard)  # it begins anew
            progress: Any = None if heard is None else UploadProgress(hear)
            with self._explained(key, PUT):
                try:
                    self._client.fput_object(
                        self.address.bucket, self._full(key), str(path), progress=progress
                    )
                except S3Error as error:
                    # Its last request may have been asked again, and done the first time.
                    if error.code != "NoSuchUpload" or not self._holds(key, path):
                        raise

        self._waited(send)

    def _holds(self, key: str, path: Path) -> bool:
        """Return whether an object is a file's very bytes."""
        num_bytes = path.stat().st_size
        if self.size_of(key) != num_bytes:
            return False
        return self.hash_object(key) == (sha256_of_file(path), num_bytes)

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens where there is none."""

        def remove() -> None:
            with self._explained(key, DELETE):
                self._client.remove_object(self.address.bucket, self._full(key))

        self._waited(remove)
