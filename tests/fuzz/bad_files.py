"""Files as others send them: good ones to begin with, and what can be wrong with them."""

import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import seeds
import torch
from PIL import Image

from accrete.core.hashing import canonical_json

Change = Callable[[dict[str, Any]], object]


def write(path: Path, content: bytes) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def sparse(path: Path, num_bytes: int) -> None:
    """Write a file that has a size and takes no room."""
    with path.open("wb") as file:
        file.truncate(num_bytes)


def png(size: tuple[int, int] = (6, 4)) -> bytes:
    """Return a PNG of noise."""
    buffer = io.BytesIO()
    Image.effect_noise(size, 64).save(buffer, "PNG")
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return the beginning of a one-bit PNG that says it has this size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"


def tiff(mode: str, value: float, sample_format: int | None = None) -> bytes:
    """Return a TIFF of a mode with one pixel of a value, the others 0.

    Args:
        mode: of Pillow.
        value: of the pixel.
        sample_format: what the file says that its values are: 2 signed, 3 floating-point.
    """
    buffer = io.BytesIO()
    image = Image.new(mode, (6, 4))
    image.putpixel((0, 0), value)
    image.save(buffer, "TIFF", tiffinfo={339: sample_format} if sample_format else {})
    return buffer.getvalue()


def make_images(folder: Path) -> None:
    """Write an image folder with two classes of three images."""
    for name in ("ant", "bee"):
        for number in range(3):
            write(folder / name / f"{number}.png", png())


class _Harmful:
    """Unpickling it calls a function."""

    def __reduce__(self) -> Any:
        return os.getcwd, ()


def pickled(*, harmful: bool = False) -> bytes:
    """Return a pickle."""
    return pickle.dumps({"fc.weight": _Harmful() if harmful else [1, 2]}, protocol=4)


def torch_saved() -> bytes:
    """Return what torch.save writes."""
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(2, 3)}, buffer)
    return buffer.getvalue()


def npy() -> bytes:
    """Return a numpy file with an array of objects, which are pickled."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def image_table(
    path: Path,
    *,
    image: Sequence[Any] | None = None,
    label: Sequence[Any] | None = (0, 1) * 3,
    names: Sequence[str] | None = None,
    twice: bool = False,
    compression: str = "snappy",
) -> Path:
    """Write a Parquet file of images and labels.

    Args:
        path: the file to make.
        image: cells; None: a PNG for each label.
        label: cells; None: no such column.
        names: of the classes, in the Hugging Face metadata.
        twice: write the label column twice.
        compression: of the pages.
    """
    cells = image if image is not None else [png() for _ in label or range(6)]
    is_bytes = all(cell is None or isinstance(cell, bytes) for cell in cells)
    arrays = [pa.array(cells, pa.binary() if is_bytes else None)]
    columns = ["image"]
    for _ in range(0 if label is None else 1 + twice):
        arrays.append(pa.array(label))
        columns.append("label")
    table = pa.Table.from_arrays(arrays, columns)
    if names is not None:
        features = {"label": {"_type": "ClassLabel", "names": list(names)}}
        note = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": note})
    pq.write_table(table, path, compression=compression)
    return path


def _first(contents: Any) -> bytes:
    content: bytes = next(iter(contents))
    return content


def export_of(header: dict[str, Any], said: str | None = None) -> bytes:
    """Return a safetensors file of four bytes with any header, and any words in its metadata."""
    metadata = {} if said is None else {"__metadata__": {"accrete": said}}
    if not header:
        header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(metadata | header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


def exported(**changes: Any) -> bytes:
    """Return what `accrete export` writes, with changes in what it says of itself."""
    with TemporaryDirectory() as folder:
        data = _first(seeds.foreign_weights(Path(folder)))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    said = json.loads(header["__metadata__"]["accrete"])
    header["__metadata__"]["accrete"] = json.dumps(said | changes)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def shard_of(
    *,
    num_rows: int = 2,
    row_bytes: int = 72,
    compression: str | None = None,
    more: bool = False,
) -> bytes:
    """Return a shard of raw rows, or what is nearly one."""
    rows = pa.array([bytes(row_bytes)] * num_rows, pa.binary(row_bytes))
    arrays, names = ([rows, rows], ["image", "more"]) if more else ([rows], ["image"])
    batch = pa.record_batch(arrays, names=names)
    buffer = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(buffer, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return buffer.getvalue()


def _seed(name: str, number: int = 0) -> Any:
    with TemporaryDirectory() as folder:
        return json.loads(seeds.seeds(Path(folder))[name][number])


def dataset_note(change: Change) -> bytes:
    """Return a data set's manifest with a change."""
    data = _seed("dataset")
    change(data)
    return canonical_json(data)


def stage_note(change: Change) -> Any:
    """Return a stage's manifest with a change, decoded."""
    data = _seed("stage")
    change(data)
    return data


def run_record(**changes: Any) -> bytes:
    """Return a run's record with changes."""
    return canonical_json(_seed("record") | changes)


def step_document(**changes: Any) -> bytes:
    """Return a step's document with changes."""
    with TemporaryDirectory() as folder:
        content = seeds.seeds(Path(folder))["journal"][0]
    return canonical_json(json.loads(content.partition(b"\n")[2]) | changes)
