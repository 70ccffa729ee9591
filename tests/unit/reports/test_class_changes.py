"""What extending did to each class: exact tests, and only what can be known."""

import random
from typing import Any

import numpy as np
import pytest
import scipy.stats

from accrete.catalog.manifests import (
    FORMAT,
    ClassEntry,
    DatasetManifest,
    ShardRef,
    Skipped,
    SplitPolicy,
)
from accrete.config.image_format import ImageFormat, Normalization
from accrete.reports._class_changes import EvaluatedStage, adjusted, class_changes, fisher, mcnemar

Bits = list[bool]


def shard(name: str, num_images: int) -> ShardRef:
    return ShardRef(sha256=name.encode().hex().ljust(64, "0"), num_bytes=9, num_images=num_images)


def evaluated(
    right: dict[str, Bits],
    *,
    shards: dict[str, tuple[ShardRef, ...]] | None = None,
    with_bits: bool = True,
) -> EvaluatedStage:
    """Return a stage with these test images right; the others are taken for its last class."""
    names = tuple(right)
    test = {name: (shard(name, len(bits)),) for name, bits in right.items()} | (shards or {})
    entries = tuple(
        ClassEntry(name=name, train=(shard(f"t{name}", 9),), validation=(), test=test[name])
        for name in names
    )
    dataset = DatasetManifest(
        format=FORMAT,
        classes=entries,
        image=ImageFormat(encoding="raw", height=8, width=8, channels=1, preprocessing="none"),
        normalization=Normalization(mean=(0.5,), std=(0.25,)),
        split=SplitPolicy(test="source", test_fraction=0.2, validation_fraction=0.0, seed=0),
        skipped=Skipped(count=0, places=()),
    )
    confusion = np.zeros((len(names), len(names)), int)
    for label, bits in enumerate(right.values()):
        confusion[label, label] += sum(bits)
        confusion[label, -1] += len(bits) - sum(bits)
    record: dict[str, Any] = {"confusion": {"test": confusion.tolist()}}
    if with_bits:
        record["test_right"] = [
            np.packbits(np.array(bits, bool)).tobytes().hex() for bits in right.values()
        ]
    return EvaluatedStage(class_names=names, dataset=dataset, record=record)


def rows(before: EvaluatedStage, after: EvaluatedStage) -> dict[str, dict[str, Any]]:
    changes = class_changes(before, after)
    assert changes is not None
    return {row["name"]: row for row in changes["classes"]}


