"""Which images of a source are stored already, whatever their names are now."""

from collections import Counter
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path

from accrete.config.run import BaseModel
from accrete.data._intake import Decoded
from accrete.data.extension import Extension
from accrete.data.images import with_channels
from accrete.data.shards import image_digests
from accrete.store.cache import NodeCache

_MOST_COMPARED_BYTES = 4 << 30
"""Of the shards of classes that are gone; with more, the source is one that never had them."""


class StoredImages:
    """The images that a data set has of some classes, by what is stored of them."""

    def __init__(
        self, extension: Extension, names: Collection[str], gone: Collection[str], cache: NodeCache
    ) -> None:
        """Read the shards of those classes that it has, and of those that are gone."""
        assert extension.old is not None
        self._base: BaseModel = extension.base
        self.found: dict[str, Counter[str]] = {}
        """Of new classes: how many of their images each class that is gone has."""
        self.num_seen: Counter[str] = Counter()
        """Images of each new class."""
        entries = extension.old.by_name
        num_bytes = sum(shard.num_bytes for name in gone for shard in entries[name].all_shards)
        self._gone = gone if num_bytes <= _MOST_COMPARED_BYTES else ()
        known = (*names, *self._gone)
        shards = {name: entries[name].all_shards for name in known if name in extension.given}
        paths: Mapping[str, Path] = cache.fetch(
            shard for of_class in shards.values() for shard in of_class
        ).paths
        self._digests: dict[str, set[bytes]] = {
            name: set().union(*(image_digests(paths[shard.sha256]) for shard in of_class))
            for name, of_class in shards.items()
        }

    def __contains__(self, decoded: Decoded) -> bool:
        """Tell whether an image is stored already as one of its class."""
        name = decoded.item.class_name
        digests = self._digests.get(name)
        if digests is None:
            self._look_elsewhere(name, decoded)
            return False
        data = self._stored_form(decoded)
        return data is not None and sha256(data).digest() in digests

    def _look_elsewhere(self, name: str, decoded: Decoded) -> None:
        """Note whether an image of a new class is stored as one of a class that is gone."""
        self.num_seen[name] += 1
        data = self._stored_form(decoded) if self._gone else None
        if data is None:
            return
        digest = sha256(data).digest()
        for other in self._gone:
            if digest in self._digests[other]:
                self.found.setdefault(name, Counter())[other] += 1

    def _stored_form(self, decoded: Decoded) -> bytes | None:
        """Return what a shard would have of an image, None where it is none for this data set."""
        if self._base.image.encoding == "encoded":
            return decoded.encoded
        pixels = decoded.pixels
        if pixels is None or pixels.shape[2] > self._base.image.channels:
            return None
        return with_channels(pixels, self._base.image.channels).tobytes()
