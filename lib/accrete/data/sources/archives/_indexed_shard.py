"""What is kept of a WebDataset shard whose headers and labels were read."""

from array import array
from collections.abc import Mapping

from accrete.data.sources.archives._samples import OtherMembers, Sample
from accrete.data.sources.archives._tar_members import Member

HIDDEN = -1
"""Label of images whose class is not published."""

_PLACE_BYTES = 200
"""Of a key that is kept for errors."""


class IndexedShard:
    """What is kept of an archive: some dozen bytes a sample."""

    def __init__(self, name: str) -> None:
        """Begin with no sample of a shard of this name."""
        self.name, self.is_gzip = name, False
        self.starts, self.sizes = array("q"), array("q")
        self.labels = array("i")  # positions in a list of labels, or HIDDEN
        self.others = OtherMembers()
        self._positions: dict[int | str, int] = {}
        self._keys, self._key_ends = bytearray(), array("q")

    def add(self, sample: Sample, image: Member, extension: str, label: int | str) -> None:
        """Add a sample by its image, the image's extension, and its label."""
        self.starts.append(image.start)
        self.sizes.append(image.num_bytes)
        known = self._positions
        self.labels.append(known.setdefault(label, len(known)))
        self._keys += f"{sample.key}.{extension}".encode(errors="replace")[:_PLACE_BYTES]
        self._key_ends.append(len(self._keys))

    def texts(self) -> set[str]:
        """Return the different labels that are text, but hidden ones."""
        return {label for label in self._positions if isinstance(label, str)} - {str(HIDDEN)}

    def renumber(self, positions: dict[int | str, int], meant: Mapping[str, int | str]) -> None:
        """Let labels be positions in a list of all shards' labels, which is added to.

        Args:
            positions: of labels in that list.
            meant: what labels of text are.
        """
        moved = []
        for found in self._positions:
            label = meant.get(found, found) if isinstance(found, str) else found
            is_hidden = label in (HIDDEN, str(HIDDEN))
            moved.append(HIDDEN if is_hidden else positions.setdefault(label, len(positions)))
        self.labels = array("i", (moved[label] for label in self.labels))
        self._positions = {}

    def image_name(self, number: int) -> str:
        """Return the beginning of the path of a sample's image."""
        start = self._key_ends[number - 1] if number else 0
        return self._keys[start : self._key_ends[number]].decode(errors="replace")
