"""Whether an object holds what a file does, by what the store tells of it: mostly without reading.

A store's ETag is the MD5 of an object that was sent in one piece, and of the parts' MD5s with their
number where it was sent in parts (docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Other
clients cut other parts, and stores that encrypt have ETags of their own: then the object is read.
"""

import hashlib
from pathlib import Path

from minio.helpers import get_part_info

from accrete.core.hashing import sha256_of_file
from accrete.store.keys import Listed
from accrete.store.object_store import ObjectStore

_CHUNK_BYTES = 1 << 20


def has_content_of(store: ObjectStore, listed: Listed, path: Path) -> bool:
    """Return whether a listed object has a file's bytes.

    Args:
        store: where it was listed.
        listed: the object.
        path: the file.

    Raises:
        OSError: the file cannot be read.
        ObjectMissingError: the object is gone meanwhile.
    """
    if listed.num_bytes != path.stat().st_size:
        return False
    if listed.etag.strip('"') == etag_of(path):
        return True
    return store.hash_object(listed.key)[0] == sha256_of_file(path)


def etag_of(path: Path) -> str:
    """Return the ETag that most stores give to what `ObjectStore.upload` sends."""
    part_bytes, num_parts = get_part_info(path.stat().st_size, 0)
    digests = []
    with path.open("rb") as file:
        for _ in range(num_parts):
            hasher, left = hashlib.md5(usedforsecurity=False), part_bytes
            while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                hasher.update(chunk)
                left -= len(chunk)
            digests.append(hasher)
    if len(digests) == 1:
        return digests[0].hexdigest()
    of_parts = b"".join(hasher.digest() for hasher in digests)
    return f"{hashlib.md5(of_parts, usedforsecurity=False).hexdigest()}-{len(digests)}"
