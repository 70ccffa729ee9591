"""Where images come from. `open_source` is the only way in."""

from accrete.config.run import SourceConfig
from accrete.data.sources.base import Counts, Item, Source


def open_source(config: SourceConfig) -> Source:
    """Return the source that a configuration names; reads as little as it can.

    Raises:
        SourceError: the folder, prefix, columns or a class that was chosen are not there.
    """
    source = _whole_source(config)
    if config.only_classes is None:
        return source
    from accrete.data.sources.selection import SelectedClasses

    return SelectedClasses(source, config.only_classes)


def _whole_source(config: SourceConfig) -> Source:
    if config.kind == "digits":
        from accrete.data.sources.digits import DigitsSource

        return DigitsSource()
    if config.kind == "parquet":
        from accrete.data.sources.parquet import ParquetSource

        return ParquetSource(config)
    if config.kind == "imagefolder":
        from accrete.data.sources.imagefolder import ImageFolderSource

        return ImageFolderSource(config)
    from accrete.data.sources.torchvision_sets import TorchvisionSource

    return TorchvisionSource(config)


__all__ = ["Counts", "Item", "Source", "open_source"]