@pytest.mark.parametrize("total", [0, 1, 5, 24, 1001])
def test_mcnemar_s_test_is_the_binomial_one_of_a_half(total: int) -> None:
    for lost in range(0, total + 1, 1 + total // 20):
        expected = scipy.stats.binomtest(lost, total, 0.5).pvalue if total else 1.0
        assert mcnemar(lost, total - lost) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(30_000, 20_000) < 1e-300


@pytest.mark.parametrize("num_images", [1, 7, 100])
def test_fisher_s_test_is_scipy_s(num_images: int) -> None:
    for before in range(0, num_images + 1, 1 + num_images // 9):
        for after in range(0, num_images + 1, 1 + num_images // 9):
            table = [[before, after], [num_images - before, num_images - after]]
            expected = scipy.stats.fisher_exact(table).pvalue
            assert fisher(before, after, num_images) == pytest.approx(expected, rel=1e-6)


def test_adjusted_values_are_scipy_s() -> None:
    rng = random.Random(0)
    for size in (1, 2, 9, 80):
        p_values = [rng.random() ** 3 for _ in range(size)]
        expected = scipy.stats.false_discovery_control(p_values)
        assert adjusted(p_values) == pytest.approx(list(expected))
    assert adjusted([]) == []


def test_lost_and_gained_are_told_from_what_may_be_chance() -> None:
    good, bad = [True] * 30, [False] * 30
    swapped = [True, False] * 15
    before = evaluated({"a": good, "b": bad, "c": swapped, "d": good, "e": []})
    after = evaluated(
        {
            "a": good[:20] + bad[:10],
            "b": bad[:20] + good[:10],
            "c": [*swapped[1:], True],
            "d": [*good[:29], False],
            "e": [],
            "new": [],
        }
    )
    changes = class_changes(before, after)
    assert changes is not None
    assert [row["name"] for row in changes["classes"]] == ["a", "d", "c", "b", "e"]
    found = {row["name"]: row for row in changes["classes"]}
    verdicts = {name: row["verdict"] for name, row in found.items()}
    assert verdicts == {"a": "lost", "b": "gained", "c": "unclear", "d": "unclear", "e": None}
    a = found["a"]
    assert (a["num_lost"], a["num_gained"], a["num_taken_for_new"]) == (10, 0, 10)
    assert (a["before"], a["after"], a["change"]) == (1.0, 20 / 30, -10 / 30)
    assert a["p"] == 2 / 2**10
    assert a["q"] == pytest.approx(2 * a["p"])  # of four, one other is as unlikely
    assert found["c"]["num_lost"] == found["c"]["num_gained"] == 15
    assert changes["summary"] == (
        "1 of 4 old classes lost accuracy, 1 gained, at a false discovery rate of 5 %; "
        "1 more have other test images or none"
    )


def test_a_chance_of_five_percent_in_each_of_eighty_classes_names_none() -> None:
    rng = random.Random(0)
    before, after = (
        {str(k): [rng.random() < 0.6 for _ in range(50)] for k in range(80)} for _ in "12"
    )
    changes = class_changes(evaluated(before), evaluated(after))
    assert changes is not None
    assert sum(row["p"] < 0.05 for row in changes["classes"]) > 0
    assert (changes["num_lost"], changes["num_gained"]) == (0, 0)


def test_without_recorded_images_the_numbers_are_compared() -> None:
    before = evaluated({"a": [True] * 30, "b": [True] * 30}, with_bits=False)
    after = evaluated({"a": [True] * 15 + [False] * 15, "b": [True] * 28 + [False] * 2})
    found = rows(before, after)
    assert found["a"]["test"] == "Fisher's exact test"
    assert found["a"]["p"] == pytest.approx(fisher(30, 15, 30))
    assert found["a"]["num_lost"] is None
    assert (found["a"]["verdict"], found["b"]["verdict"]) == ("lost", "unclear")


def test_images_that_came_later_are_left_out_of_the_comparison() -> None:
    first, later = shard("a", 16), shard("more", 40)
    before = evaluated({"a": [True] * 16}, shards={"a": (first,)})
    bits = {"a": [True] * 15 + [False] * 41, "new": []}
    after = evaluated(bits, shards={"a": (first, later)})
    row = rows(before, after)["a"]
    assert (row["num_images"], row["num_lost"], row["after"]) == (16, 1, 15 / 16)
    assert row["verdict"] == "unclear"


@pytest.mark.parametrize("with_bits", [True, False])
def test_other_images_are_not_compared(with_bits: bool) -> None:
    before = evaluated({"a": [True] * 16})
    others = (shard("other", 16),) if with_bits else (shard("a", 16), shard("more", 16))
    bits = [False] * (16 if with_bits else 32)
    after = evaluated({"a": bits}, shards={"a": others}, with_bits=with_bits)
    changes = class_changes(before, after)
    assert changes is not None
    assert changes["classes"][0]["change"] is changes["classes"][0]["verdict"] is None
    assert changes["summary"] == (
        "none of 1 old classes could be compared: other test images, or none"
    )


def test_without_test_images_nothing_is_said() -> None:
    before, after = evaluated({"a": [True]}), evaluated({"a": [True]})
    assert class_changes(before, after) is not None
    none = EvaluatedStage(
        class_names=("a",), dataset=after.dataset, record={"confusion": {"test": None}}
    )
    assert class_changes(before, none) is None
    assert class_changes(none, after) is None
