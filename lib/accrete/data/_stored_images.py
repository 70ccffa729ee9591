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
"""Of the shards of classes that lack images; with more, the source is one that never had them."""


class StoredImages:
    """The images that a data set has of some classes, by what is stored of them."""

    def __init__(
        self, extension: Extension, names: Collection[str], fewer: Collection[str], cache: NodeCache
    ) -> None:
        """Read the shards of those classes that it has, and of those that lack images now."""
        assert extension.old is not None
        self._base: BaseModel = extension.base
        self.found: dict[str, Counter[str]] = {}
        """By class: how many of the images that came to it each class that lacks some has."""
        self.num_seen: Counter[str] = Counter()
        """Images that came to each class, new or old."""
        entries = extension.old.by_name
        num_bytes = sum(shard.num_bytes for name in fewer for shard in entries[name].all_shards)
        self._fewer = fewer if num_bytes <= _MOST_COMPARED_BYTES else ()
        known = dict.fromkeys((*names, *self._fewer))
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
        own = self._digests.get(name)
        data = None if own is None and not self._fewer else self._stored_form(decoded)
        digest = None if data is None else sha256(data).digest()
        if own is not None and digest in own:
            return True
        self.num_seen[name] += 1
        for other in self._fewer if digest is not None else ():
            if digest in self._digests[other]:
                self.found.setdefault(name, Counter())[other] += 1
        return False

    def _stored_form(self, decoded: Decoded) -> bytes | None:
        """Return what a shard would have of an image, None where it is none for this data set."""
        if self._base.image.encoding == "encoded":
            return decoded.encoded
        pixels = decoded.pixels
        if pixels is None or pixels.shape[2] > self._base.image.channels:
            return None
        return with_channels(pixels, self._base.image.channels).tobytes()
