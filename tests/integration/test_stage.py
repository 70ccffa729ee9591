"""Stages on a real store: growing, reuse, and refusing what is not as it should be."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from accrete import keys
from accrete.cache import NodeCache
from accrete.catalog import Catalog, object_ref
from accrete.chain import SPLITS, StageSpec, stage_chain
from accrete.checkpoint import load_checkpoint
from accrete.config import ModelConfig, RunConfig, SourceConfig
from accrete.errors import (
    AccreteError,
    CheckpointMismatchError,
    IntegrityError,
    TrainingDivergedError,
)
from accrete.manifests import DatasetManifest
from accrete.plan import Plan, parse_alpha, sizes_by_alpha
from accrete.prepare import prepare
from accrete.recipe import Recipe
from accrete.sources import open_source
from accrete.sources.allotment import training_counts
from accrete.stage import StageOutcome, run_stage
from accrete.stage_inputs import check_parent

SOURCE = SourceConfig(kind="digits")
Run = Callable[[StageSpec], StageOutcome]


def digits_config(alpha: str = "1", **recipe: object) -> RunConfig:
    counts = training_counts(open_source(SOURCE).counts(), SOURCE)
    images = tuple(counts.values())
    plan = Plan(
        rule=f"alpha = {alpha} from 2 classes",
        class_order=tuple(counts),
        class_images=images,
        stage_sizes=sizes_by_alpha(images, 2, parse_alpha(alpha)),
    )
    short = Recipe(**{"flip": False, "budget_epochs": 2.0, **recipe})  # type: ignore[arg-type]
    return RunConfig(source=SOURCE, plan=plan, model=ModelConfig(name="small"), recipe=short)


@pytest.fixture
def dataset(catalog: Catalog, tmp_path: Path) -> DatasetManifest:
    plan = digits_config().plan
    return prepare(SOURCE, plan, catalog, tmp_path / "work", lambda _: lambda _: None).manifest


@pytest.fixture
def run(dataset: DatasetManifest, catalog: Catalog, cache: NodeCache) -> Run:
    return lambda spec: run_stage(spec, dataset, catalog, cache, lambda *_: None)


def shard_bytes(dataset: DatasetManifest, names: tuple[str, ...]) -> int:
    shards = [s for name in names for split in SPLITS for s in dataset.entry(name).shards(split)]
    return sum(shard.num_bytes for shard in shards)


def test_a_chain_of_stages_grows_to_all_classes(run: Run, dataset: DatasetManifest) -> None:
    chain = stage_chain(digits_config(budget_epochs=12.0), dataset)
    manifests = [run(spec).manifest for spec in chain]
    assert [len(m.class_names) for m in manifests] == [2, 4, 8, 10]
    assert [m.parent for m in manifests] == [None, *(m.digest for m in manifests[:-1])]
    assert manifests[0].result.top1_old is None
    assert manifests[-1].result.top1 is not None
    assert manifests[-1].result.top1 > 0.5
    for spec, manifest in zip(chain, manifests, strict=True):
        assert manifest.result.images_seen == spec.schedule.num_steps * 128


def test_with_a_warm_cache_a_stage_transfers_only_what_it_adds(
    run: Run, dataset: DatasetManifest
) -> None:
    for spec in stage_chain(digits_config(), dataset):
        traffic = run(spec).manifest.traffic
        new = spec.class_names[spec.num_old_classes :]
        assert traffic.pulled_bytes == shard_bytes(dataset, new)
        assert traffic.cache_hits == traffic.num_objects - 2 * len(new)


def test_a_stage_that_exists_is_not_trained_or_stored_again(
    run: Run, dataset: DatasetManifest, catalog: Catalog
) -> None:
    first = stage_chain(digits_config(), dataset)[0]
    made = run(first)
    keys_before = catalog.store.list_keys("")
    again = run(first)
    assert (made.reused, again.reused) == (False, True)
    assert again.manifest == made.manifest
    assert catalog.store.list_keys("") == keys_before


def test_the_same_stage_on_another_store_has_the_same_bytes(
    run: Run, dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    chain = stage_chain(digits_config(), dataset)[:2]
    first = [run(spec).manifest.checkpoint for spec in chain]
    for spec in chain:
        catalog.store._client.remove_object(
            catalog.store.address.bucket, catalog.store.address.prefix + keys.stage_key(spec.digest)
        )
    assert [run(spec).manifest.checkpoint for spec in chain] == first


def test_two_attempts_at_once_agree_on_one_result(
    dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    spec = stage_chain(digits_config(budget_epochs=0.5), dataset)[0]
    caches = [NodeCache(tmp_path / f"node-{n}", catalog.store) for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(
            pool.map(lambda c: run_stage(spec, dataset, catalog, c, lambda *_: None), caches)
        )
    assert outcomes[0].manifest == outcomes[1].manifest == catalog.stage(spec.digest)


def test_the_old_rows_and_the_trunk_start_from_the_parent_s_bits(
    run: Run, dataset: DatasetManifest, cache: NodeCache
) -> None:
    chain = stage_chain(digits_config(lr=1e-9, weight_decay=0.0), dataset)[:2]
    checkpoints = []
    for spec in chain:
        ref = object_ref(run(spec).manifest.checkpoint)
        checkpoints.append(load_checkpoint(cache.fetch([ref]).paths[ref.sha256]))
    small, grown = (checkpoint.weights for checkpoint in checkpoints)
    assert grown["head.weight"].shape == (4, 128)
    for name in ("head.weight", "trunk.0.weight"):
        old = grown[name][:2] if name.startswith("head") else grown[name]
        torch.testing.assert_close(old, small[name], rtol=0, atol=1e-5)


def test_plans_that_differ_only_later_share_their_first_stages(dataset: DatasetManifest) -> None:
    epochs = {"epochs": (3.0, 2.0, 1.0, 5.0), "lr_scope": "stage"}
    first = stage_chain(digits_config(**epochs), dataset)
    assert len({spec.digest for spec in first}) == 4
    other_seed = stage_chain(dataclasses.replace(digits_config(**epochs), seed=1), dataset)
    assert not {s.digest for s in first} & {s.digest for s in other_seed}


@pytest.mark.parametrize("where", ["store", "store and cache"])
def test_a_tampered_shard_stops_the_stage_and_nothing_is_published(
    where: str, run: Run, dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    first = stage_chain(digits_config(), dataset)[0]
    shard = object_ref(dataset.entry(first.class_names[0]).train[0])
    if where == "store and cache":
        cache.fetch([shard]).paths[shard.sha256].write_bytes(b"\x00" * shard.num_bytes)
    catalog.store.write_note(keys.object_key(shard.sha256), b"\x01" * shard.num_bytes)
    with pytest.raises(IntegrityError, match=shard.sha256[:12]):
        run(first)
    assert catalog.store.list_keys("stages/") == []


def test_a_tampered_checkpoint_stops_the_next_stage(
    run: Run, dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    first, second = stage_chain(digits_config(), dataset)[:2]
    checkpoint = run(first).manifest.checkpoint
    catalog.store.write_note(keys.object_key(checkpoint.sha256), b"\x00" * checkpoint.num_bytes)
    cold = NodeCache(tmp_path / "another node", catalog.store)
    with pytest.raises(IntegrityError, match=checkpoint.sha256[:12]):
        run_stage(second, dataset, catalog, cold, lambda *_: None)
    assert len(catalog.store.list_keys("stages/")) == 1


@pytest.mark.parametrize("change", [(b'"index":1', b'"index":7'), (b'"top1":0', b'"top1":1')])
def test_a_manifest_that_was_changed_is_refused(
    change: tuple[bytes, bytes], run: Run, dataset: DatasetManifest, catalog: Catalog
) -> None:
    first, second = stage_chain(digits_config(), dataset)[:2]
    run(first)
    data = catalog.store.read_note(keys.stage_key(first.digest))
    assert data is not None
    catalog.store.write_note(keys.stage_key(first.digest), data.replace(*change))
    with pytest.raises(AccreteError, match="was changed: delete it"):
        run(second)


def test_a_manifest_that_names_a_lost_object_is_refused(
    run: Run, dataset: DatasetManifest, catalog: Catalog
) -> None:
    first = stage_chain(digits_config(), dataset)[0]
    checkpoint = run(first).manifest.checkpoint
    catalog.store.write_note(keys.object_key(checkpoint.sha256), b"short")
    with pytest.raises(IntegrityError, match="gone or has another size"):
        run(first)


def test_a_stage_without_its_parent_says_so(run: Run, dataset: DatasetManifest) -> None:
    second = stage_chain(digits_config(), dataset)[1]
    with pytest.raises(
        CheckpointMismatchError, match=r"stage 2 grows from stage .* not in the store"
    ):
        run(second)


def test_a_checkpoint_of_another_plan_is_refused(run: Run, dataset: DatasetManifest) -> None:
    ours = stage_chain(digits_config("1"), dataset)
    theirs = stage_chain(digits_config("2"), dataset)
    manifest = run(theirs[0]).manifest
    with pytest.raises(CheckpointMismatchError, match=r"stage 3 starts from 4 classes .* of 2 "):
        check_parent(ours[2], manifest)


def test_a_diverging_stage_publishes_nothing(
    run: Run, dataset: DatasetManifest, catalog: Catalog
) -> None:
    first = stage_chain(digits_config(lr=1000.0, weight_decay=10.0), dataset)[0]
    with pytest.raises(TrainingDivergedError, match=r"stage 1: .* lr .*: lower --lr"):
        run(first)
    assert catalog.store.list_keys("stages/") == []


def test_a_network_that_needs_larger_images_says_so(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    config = dataclasses.replace(digits_config(), model=ModelConfig(name="vgg19", width=0.1))
    first = stage_chain(config, dataset)[0]
    with pytest.raises(AccreteError, match="vgg19 cannot take images of 8x8 px"):
        run_stage(first, dataset, catalog, cache, lambda *_: None)
