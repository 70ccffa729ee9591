"""Which images of a source train, validate and test."""

from collections import Counter
from pathlib import Path

import pytest
from source_sample import write_files

from accrete.config.run import SourceConfig
from accrete.data.sources.opening import Source, open_source
from accrete.data.splits import Allotment, class_splits, split_policy, training_counts
from accrete.errors import EmptyClassError


def splits_of(source: Source, config: SourceConfig) -> Counter[tuple[str, str]]:
    """Return the images by allotted split and class."""
    counts = source.counts()
    allotment = Allotment(counts, split_policy(counts, config))
    return Counter((allotment.split_of(item), item.class_name) for item in source.items())


def test_allotment_keeps_the_source_s_test_split(tmp_path: Path) -> None:
    write_files(tmp_path, {f"train/cat/{n}.png": n for n in range(10)})
    write_files(tmp_path, {f"test/cat/{n}.png": n for n in range(3)})
    config = SourceConfig(kind="imagefolder", location=str(tmp_path), test_fraction=0.5)
    source = open_source(config)
    policy = split_policy(source.counts(), config)
    assert (policy.test, policy.test_fraction, policy.validation_fraction) == ("source", 0, 0)
    assert splits_of(source, config) == {("train", "cat"): 10, ("test", "cat"): 3}
    assert training_counts(source.counts(), config) == {"cat": 10}


def test_allotment_takes_validation_images_from_the_training_split(tmp_path: Path) -> None:
    write_files(tmp_path, {f"train/cat/{n}.png": n for n in range(10)})
    write_files(tmp_path, {f"test/cat/{n}.png": n for n in range(3)})
    config = SourceConfig(kind="imagefolder", location=str(tmp_path), validation_fraction=0.2)
    source = open_source(config)
    expected = {("train", "cat"): 8, ("validation", "cat"): 2, ("test", "cat"): 3}
    assert splits_of(source, config) == expected
    assert training_counts(source.counts(), config) == {"cat": 8}


def test_allotment_keeps_the_source_s_validation_split(tmp_path: Path) -> None:
    for split, number in (("train", 10), ("validation", 4), ("test", 3)):
        write_files(tmp_path, {f"{split}/cat/{n}.png": n for n in range(number)})
    config = SourceConfig(kind="imagefolder", location=str(tmp_path), validation_fraction=0.2)
    expected = {("train", "cat"): 10, ("validation", "cat"): 4, ("test", "cat"): 3}
    assert splits_of(open_source(config), config) == expected


def test_allotment_is_stratified_where_the_source_has_no_test_split() -> None:
    config = SourceConfig(kind="digits", test_fraction=0.25, validation_fraction=0.1)
    source = open_source(config)
    policy = split_policy(source.counts(), config)
    assert (policy.test, policy.test_fraction, policy.validation_fraction) == (
        "stratified",
        0.25,
        0.1,
    )
    found = splits_of(source, config)
    for name, count in source.counts()["train"].items():
        test = found[("test", name)]
        assert abs(test - 0.25 * count) <= 0.5
        assert abs(found[("validation", name)] - 0.1 * (count - test)) <= 0.5
        assert found[("train", name)] == training_counts(source.counts(), config)[name]
    assert found.total() == 1797


def test_allotment_is_fixed_by_its_seed() -> None:
    def splits(seed: int) -> list[str]:
        config = SourceConfig(kind="digits", split_seed=seed)
        source = open_source(config)
        counts = source.counts()
        allotment = Allotment(counts, split_policy(counts, config))
        return [allotment.split_of(item) for item in source.items()]

    assert splits(0) == splits(0) != splits(1)


def test_class_that_the_split_would_empty_is_refused() -> None:
    config = SourceConfig(kind="digits")
    counts = {"train": {"a": 5, "b": 0}}
    with pytest.raises(EmptyClassError, match="class 'b' has 0 images"):
        class_splits(counts, split_policy(counts, config))
