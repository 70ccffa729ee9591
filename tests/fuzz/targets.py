"""What is fuzzed: each reader as a function of bytes that returns, or raises an AccreteError.

Anything else that comes out of one is a finding. `fuzz.py` drives them by coverage; the test beside
replays the corpora through them.
"""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from accrete.catalog.catalog import dataset_objects
from accrete.catalog.manifests import dump_stage, load_dataset, load_stage
from accrete.catalog.records import (
    RunRecord,
    SweepRecord,
    dump_record,
    dump_sweep_record,
    parse_record,
    parse_sweep_record,
)
from accrete.catalog.step_documents import parse_document
from accrete.config.image_format import ImageFormat
from accrete.config.run import ModelConfig, SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.core.untrusted import parse_json
from accrete.data.images import decode_image, resize_crop
from accrete.data.shards import ShardReader
from accrete.data.sources.opening import open_source
from accrete.data.splits import training_counts
from accrete.errors import AccreteError
from accrete.models.backbone import BackboneRequest, read_backbone
from accrete.models.checkpoint import load_checkpoint
from accrete.models.pretrained import WeightsRequest, read_weights
from accrete.monitoring.status import RunState, list_text, status_text
from accrete.stages.snapshots import load_snapshot
from accrete.store import keys

Target = Callable[[bytes], None]

RAW = ImageFormat(encoding="raw", height=4, width=6, channels=3, preprocessing="none")
ENCODED = ImageFormat(
    encoding="encoded", height=4, width=6, channels=3, preprocessing="short-side-center-crop"
)
_MAX_IMAGES_READ = 64


def dataset_manifest(data: bytes) -> None:
    """Read a data set's manifest under its own digest, so that the check of that hides nothing."""
    decoded = parse_json(data, "manifest.json")
    manifest = load_dataset(decoded, _own_digest(decoded), "manifest.json")
    for ref in dataset_objects(manifest):
        _check_inside(keys.object_key(ref.sha256))
    _ = (manifest.planned_counts, manifest.num_images("test"))


def stage_manifest(data: bytes) -> None:
    """Read a stage's manifest, sealed anew, under the identity that it names."""
    decoded = parse_json(data, "manifest.json")
    if isinstance(decoded, dict):
        content = decoded.get("manifest")
        decoded["sha256"] = sha256_of_json(content)
        digest = content.get("digest") if isinstance(content, dict) else None
    else:
        digest = None
    manifest = load_stage(decoded, str(digest), "manifest.json")
    for ref in (manifest.checkpoint, manifest.metrics):
        _check_inside(keys.object_key(ref.sha256))
    dump_stage(manifest)


def record(data: bytes) -> None:
    """Read a run's record, or a sweep's; write it again, and take each cell for a run."""
    try:
        run: RunRecord = parse_record(data, "run.json")
    except AccreteError:
        sweep: SweepRecord = parse_sweep_record(data, "sweep.json")
        dump_sweep_record(sweep)
        for cell in sweep.cells:
            _look_at(sweep.run(cell.name))
        return
    dump_record(run)
    _look_at(run)


def _look_at(run: RunRecord) -> None:
    _ = (run.config.digest, run.config.plan.stages)
    _check_inside(keys.run_key(run.name))
    for stage in run.stages:
        _check_inside(keys.stage_key(stage))


def shard(data: bytes) -> None:
    """Read a shard as raw pixels, then as image files, as the manifest of its row count would."""
    for form in (RAW, ENCODED):
        with tempfile.NamedTemporaryFile(prefix="shard-") as file:
            file.write(data)
            file.flush()
            path = Path(file.name)
            with suppress(AccreteError):
                _read_shard(path, form)


def _read_shard(path: Path, form: ImageFormat) -> None:
    num_images = 0
    try:
        ShardReader([path], form, num_images=-1)
    except AccreteError as error:  # says how many there are; no other count gets past this check
        words = str(error).split()
        if words[:3] == ["the", "shards", "hold"]:
            num_images = int(words[3])
    reader = ShardReader([path], form, num_images=num_images)
    try:
        reader.read(np.arange(min(num_images, _MAX_IMAGES_READ)))
        if num_images:
            reader.read(np.array([num_images - 1, 0]))
    finally:
        reader.close()


