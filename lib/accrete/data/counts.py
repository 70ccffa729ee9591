"""Class counts for planning: from a number, a JSON file, a stored data set, or the source."""

from collections.abc import Callable
from pathlib import Path

from accrete.config.classes import check_class_names
from accrete.config.plan import even_counts
from accrete.config.run import SourceConfig
from accrete.core.untrusted import decode_json, read_small_file
from accrete.core.validation import MAX_COUNT
from accrete.errors import SourceError


def counts_of_number(num_classes: int, images_per_class: int) -> dict[str, int]:
    """Return equal counts for classes named by their number, sorted by it.

    Raises:
        PlanError: either is below 1.
    """
    counts = even_counts(num_classes, images_per_class)
    width = len(str(num_classes - 1))
    return {f"{number:0{width}}": count for number, count in enumerate(counts)}


def counts_of_file(path: Path) -> dict[str, int]:
    """Return the counts of a JSON file: an object from class name to training images.

    Raises:
        SourceError: the file is not there or is something else.
    """
    try:
        text = read_small_file(path)
    except ValueError as error:
        raise SourceError(f"counts file {path} cannot be read ({error})") from error
    try:
        data = decode_json(text)
    except ValueError as error:
        raise SourceError(f"counts file {path} is not JSON ({error})") from error
    if not isinstance(data, dict) or not data:
        raise SourceError(f'counts file {path} must hold an object such as {{"cat": 500}}')
    for name, count in data.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise SourceError(f"counts file {path}: class {name!r} has {count!r}, not a number")
        if not 0 <= count <= MAX_COUNT:
            raise SourceError(
                f"counts file {path}: class {name!r} has {str(count)[:40]} images: "
                f"give a number from 1 to {MAX_COUNT}"
            )
    check_class_names(data, f"counts file {path}")
    return data


def counts_of_source(
    config: SourceConfig, say: Callable[[str], None] | None = None
) -> dict[str, int]:
    """Return the training images of each class of a source, after its splits.

    Args:
        config: the source.
        say: told what the source is understood to be, line by line.

    Raises:
        SourceError: of any kind.
    """
    from accrete.data.inspection import understand
    from accrete.data.sources.opening import open_source
    from accrete.data.splits import training_counts

    source = open_source(config)
    if say is not None:
        for line in understand(source, config).lines():
            say(line)
    return training_counts(source.counts(), config)


def counts_of_dataset(digest: str, store_uri: str) -> dict[str, int]:
    """Return the training images of each class of a stored data set.

    Args:
        digest: its first 12 or more digits.
        store_uri: of the store that has it.

    Raises:
        ConfigError, RunNotFoundError: there is no such data set.
        StoreError: it cannot be read.
    """
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.lookup import dataset_digest
    from accrete.store.object_store import ObjectStore

    store = ObjectStore.open(store_uri)
    store.check()
    catalog = Catalog(store)
    return catalog.dataset(dataset_digest(catalog, digest)).planned_counts
