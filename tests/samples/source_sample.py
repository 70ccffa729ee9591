"""Small sources: image folders and Parquet files of grey images."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from accrete.config.run import SourceConfig
from accrete.data.images import decode_image
from accrete.data.sources.opening import Item, Source, open_source


def png(level: int) -> bytes:
    """Return a grey 4×4 PNG file of one level."""
    buffer = io.BytesIO()
    Image.new("L", (4, 4), level).save(buffer, "PNG")
    return buffer.getvalue()


def level_of(item: Item) -> int:
    """Return the level of an image that `png` made."""
    data = item.load()
    assert isinstance(data, bytes)
    return int(decode_image(data, item.place)[0, 0, 0])


def entries_of(source: Source) -> list[tuple[str, str, int]]:
    """Return (split, class, level) of each image."""
    return [(item.split, item.class_name, level_of(item)) for item in source.items()]


def read_all(source: Source) -> None:
    """Count and read all images of a source."""
    source.counts()
    for item in source.items():
        item.load()


def write_parquet(
    path: Path,
    columns: Mapping[str, Any],
    names: Sequence[str] | None = None,
    label: str = "label",
) -> None:
    """Write a table, with a ClassLabel of these names in its Hugging Face metadata."""
    table = pa.table(dict(columns))
    if names is not None:
        features = {label: {"_type": "ClassLabel", "names": list(names)}}
        note = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": note})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def open_parquet(folder: Path, **options: Any) -> Source:
    """Open a folder of Parquet files."""
    return open_source(SourceConfig(kind="parquet", location=str(folder), **options))


def structs(levels: Sequence[int]) -> pa.Array:
    """Return images in the Hugging Face layout: a struct of bytes and path."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": png(level), "path": None} for level in levels], kind)


def write_files(folder: Path, levels: Mapping[str, int]) -> None:
    """Write PNG files by name."""
    for name, level in levels.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(level))


def open_folder(folder: Path, **options: Any) -> Source:
    """Open an image folder."""
    return open_source(SourceConfig(kind="imagefolder", location=str(folder), **options))
