"""Seeds from real objects: `python tests/fuzz/seeds.py FOLDER` writes one folder a target.

Everything is made by the code that makes it in a run, as small as it can be.
"""

import gzip
import io
import json
import struct
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file

from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import (
    FORMAT,
    ClassEntry,
    DatasetManifest,
    ShardRef,
    Skipped,
    SplitPolicy,
    StageManifest,
    StageResult,
    StageTimes,
    StageTraffic,
    dump_dataset,
    dump_stage,
)
from accrete.catalog.records import dump_record, dump_sweep_record, make_record, make_sweep_record
from accrete.catalog.step_documents import StepFailure
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.config.sweep import Cell, Sweep
from accrete.core.hashing import canonical_json
from accrete.core.serialization import to_json
from accrete.data.shards import write_shard
from accrete.models.checkpoint import CheckpointInfo, save_checkpoint
from accrete.models.networks import build_model
from accrete.monitoring.journal import Journal
from accrete.stages.snapshots import SnapshotInfo
from accrete.store import keys
from accrete.store.keys import ObjectRef
from accrete.training.loop import HistoryPoint, TrainState

NAMES = ("ant", "bee", "Käfer")
IMAGE = ImageFormat(encoding="raw", height=4, width=6, channels=3, preprocessing="none")
SCALE = Normalization(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
SMALL = ModelConfig(name="small", width=0.05)


def _ref(number: int) -> ShardRef:
    return ShardRef(sha256=f"{number:064x}", num_bytes=834, num_images=3)


def _dataset() -> DatasetManifest:
    return DatasetManifest(
        format=FORMAT,
        classes=tuple(
            ClassEntry(name=name, train=(_ref(n),), validation=(), test=(_ref(n + 10),))
            for n, name in enumerate(NAMES)
        ),
        image=IMAGE,
        normalization=SCALE,
        split=SplitPolicy(test="stratified", test_fraction=0.2, validation_fraction=0.0, seed=0),
        skipped=Skipped(count=1, places=("ant/1.png",)),
    )


def _config() -> RunConfig:
    plan = Plan(rule="the list 2,1", class_order=NAMES, class_images=(3,) * 3, stage_sizes=(2, 1))
    return RunConfig(
        source=SourceConfig(kind="imagefolder", location="photos"),
        plan=plan,
        model=SMALL,
        recipe=Recipe(epochs=(1.0, 2.0)),
    )


def _stage() -> StageManifest:
    spec = stage_chain(_config(), _dataset())[1]
    file = ObjectRef(sha256="0" * 64, num_bytes=1)
    return StageManifest(
        format=FORMAT,
        digest=spec.digest,
        index=spec.index,
        parent=spec.parent,
        dataset=_dataset().digest,
        class_names=spec.class_names,
        num_old_classes=spec.num_old_classes,
        model=spec.model,
        image=IMAGE,
        normalization=SCALE,
        schedule=spec.schedule,
        seed=0,
        checkpoint=file,
        metrics=file,
        result=StageResult(
            top1=0.5,
            top1_old=0.25,
            top1_new=0.75,
            loss=1.0,
            validation_top1=None,
            images_seen=9,
            images_per_s=9.0,
        ),
        times=StageTimes(pull_s=0.1, grow_s=0.1, train_s=1.0, evaluate_s=0.1, push_s=0.1),
        traffic=StageTraffic(
            pulled_bytes=1, prefetched_bytes=0, pushed_bytes=1, cache_hits=0, num_objects=2
        ),
        device="cpu",
        versions="accrete 0.1.0",
        created_at="2026-11-23T11:00:00+00:00",
    )


def _sweep() -> Sweep:
    return Sweep(
        purpose="comparison",
        rule="a seed",
        source=SourceConfig(kind="digits"),
        class_order=NAMES,
        class_images=(3,) * 3,
        model=SMALL,
        cells=(
            Cell(name="staged-s0", kind="staged", stage_sizes=(2, 1), recipe=Recipe()),
            Cell(name="scratch-s0", kind="scratch", stage_sizes=(3,), recipe=Recipe()),
        ),
    )


def _picture(kind: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((6, 4), 64).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def images() -> Iterator[bytes]:
    """Yield an image of each format and of several modes."""
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        yield _picture(kind)
    for mode in ("1", "L", "P", "I;16", "RGBA"):
        yield _picture("PNG", mode)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(buffer, "JPEG", exif=exif)
    yield buffer.getvalue()


def shards(folder: Path) -> Iterator[bytes]:
    """Yield a raw and an encoded shard."""
    path = folder / "shard"
    write_shard(path, [bytes(range(72))] * 3, row_bytes=72)
    yield path.read_bytes()
    write_shard(path, [_picture("PNG"), _picture("JPEG")], row_bytes=None)
    yield path.read_bytes()


def parquet_files() -> Iterator[bytes]:
    """Yield tables in the Hugging Face layout, with numbers and with names for labels."""
    cells = [{"bytes": _picture("PNG"), "path": "a.png"}] * 3
    features = {"label": {"_type": "ClassLabel", "names": list(NAMES)}}
    note = json.dumps({"info": {"features": features}})
    named = pa.table({"image": cells, "label": [0, 1, 2]}).replace_schema_metadata(
        {"huggingface": note}
    )
    text = pa.table({"img": [_picture("JPEG")] * 3, "label": ["a", "b", "a"]})
    for table, codec in ((named, "snappy"), (text, "none"), (text, "zstd"), (named, "gzip")):
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression=codec)
        yield buffer.getvalue()


def tars() -> Iterator[bytes]:
    """Yield WebDataset's shards with long names, with metadata, packed, and with labels in JSON."""
    numbers = {"cls": lambda number: b"%d" % number}
    objects = {"json": lambda number: json.dumps({"label": NAMES[number]}).encode()}
    cases = (
        ("w", tarfile.USTAR_FORMAT, "", numbers),
        ("w", tarfile.GNU_FORMAT, "x" * 120, numbers),
        ("w", tarfile.PAX_FORMAT, "é" * 60, objects),
        ("w:gz", tarfile.USTAR_FORMAT, "a/", objects),
    )
    for mode, form, prefix, label in cases:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode, format=form) as tar:  # type: ignore[call-overload]
            for number in range(6):
                ((extension, make),) = label.items()
                for suffix, data in (("png", _picture("PNG")), (extension, make(number % 3))):
                    member = tarfile.TarInfo(f"{prefix}{number}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        yield buffer.getvalue()


def idx_files() -> Iterator[bytes]:
    """Yield labels and images in MNIST's format, grey and with channels, packed too."""
    labels = struct.pack(">4BI6B", 0, 0, 8, 1, 6, 0, 1, 2, 0, 1, 2)
    grey = struct.pack(">4B3I", 0, 0, 8, 3, 6, 3, 2) + bytes(range(36))
    colours = struct.pack(">4B4I", 0, 0, 8, 4, 6, 1, 2, 3) + bytes(range(36))
    for first, second in ((labels, grey), (labels, colours), (labels, gzip.compress(grey))):
        yield len(first).to_bytes(2, "big") + first + second
    packed = gzip.compress(labels)
    yield len(packed).to_bytes(2, "big") + packed + grey


def tensors(folder: Path) -> Iterator[bytes]:
    """Yield a checkpoint and a snapshot."""
    path = folder / "tensors"
    network = build_model(SMALL, channels=3, num_classes=3, seed=0)
    few = {"head.weight": network.head.weight, "head.bias": network.head.bias}
    info = CheckpointInfo(
        format=FORMAT, stage="", class_names=NAMES, model=SMALL, image=IMAGE, normalization=SCALE
    )
    momentum = {name: tensor.clone() for name, tensor in few.items()}
    save_checkpoint(path, few, momentum, info)
    yield path.read_bytes()
    point = HistoryPoint(step=1, epoch=0.5, lr=0.1, loss=2.0)
    snapshot = SnapshotInfo(
        format=FORMAT, stage="0" * 64, state=TrainState(position=1, history=[point])
    )
    save_checkpoint(path, few, momentum, snapshot)
    yield path.read_bytes()


def foreign_weights(folder: Path) -> Iterator[bytes]:
    """Yield what `accrete export` writes, and a bare state."""
    path = folder / "weights"
    network = build_model(SMALL, channels=3, num_classes=3, seed=0)
    said = {
        "format": 1,
        "class_names": list(NAMES),
        "model": to_json(SMALL),
        "image": to_json(IMAGE),
        "normalization": to_json(SCALE),
    }
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, path, metadata={"accrete": canonical_json(said).decode()})
    yield path.read_bytes()
    save_file({"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}, path)
    yield path.read_bytes()


def journals(folder: Path) -> Iterator[bytes]:
    """Yield a snapshot's key and a journal's document."""
    key = keys.snapshot_key("0" * 64, 120, "a" * 64, 4096).encode()
    journal = Journal("run", "stage-0001", store=None, folder=folder)
    journal.meter("train", 100, "images")(50, "loss 1.0")
    path = folder / "stage-0001.json"
    yield key + b"\n" + path.read_bytes()
    journal.result("stage 1/2: 2 classes  top-1 50 %", stage=1)
    journal.fail(StepFailure("the node went away", 75))
    yield key + b"\n" + path.read_bytes()


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Return the seeds of each target; files on their way lie in a folder."""
    chain = stage_chain(_config(), _dataset())
    record = make_record("photos-2-stages", _config(), _dataset().digest, chain)
    sweep = make_sweep_record("sweep", _sweep(), _dataset())
    return {
        "dataset": [dump_dataset(_dataset())],
        "stage": [dump_stage(_stage())],
        "record": [dump_record(record), dump_sweep_record(sweep)],
        "shard": list(shards(folder)),
        "tensors": [*tensors(folder), *foreign_weights(folder)],
        "parquet": list(parquet_files()),
        "tar": list(tars()),
        "idx": list(idx_files()),
        "image": list(images()),
        "journal": list(journals(folder)),
    }


def main() -> None:
    """Write the seeds."""
    root = Path(sys.argv[1])
    with TemporaryDirectory() as folder:
        for name, contents in seeds(Path(folder)).items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for number, content in enumerate(contents):
                (root / name / f"seed-{number:02}").write_bytes(content)


if __name__ == "__main__":
    main()
