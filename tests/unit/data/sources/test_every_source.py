"""What holds of every source."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from source_sample import structs, write_files, write_parquet

from accrete.config.run import SourceConfig
from accrete.data.sources.opening import open_source
from accrete.errors import SourceError


def test_digits_are_1797_images_in_ten_classes() -> None:
    source = open_source(SourceConfig(kind="digits"))
    counts = source.counts()
    assert list(counts) == ["train"]
    assert list(counts["train"]) == [str(digit) for digit in range(10)]
    assert sum(counts["train"].values()) == 1797
    items = list(source.items())
    assert Counter(item.class_name for item in items) == counts["train"]
    pixels = np.stack([np.asarray(item.load()) for item in items])
    assert (pixels.shape, pixels.dtype) == ((1797, 8, 8, 1), np.uint8)
    assert (pixels.min(), pixels.max(), len(np.unique(pixels))) == (0, 255, 17)


def test_digits_are_the_same_each_time() -> None:
    first, again = (open_source(SourceConfig(kind="digits")) for _ in range(2))
    assert first.fingerprint() == again.fingerprint()
    assert [i.place for i in first.items()] == [i.place for i in again.items()]


def test_missing_location_is_refused(tmp_path: Path) -> None:
    for kind in ("parquet", "imagefolder"):
        with pytest.raises(SourceError, match="nowhere does not exist"):
            open_source(SourceConfig(kind=kind, location=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("kind", ["digits", "parquet", "imagefolder"])
def test_images_come_in_the_same_order_each_time(tmp_path: Path, kind: str) -> None:
    for number in range(3):
        columns = {"image": structs([number, 9]), "label": [number, 0]}
        write_parquet(tmp_path / "parquet" / f"{2 - number}.parquet", columns)
        write_files(tmp_path / "imagefolder", {f"{9 - number}/{n}.png": n for n in (3, 1, 2)})
    config = SourceConfig(kind=kind, location=str(tmp_path / kind))
    runs = [[item.place for item in open_source(config).items()] for _ in range(2)]
    source = open_source(config)
    assert (
        runs[0] == runs[1] == [i.place for i in source.items()] == [i.place for i in source.items()]
    )
    assert len(set(runs[0])) == len(runs[0])
