"""Bad objects in the store: manifests, records, documents, shards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_files import (
    dataset_note,
    pickled,
    run_record,
    shard_of,
    stage_note,
    step_document,
)
from bad_kinds import DIGEST, Read, kind

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import load_dataset, load_stage
from accrete.catalog.records import parse_record
from accrete.catalog.step_documents import parse_document
from accrete.config.image_format import ImageFormat
from accrete.config.run import ModelConfig
from accrete.core.hashing import sha256_of_json
from accrete.core.serialization import from_json
from accrete.core.untrusted import parse_json
from accrete.data.shards import ShardReader
from accrete.monitoring.status import run_states


def _dataset_note(
    change: Callable[[dict[str, Any]], object] | bytes, digest: str | None = None
) -> Read:
    """Return what reads a manifest, asked for by a digest; None: by its own."""

    def read(_folder: Path, _catalog: Catalog) -> None:
        note = change if isinstance(change, bytes) else dataset_note(change)
        data = parse_json(note, "manifest.json")
        load_dataset(data, digest or sha256_of_json(data), "manifest.json")

    return read


kind(
    "a manifest that is no JSON",
    "manifest.json is not JSON (…): it was changed; delete it and run again",
    4,
)(_dataset_note(b"{"))
kind(
    "a manifest that is no UTF-8",
    "manifest.json is not JSON (not UTF-8 (invalid start byte)): "
    "it was changed; delete it and run again",
    4,
)(_dataset_note(b'{"a": "\xff"}'))
kind(
    "a manifest with half of a surrogate pair",
    "manifest.json is not JSON (not UTF-8 (surrogates not allowed)): "
    "it was changed; delete it and run again",
    4,
)(_dataset_note(b'{"a": "\\ud800"}'))
kind(
    "a manifest with NaN",
    "manifest.json is not JSON (…): it was changed; delete it and run again",
    4,
)(_dataset_note(b'{"a": NaN}'))
kind(
    "a manifest that is nested too deeply",
    "manifest.json is not JSON (nested too deeply): it was changed; delete it and run again",
    4,
)(_dataset_note(b"[" * 100_000 + b"]" * 100_000))
kind(
    "a manifest of millions of empty lists",
    "manifest.json is not JSON (over 4,000,000 values): it was changed; delete it and run again",
    4,
)(_dataset_note(b"[" + b"[]," * 4_000_000 + b"[]]"))
kind(
    "a manifest that was changed",
    "manifest.json has digest …… instead of 000000000000…: "
    "it was changed; delete it and prepare again",
    4,
)(_dataset_note(lambda data: data.update(extends=DIGEST), DIGEST))
kind(
    "a shard's key that leads out of the cache",
    "manifest.json.classes[0].train[0]: a shard's SHA-256 is '../../../../etc/passwd': "
    "it must be 64 hex digits",
)(
    _dataset_note(
        lambda data: data["classes"][0]["train"][0].update(sha256="../../../../etc/passwd")
    )
)
kind(
    "a shard of absurdly many images",
    "manifest.json.classes[0].train[0]: a shard's number of images is "
    "1000000000000000000: it must lie between 0 and 9007199254740991",
)(_dataset_note(lambda data: data["classes"][0]["train"][0].update(num_images=10**18)))
kind(
    "images of an absurd size",
    "manifest.json.image: image width is 1000000: it must lie between 1 and 64",
)(_dataset_note(lambda data: data["image"].update(height=10**6, width=10**6)))
kind(
    "a deviation of nothing",
    "manifest.json.normalization: standard deviation is 0.0: it must lie between 1e-09 and 1000.0",
)(_dataset_note(lambda data: data["normalization"].update(std=[0, 0, 0])))
kind(
    "a data set that has a class twice",
    "manifest.json: classes have 'ant' twice: name each once",
)(_dataset_note(lambda data: data["classes"].append(data["classes"][0])))
kind(
    "a manifest with an unknown field",
    "manifest.json has an unknown field 'owner'",
)(_dataset_note(lambda data: data.update(owner="me")))
kind(
    "a manifest that lacks a field",
    "manifest.json lacks the field 'split'",
)(_dataset_note(lambda data: data.pop("split")))
kind(
    "a manifest of another version",
    "manifest.json has format 99, this accrete reads 3: use a matching version",
    4,
)(_dataset_note(lambda data: data.update(format=99)))
kind(
    "a stage's manifest that was changed",
    "manifest.json was changed: delete it and run again",
    4,
)(
    lambda _folder, _: load_stage(
        stage_note(lambda data: data["manifest"].update(seed=1)), DIGEST, "manifest.json"
    )
)
kind(
    "a run's record with a path for a name",
    "run.json: run name is '../../etc': use at most 63 of a-z, 0-9 and -, with no - at an end: "
    "it was changed, or is another version's; delete run.json and run again",
    4,
)(lambda _folder, _: parse_record(run_record(name="../../etc"), "run.json"))
kind(
    "a run's record with more stages than its plan",
    "run.json: there are 3 stages, but the plan has 2: "
    "it was changed, or is another version's; delete run.json and run again",
    4,
)(lambda _folder, _: parse_record(run_record(stages=[DIGEST] * 3), "run.json"))
kind(
    "a step's document of another form",
    "step.json is no step's document (updated_at is missing or wrong): "
    "it was changed; delete it and run again",
    4,
)(lambda _folder, _: parse_document(step_document(updated_at="yesterday"), "step.json"))
kind(
    "a run name with `..`",
    "run name is '../x': use at most 63 of a-z, 0-9 and -, with no - at an end",
)(lambda _folder, catalog: run_states(catalog.store, "../x"))
kind(
    "a data set's digest with `..`",
    "the data set's digest is '../../x': it must be 64 hex digits",
)(lambda _folder, catalog: catalog.dataset("../../x"))
kind(
    "configuration of another type",
    "config.width is 'wide': it must be float",
)(lambda _folder, _: from_json(ModelConfig, {"name": "small", "width": "wide"}, "config"))


RAW = ImageFormat(encoding="raw", height=4, width=6, channels=3, preprocessing="none")


def _shard(content: bytes) -> Read:
    def read(folder: Path, _catalog: Catalog) -> None:
        path = folder / "shard"
        path.write_bytes(content)
        ShardReader([path], RAW, num_images=2)

    return read


kind("a shard of 0 bytes", "DIR/shard is not a class shard (…)", 4)(_shard(b""))
kind("a shard cut short", "DIR/shard is not a class shard (…)", 4)(_shard(shard_of()[:-60]))
kind(
    "a shard that is a pickle",
    "DIR/shard is not a class shard (it is a pickle, which is never loaded)",
    4,
)(_shard(pickled()))
kind(
    "a shard that is compressed, which may become any size",
    "DIR/shard is not a class shard (it holds no plain rows)",
    4,
)(_shard(shard_of(compression="zstd")))
kind(
    "a shard with another column",
    "DIR/shard is not a class shard (its columns are image, more, not image alone)",
    4,
)(_shard(shard_of(more=True)))
kind(
    "a shard of other images than its manifest names",
    "DIR/shard holds fixed_size_binary[30], its manifest names 72 bytes",
    4,
)(_shard(shard_of(row_bytes=30)))
kind(
    "a shard of another number of images",
    "the shards hold 5 images, their manifest names 2",
    4,
)(_shard(shard_of(num_rows=5)))
