"""A document of ours with any one bit flipped is refused as changed, or is another whole one."""

from contextlib import suppress

import pytest
from stage_sample import stage_manifest

from accrete.catalog.manifests import (
    FORMAT,
    ClassEntry,
    DatasetManifest,
    ShardRef,
    Skipped,
    SplitPolicy,
    dump_dataset,
    dump_stage,
    load_dataset,
    load_stage,
)
from accrete.catalog.records import RunRecord, dump_record, parse_record
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.core.untrusted import parse_json
from accrete.errors import IntegrityError

SHARD = ShardRef(sha256="0" * 64, num_bytes=100, num_images=9)
DATASET = DatasetManifest(
    format=FORMAT,
    classes=(ClassEntry(name="a", train=(SHARD,), validation=(), test=(SHARD,)),),
    image=ImageFormat(encoding="raw", height=8, width=8, channels=1, preprocessing="none"),
    normalization=Normalization(mean=(0.5,), std=(0.25,)),
    split=SplitPolicy(test="source", test_fraction=0.2, validation_fraction=0.0, seed=0),
    skipped=Skipped(count=0, places=()),
)


def flipped(data: bytes) -> list[bytes]:
    """Return the data with one bit flipped, once for each of its bytes."""
    return [
        data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
        for place in range(len(data))
    ]


def test_every_flipped_bit_of_a_dataset_manifest_is_refused_as_changed() -> None:
    data, digest = dump_dataset(DATASET), DATASET.digest
    assert load_dataset(parse_json(data, "here"), digest, "here") == DATASET
    for damaged in flipped(data):
        with pytest.raises(IntegrityError, match=r"^here .*changed; delete it"):
            load_dataset(parse_json(damaged, "here"), digest, "here")


def test_every_flipped_bit_of_a_stage_manifest_is_refused_as_changed() -> None:
    manifest = stage_manifest(digest="1" * 64, index=1, class_names=("a", "b"), num_old_classes=0)
    data = dump_stage(manifest)
    for damaged in flipped(data):
        with pytest.raises(IntegrityError, match=r"^here .*changed[:;] delete it"):
            load_stage(parse_json(damaged, "here"), manifest.digest, "here")


def test_a_flipped_bit_of_a_run_s_record_is_never_an_error_of_the_user_s() -> None:
    plan = Plan(rule="all", class_order=("a", "b"), class_images=(9, 9), stage_sizes=(2,))
    record = RunRecord(
        format=FORMAT,
        name="run",
        config=RunConfig(
            source=SourceConfig(kind="digits"),
            plan=plan,
            model=ModelConfig(name="small"),
            recipe=Recipe(),
        ),
        dataset=DATASET.digest,
        stages=("1" * 64,),
    )
    data = dump_record(record)
    for damaged in flipped(data):
        with suppress(IntegrityError):
            assert parse_record(damaged, "here") != record