def tensors(data: bytes) -> None:
    """Read a file as a checkpoint, a snapshot, and as weights from elsewhere."""
    with tempfile.NamedTemporaryFile(prefix="tensors-", suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        path = Path(file.name)
        named = WeightsRequest(path=path, model=ModelConfig(name="small"), class_names=("a", "b"))
        for read in (
            lambda: load_checkpoint(path),
            lambda: load_snapshot(path),
            lambda: read_weights(WeightsRequest(path=path)),
            lambda: read_weights(named),
            lambda: read_backbone(BackboneRequest(path=path)),
        ):
            with suppress(AccreteError):
                read()


def parquet(data: bytes) -> None:
    """Count and load the rows of a Parquet file, by columns that are found."""
    with tempfile.TemporaryDirectory(prefix="parquet-") as folder:
        (Path(folder) / "x.parquet").write_bytes(data)
        config = SourceConfig(kind="parquet", location=folder)
        source = open_source(config)
        training_counts(source.counts(), config)
        for number, item in enumerate(source.items()):
            loaded = item.load()
            assert isinstance(loaded, bytes)
            if number < _MAX_IMAGES_READ:
                decode_image(loaded, item.place)


def tar(data: bytes) -> None:
    """Count and load the samples of a WebDataset's shard."""
    with tempfile.TemporaryDirectory(prefix="tar-") as folder:
        (Path(folder) / "x.tar").write_bytes(data)
        _read_source(SourceConfig(kind="webdataset", location=folder))


def idx(data: bytes) -> None:
    """Count and load images in MNIST's format; two bytes say how long their labels are."""
    labels_end = 2 + int.from_bytes(data[:2], "big")
    with tempfile.TemporaryDirectory(prefix="idx-") as folder:
        (Path(folder) / "train-labels-idx1-ubyte").write_bytes(data[2:labels_end])
        (Path(folder) / "train-images-idx3-ubyte").write_bytes(data[labels_end:])
        _read_source(SourceConfig(kind="idx", location=folder))


def _read_source(config: SourceConfig) -> None:
    source = open_source(config)
    training_counts(source.counts(), config)
    for item in source.items():
        item.load()
    _ = (source.reading(), source.fingerprint())


def image(data: bytes) -> None:
    """Decode an image and scale it."""
    resize_crop(decode_image(data, "x.png"), 8, 8)


def journal(data: bytes) -> None:
    """Take the first line for a key, the rest for a step's document, and say how the run stands."""
    first, _, rest = data.partition(b"\n")
    key = first.decode(errors="replace")
    parsed = keys.parse_snapshot_key(key)
    if parsed is not None:
        position, num_bytes, sha256 = parsed
        again = keys.snapshot_key("0" * 64, position, sha256, num_bytes)
        assert again.rpartition("/")[2] == key.rpartition("/")[2]
    document = parse_document(rest, "00-prepare.json")
    state = RunState(name="run", state="running", num_stages=None, documents=[document])
    _ = (status_text(state), list_text([state]), state.as_json())


def _own_digest(decoded: Any) -> str:
    """Return the digest that a data set of this content has, where it is one."""
    from accrete.catalog.manifests import DatasetManifest
    from accrete.core.serialization import from_json

    return from_json(DatasetManifest, decoded, "manifest.json").digest


def _check_inside(key: str) -> None:
    """Fail for a key that would lead out of its prefix, or of a folder."""
    parts = key.split("/")
    assert not {"", ".", ".."} & set(parts), key
    assert "\0" not in key


TARGETS: dict[str, Target] = {
    "dataset": dataset_manifest,
    "stage": stage_manifest,
    "record": record,
    "shard": shard,
    "tensors": tensors,
    "parquet": parquet,
    "tar": tar,
    "idx": idx,
    "image": image,
    "journal": journal,
}


def run_target(name: str, data: bytes) -> None:
    """Run one input through a target.

    Raises:
        Exception: a finding: anything but an AccreteError of one line.
    """
    message = refusal_of(name, data)
    if "\n" in message or " object at 0x" in message:
        raise ValueError(f"not one line, or it names an address: {message!r}")


def refusal_of(name: str, data: bytes) -> str:
    """Return what a target says of an input that it refuses; nothing where it takes it."""
    try:
        TARGETS[name](data)
    except AccreteError as error:
        return str(error)
    return ""
