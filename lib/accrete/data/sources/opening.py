"""Where images come from. `open_source` is the only way in."""

from typing import TYPE_CHECKING

from accrete.config.run import SourceConfig
from accrete.data.sources.base import Counts, Item, Reading, Source

if TYPE_CHECKING:
    from accrete.data.sources.selection import SelectedClasses


def open_source(config: SourceConfig) -> "SelectedClasses":
    """Return the source that a configuration names; reads as little as it can.

    Raises:
        SourceError: the folder, prefix, columns or a class that was chosen are not there.
    """
    from accrete.data.sources.selection import SelectedClasses

    return SelectedClasses(_whole_source(config), config.only_classes, config.location)


def _whole_source(config: SourceConfig) -> Source:
    if config.kind == "digits":
        from accrete.data.sources.published.digits import DigitsSource

        return DigitsSource()
    if config.kind in ("imagefolder", "csv", "parquet", "arrow"):
        from accrete.data.sources.formats import open_folder, open_tables

        return open_folder(config) if config.kind == "imagefolder" else open_tables(config)
    if config.kind == "webdataset":
        from accrete.data.sources.archives.webdataset import WebDatasetSource

        return WebDatasetSource(config)
    if config.kind == "idx":
        from accrete.data.sources.archives.idx import IdxSource

        return IdxSource(config)
    from accrete.data.sources.published.torchvision_sets import TorchvisionSource

    return TorchvisionSource(config)


__all__ = ["Counts", "Item", "Reading", "Source", "open_source"]
