"""CIFAR-100 with fewer training images of each class, as a Parquet data set of its own."""

from collections import Counter
from pathlib import Path

import pyarrow
from pyarrow import parquet

_LABEL = "fine_label"


def thinned(source: Path, folder: Path, per_class: int, *, rarest: int | None = None) -> Path:
    """Return a folder with the first training images of each class, and all test images.

    Args:
        source: folder of CIFAR-100 in Parquet.
        folder: where the other is made, unless it is there.
        per_class: training images of each class, of the most frequent one where they differ.
        rarest: images of the rarest class; between the two numbers fall exponentially, as in
            long-tailed CIFAR (Cui et al., 2019). None: all classes have as many.
    """
    if folder.is_dir():
        return folder
    making = folder.with_name(folder.name + ".making")
    making.mkdir(parents=True, exist_ok=True)
    train = pyarrow.concat_tables(map(parquet.read_table, sorted(source.glob("train-*.parquet"))))
    labels = train[_LABEL].to_pylist()
    num_classes = len(set(labels))
    # 37 and 100 have no common divisor: neighbours in the order of names differ in numbers.
    wanted = {
        label: per_class
        if rarest is None
        else round(per_class * (rarest / per_class) ** (37 * label % num_classes / num_classes))
        for label in set(labels)
    }
    kept, seen = [], Counter[int]()
    for row, label in enumerate(labels):
        seen[label] += 1
        if seen[label] <= wanted[label]:
            kept.append(row)
    parquet.write_table(train.take(kept), making / "train-00000-of-00001.parquet")
    for path in sorted(source.glob("test-*.parquet")):
        parquet.write_table(parquet.read_table(path), making / path.name)
    return making.rename(folder)
