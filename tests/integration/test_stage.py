"""Stages on a real store: growing, reuse, and refusing what is not as it should be."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from digits import SOURCE, digits_run, stage_context

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import SPLITS, StageSpec, check_parent, stage_chain
from accrete.catalog.manifests import DatasetManifest
from accrete.config.run import ModelConfig
from accrete.data.prepare import prepare_dataset
from accrete.errors import (
    AccreteError,
    CheckpointMismatchError,
    IntegrityError,
    TrainingDivergedError,
)
from accrete.models.checkpoint import load_checkpoint
from accrete.stages import run as stage
from accrete.stages.run import StageOutcome, run_stage
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.training.image_source import DataMemory

Run = Callable[[StageSpec], StageOutcome]


@pytest.fixture
def dataset(catalog: Catalog, tmp_path: Path) -> DatasetManifest:
    plan = digits_run().plan
    return prepare_dataset(
        SOURCE, plan, catalog, tmp_path / "work", lambda _: lambda _: None
    ).manifest


@pytest.fixture
def run(dataset: DatasetManifest, catalog: Catalog, cache: NodeCache) -> Run:
    return lambda spec: run_stage(spec, dataset, stage_context(catalog, cache))


def shard_bytes(dataset: DatasetManifest, names: tuple[str, ...]) -> int:
    shards = [s for name in names for split in SPLITS for s in dataset.by_name[name].shards(split)]
    return sum(shard.num_bytes for shard in shards)


def test_a_chain_of_stages_grows_to_all_classes(run: Run, dataset: DatasetManifest) -> None:
    chain = stage_chain(digits_run(budget_epochs=12.0), dataset)
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
    for spec in stage_chain(digits_run(), dataset):
        traffic = run(spec).manifest.traffic
        new = spec.class_names[spec.num_old_classes :]
        assert traffic.pulled_bytes == shard_bytes(dataset, new)
        assert traffic.cache_hits == traffic.num_objects - 2 * len(new)


def test_a_stage_that_exists_is_not_trained_or_stored_again(
    run: Run, dataset: DatasetManifest, catalog: Catalog
) -> None:
    first = stage_chain(digits_run(), dataset)[0]
    made = run(first)
    keys_before = catalog.store.list_keys("")
    again = run(first)
    assert (made.reused, again.reused) == (False, True)
    assert again.manifest == made.manifest
    assert catalog.store.list_keys("") == keys_before


def test_the_same_stage_on_another_store_has_the_same_bytes(
    run: Run, dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    chain = stage_chain(digits_run(), dataset)[:2]
    first = [run(spec).manifest.checkpoint for spec in chain]
    for spec in chain:
        catalog.store._client.remove_object(
            catalog.store.address.bucket, catalog.store.address.prefix + keys.stage_key(spec.digest)
        )
    assert [run(spec).manifest.checkpoint for spec in chain] == first


def test_images_that_are_streamed_from_disk_give_the_same_bits(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    spec = stage_chain(digits_run(10), dataset)[0]
    resident = run_stage(spec, dataset, stage_context(catalog, cache)).manifest
    catalog.store.delete(keys.stage_key(spec.digest))
    a_quarter = DataMemory(num_bytes=dataset.num_images("train") * 64 // 4, num_workers=2)
    context = stage_context(catalog, cache, memory=a_quarter)
    streamed = run_stage(spec, dataset, context).manifest
    assert streamed.checkpoint == resident.checkpoint
    assert streamed.metrics == resident.metrics


def test_a_stage_fetches_the_next_one_s_shards_meanwhile(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    chain = stage_chain(digits_run(), dataset)
    context = stage_context(catalog, cache)
    first = run_stage(chain[0], dataset, context, following=chain[1]).manifest.traffic
    second = run_stage(chain[1], dataset, context).manifest.traffic
    added = chain[1].class_names[chain[0].num_classes :]
    assert first.prefetched_bytes == shard_bytes(dataset, added)
    assert second.pulled_bytes == 0
    assert second.cache_hits == second.num_objects


def test_what_cannot_be_fetched_ahead_is_no_reason_to_fail(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    chain = stage_chain(digits_run(), dataset)
    lost = dataset.by_name[chain[1].class_names[-1]].train[0]
    catalog.store.delete(keys.object_key(lost.sha256))
    outcome = run_stage(chain[0], dataset, stage_context(catalog, cache), following=chain[1])
    assert outcome.manifest.traffic.prefetched_bytes == 0
    with pytest.raises(AccreteError, match=lost.sha256[:12]):
        run_stage(chain[1], dataset, stage_context(catalog, cache))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bf16", "fp32"])
def test_a_stage_whose_precision_is_open_says_what_it_was_trained_in(
    run: Run, dataset: DatasetManifest, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(stage, "choose_precision", lambda *_, **__: name)
    spec = stage_chain(digits_run(10, precision="auto"), dataset)[0]
    manifest = run(spec).manifest
    assert (manifest.precision, manifest.schedule.precision) == (name, "auto")
    assert manifest.trained_on.endswith(f", {name}")
    named = run(stage_chain(digits_run(10, precision=name), dataset)[0]).manifest
    assert named.digest != manifest.digest
    assert named.result.loss == manifest.result.loss


@pytest.mark.slow
def test_a_stage_that_goes_on_keeps_the_precision_that_it_began_with(
    dataset: DatasetManifest,
    catalog: Catalog,
    cache: NodeCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = stage_chain(digits_run(10, precision="auto", budget_epochs=6.0), dataset)[0]

    def interrupt(steps: int, _loss: float) -> None:
        if steps > 20 and list(catalog.store.list_keys(keys.snapshot_prefix(spec.digest))):
            raise KeyboardInterrupt

    monkeypatch.setattr(stage, "choose_precision", lambda *_, **__: "bf16")
    context = dataclasses.replace(stage_context(catalog, cache), snapshot_interval_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        run_stage(spec, dataset, dataclasses.replace(context, progress=interrupt))
    monkeypatch.setattr(stage, "choose_precision", lambda *_, **__: "fp32")  # of a new machine
    manifest = run_stage(spec, dataset, context).manifest
    assert manifest.precision == "bf16"
    monkeypatch.undo()
    named = stage_chain(digits_run(10, precision="bf16", budget_epochs=6.0), dataset)[0]
    assert run_stage(named, dataset, context).manifest.result.loss == manifest.result.loss


@pytest.mark.slow
def test_a_compiled_trunk_trains_and_is_remembered(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU: g++ is not here")
    spec = stage_chain(digits_run(10, compile="always", budget_epochs=12.0), dataset)[0]
    manifest = run_stage(spec, dataset, stage_context(catalog, cache)).manifest
    assert manifest.result.top1 is not None
    assert manifest.result.top1 > 0.5
    path = cache.fetch([manifest.metrics]).paths[manifest.metrics.sha256]
    assert json.loads(path.read_bytes())["compiled"] is True


def test_image_sides_that_shrink_nothing_change_nothing_and_too_small_ones_are_refused(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    sides = stage_chain(digits_run(image_sides=(8, 8, 8, 8)), dataset)
    plain = stage_chain(digits_run(), dataset)
    assert [spec.digest for spec in sides] == [spec.digest for spec in plain]
    with pytest.raises(AccreteError, match="small cannot take images of 4x4 px"):
        run_stage(
            stage_chain(digits_run(image_sides=(4, 8, 8, 8)), dataset)[0],
            dataset,
            stage_context(catalog, cache),
        )


def test_two_attempts_at_once_agree_on_one_result(
    dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    spec = stage_chain(digits_run(budget_epochs=0.5), dataset)[0]
    caches = [NodeCache(tmp_path / f"node-{n}", catalog.store) for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(
            pool.map(lambda c: run_stage(spec, dataset, stage_context(catalog, c)), caches)
        )
    assert outcomes[0].manifest == outcomes[1].manifest == catalog.stage(spec.digest)


def test_the_old_rows_and_the_trunk_start_from_the_parent_s_bits(
    run: Run, dataset: DatasetManifest, cache: NodeCache
) -> None:
    chain = stage_chain(digits_run(lr=1e-9, weight_decay=0.0), dataset)[:2]
    checkpoints = []
    for spec in chain:
        ref = run(spec).manifest.checkpoint
        checkpoints.append(load_checkpoint(cache.fetch([ref]).paths[ref.sha256]))
    small, grown = (checkpoint.weights for checkpoint in checkpoints)
    assert grown["head.weight"].shape == (4, 128)
    for name in ("head.weight", "trunk.0.weight"):
        old = grown[name][:2] if name.startswith("head") else grown[name]
        torch.testing.assert_close(old, small[name], rtol=0, atol=1e-5)


def test_plans_that_differ_only_later_share_their_first_stages(dataset: DatasetManifest) -> None:
    epochs = {"epochs": (3.0, 2.0, 1.0, 5.0), "lr_scope": "stage"}
    first = stage_chain(digits_run(**epochs), dataset)
    assert len({spec.digest for spec in first}) == 4
    other_seed = stage_chain(dataclasses.replace(digits_run(**epochs), seed=1), dataset)
    assert not {s.digest for s in first} & {s.digest for s in other_seed}


@pytest.mark.parametrize("where", ["store", "store and cache"])
def test_a_tampered_shard_stops_the_stage_and_nothing_is_published(
    where: str, run: Run, dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    first = stage_chain(digits_run(), dataset)[0]
    shard = dataset.by_name[first.class_names[0]].train[0]
    if where == "store and cache":
        cache.fetch([shard]).paths[shard.sha256].write_bytes(b"\x00" * shard.num_bytes)
    catalog.store.write_note(keys.object_key(shard.sha256), b"\x01" * shard.num_bytes)
    with pytest.raises(IntegrityError, match=shard.sha256[:12]):
        run(first)
    assert catalog.store.list_keys("stages/") == []


def test_a_tampered_checkpoint_stops_the_next_stage(
    run: Run, dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    first, second = stage_chain(digits_run(), dataset)[:2]
    checkpoint = run(first).manifest.checkpoint
    catalog.store.write_note(keys.object_key(checkpoint.sha256), b"\x00" * checkpoint.num_bytes)
    cold = NodeCache(tmp_path / "another node", catalog.store)
    with pytest.raises(IntegrityError, match=checkpoint.sha256[:12]):
        run_stage(second, dataset, stage_context(catalog, cold))
    assert len(catalog.store.list_keys("stages/")) == 1


@pytest.mark.parametrize("change", [(b'"index":1', b'"index":7'), (b'"top1":0', b'"top1":1')])
def test_a_manifest_that_was_changed_is_refused(
    change: tuple[bytes, bytes], run: Run, dataset: DatasetManifest, catalog: Catalog
) -> None:
    first, second = stage_chain(digits_run(), dataset)[:2]
    run(first)
    data = catalog.store.read_note(keys.stage_key(first.digest))
    assert data is not None
    catalog.store.write_note(keys.stage_key(first.digest), data.replace(*change))
    with pytest.raises(AccreteError, match="was changed: delete it"):
        run(second)


def test_a_manifest_that_names_a_lost_object_is_refused(
    run: Run, dataset: DatasetManifest, catalog: Catalog
) -> None:
    first = stage_chain(digits_run(), dataset)[0]
    checkpoint = run(first).manifest.checkpoint
    catalog.store.write_note(keys.object_key(checkpoint.sha256), b"short")
    with pytest.raises(IntegrityError, match="gone or has another size"):
        run(first)


def test_a_stage_without_its_parent_says_so(run: Run, dataset: DatasetManifest) -> None:
    second = stage_chain(digits_run(), dataset)[1]
    with pytest.raises(
        CheckpointMismatchError, match=r"stage 2 grows from stage .* not in the store"
    ):
        run(second)


def test_a_checkpoint_of_another_plan_is_refused(run: Run, dataset: DatasetManifest) -> None:
    ours = stage_chain(digits_run(), dataset)
    theirs = stage_chain(digits_run(alpha="2"), dataset)
    manifest = run(theirs[0]).manifest
    with pytest.raises(CheckpointMismatchError, match=r"stage 3 starts from 4 classes .* of 2 "):
        check_parent(ours[2], manifest)


def test_a_diverging_stage_publishes_nothing(
    run: Run, dataset: DatasetManifest, catalog: Catalog
) -> None:
    first = stage_chain(digits_run(lr=1000.0, weight_decay=10.0), dataset)[0]
    with pytest.raises(TrainingDivergedError, match=r"stage 1: .* lr .*: lower --lr"):
        run(first)
    assert catalog.store.list_keys("stages/") == []


def test_a_network_that_needs_larger_images_says_so(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> None:
    config = dataclasses.replace(digits_run(), model=ModelConfig(name="vgg19", width=0.1))
    first = stage_chain(config, dataset)[0]
    with pytest.raises(AccreteError, match="vgg19 cannot take images of 8x8 px"):
        run_stage(first, dataset, stage_context(catalog, cache))
