"""Small sources for preparing, and what prepares them."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from accrete.catalog.catalog import Catalog
from accrete.config.plan import Plan
from accrete.config.run import SourceConfig
from accrete.data.prepare import Prepared, prepare_dataset
from accrete.data.sources.opening import open_source
from accrete.data.splits import training_counts

Prepare = Callable[..., Prepared]


def png(seed: int, side: int = 12) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def parquet(path: Path, rows: list[tuple[bytes | None, Any]]) -> SourceConfig:
    images = [{"bytes": data, "path": None} for data, _ in rows]
    labels = [label for _, label in rows]
    path.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": labels}), path / "train-0.parquet")
    return SourceConfig(kind="parquet", location=str(path))


def image_folder(path: Path, classes: dict[str, int], side: Callable[[int], int]) -> SourceConfig:
    for name, count in classes.items():
        (path / name).mkdir(parents=True)
        for number in range(count):
            data = png(zlib.crc32(f"{name}{number}".encode()), side(number))
            (path / name / f"{number}.png").write_bytes(data)
    return SourceConfig(kind="imagefolder", location=str(path))


def plan_of(counts: dict[str, int]) -> Plan:
    return Plan(
        rule="all at once",
        class_order=tuple(counts),
        class_images=tuple(counts.values()),
        stage_sizes=(len(counts),),
    )


def preparer(catalog: Catalog, work_path: Path) -> Prepare:
    """Return what prepares a source, with a plan of its own counts."""

    def run(config: SourceConfig, counts: dict[str, int] | None = None, **options: Any) -> Prepared:
        found = counts or training_counts(open_source(config).counts(), config)
        return prepare_dataset(
            config, plan_of(found), catalog, work_path, lambda _: lambda _: None, **options
        )

    return run


def assert_nothing_published(catalog: Catalog) -> None:
    assert catalog.store.list_keys("datasets/") == []
    assert catalog.store.list_keys("prepared/") == []
