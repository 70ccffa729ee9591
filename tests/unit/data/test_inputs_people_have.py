"""Small inputs of kinds that went wrong for people, each with what must come of it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from source_sample import write_files

from accrete.config.run import SourceConfig
from accrete.data.images import decode_image
from accrete.data.inspection import inspect_source, inspection_json
from accrete.data.sources.detection import detect_kind

RED, BLUE = (200, 20, 20), (20, 20, 200)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def picture(colour: tuple[int, ...], size: tuple[int, int] = (16, 16), kind: str = "PNG") -> bytes:
    return encoded(Image.new("RGB", size, colour), kind)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def two_classes(folder: Path, size: tuple[int, int] = (16, 16)) -> None:
    for colour, name in ((RED, "cats"), (BLUE, "dogs")):
        for number in range(4):
            put(folder / name / f"{number}.png", picture(colour, size))


def table(count: int = 8) -> pa.Table:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": picture(RED if n < 4 else BLUE), "path": None} for n in range(8)][:count]
    return pa.table({"image": pa.array(images, kind), "label": [int(n > 3) for n in range(count)]})


def inspected(place: Path, **options: Any) -> dict[str, Any]:
    """Return what is said of a place whose kind is found, as programs get it."""
    kind = detect_kind(str(place), options.get("exclude"))
    config = SourceConfig(kind=kind, location=str(place), **options)
    understood, looked = inspect_source(config)
    assert len(understood.lines()) >= 3
    return inspection_json(understood, looked)


def classes_of(found: dict[str, Any]) -> dict[str, int]:
    return {c["name"]: c["train"] + c["validation"] + c["test"] for c in found["classes"]}


def left_out(found: dict[str, Any]) -> dict[str, str]:
    return {file["file"]: file["reason"] for file in found["left_out"]}


TWO = {"cats": 4, "dogs": 4}


def test_a_wrapper_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        two_classes(tmp_path / "dataset" / split)
    found = inspected(tmp_path)
    assert [(c["name"], c["train"], c["test"]) for c in found["classes"]] == [
        ("cats", 4, 4), ("dogs", 4, 4),
    ]  # fmt: skip
    assert found["splits"]["test"] == {"images": 8, "own": True}
    assert "dataset/" in found["layout"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".ipynb_checkpoints/0-checkpoint.png", "hidden"),
        ("cats/.ipynb_checkpoints/0-checkpoint.png", "hidden"),
        ("@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "@eaDir"),
        ("dogs/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "@eaDir"),
        ("__MACOSX/cats/._0.png", "__MACOSX"),
        ("cats/._0.png", "hidden"),
        ("$RECYCLE.BIN/0.png", "$RECYCLE.BIN"),
        ("cats/Thumbs.db", "Thumbs.db"),
        ("cats/empty.png", "empty"),
        ("cats/notes.txt", ".txt"),
        ("labels.csv", ".csv"),
        ("cats/c0.heic.bak", ".bak"),
    ],
)
def test_a_file_that_is_no_image_of_the_set_is_left_out_and_said(
    tmp_path: Path, name: str, reason: str
) -> None:
    two_classes(tmp_path)
    put(tmp_path / name, b"" if "empty" in name else picture(RED))
    found = inspected(tmp_path)
    assert classes_of(found) == TWO
    assert left_out(found) == {name: reason}
    assert found["files"] == 9


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (".ppm", "PPM"), (".pgm", "PPM"), (".pnm", "PPM"), (".jfif", "JPEG"), (".jpe", "JPEG"),
        (".JPG", "JPEG"), (".tif", "TIFF"), (".dib", "BMP"), (".apng", "PNG"), (".png", "JPEG"),
        ("", "PNG"),
    ],
)  # fmt: skip
def test_endings_of_all_kinds_are_read_by_content(tmp_path: Path, ending: str, kind: str) -> None:
    for name in TWO:
        for number in range(4):
            put(tmp_path / name / f"{number}{ending}", picture(RED, kind=kind))
    found = inspected(tmp_path)
    assert (classes_of(found), found["left_out"], found["images"]["unreadable"]) == (TWO, [], [])


@pytest.mark.parametrize("size", [(728, 9), (1, 1)])
def test_one_odd_image_does_not_decide_the_size(tmp_path: Path, size: tuple[int, int]) -> None:
    two_classes(tmp_path, (64, 48))
    put(tmp_path / "dogs" / "odd.png", picture(BLUE, size))
    images = inspected(tmp_path)["images"]
    assert (images["width"], images["height"]) == (64, 48)
    assert [Path(far["image"]).name for far in images["far"]] == ["odd.png"]


def test_deep_pixels_are_not_black() -> None:
    for level, mode in ((40, np.int32), (190, np.int32)):
        data = encoded(Image.fromarray(np.full((4, 4), level, mode)), "TIFF")
        assert np.unique(decode_image(data, "x")).tolist() == [level]
    dark, bright = (
        int(decode_image(encoded(Image.fromarray(np.full((4, 4), v, np.uint16))), "x").max())
        for v in (900, 2900)
    )
    assert dark > 40
    assert bright > 2.5 * dark


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1"])
def test_grey_images_of_every_mode_are_grey(tmp_path: Path, mode: str) -> None:
    for name in "ab":
        for number in range(5):
            image = Image.new("L", (16, 16), 40 + number).convert(mode)
            put(tmp_path / name / f"{number}.png", encoded(image))
    assert inspected(tmp_path)["images"]["channels"] == 1
    assert decode_image(encoded(image), "x").shape == (16, 16, 1)


def named(columns: pa.Table, *names: str) -> pa.Table:
    features = {"label": {"_type": "ClassLabel", "names": names}}
    return columns.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def test_a_class_name_without_rows_does_not_matter_to_classes_that_are_chosen(
    tmp_path: Path,
) -> None:
    pq.write_table(named(table(), "red", "blue", "green"), tmp_path / "train.parquet")
    assert classes_of(inspected(tmp_path, only_classes=("red", "blue"))) == {"red": 4, "blue": 4}


@pytest.mark.parametrize(
    ("test_table", "note"),
    [
        (lambda: table().slice(0, 0), "test-0.parquet has no rows"),
        (lambda: table().set_column(1, "label", pa.array([-1] * 8)), "all its labels are -1"),
    ],
)
def test_a_test_split_of_no_use_is_left_out_before_training(
    tmp_path: Path, test_table: Callable[[], pa.Table], note: str
) -> None:
    pq.write_table(table(), tmp_path / "train-0.parquet")
    pq.write_table(test_table(), tmp_path / "test-0.parquet")
    found = inspected(tmp_path)
    assert any(note in each for each in found["notes"])
    assert found["splits"]["test"] == {"images": 2, "own": False}


def test_images_that_a_table_names_by_their_paths(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": f"images/{n}.png"} for n in range(8)]
    paths = pa.table({"image": pa.array(rows, kind), "label": [0] * 4 + [1] * 4})
    pq.write_table(paths, tmp_path / "train.parquet")
    write_files(tmp_path / "images", {f"{n}.png": n for n in range(8)})
    assert classes_of(inspected(tmp_path)) == {"0": 4, "1": 4}


def test_columns_that_are_views(tmp_path: Path) -> None:
    images = pa.array([picture(RED)] * 4 + [picture(BLUE)] * 4, pa.binary_view())
    labels = pa.array(["r"] * 4 + ["b"] * 4, pa.string_view())
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "train.parquet")
    assert classes_of(inspected(tmp_path)) == {"b": 4, "r": 4}


def test_blanks_in_names_and_a_flat_test_folder(tmp_path: Path) -> None:
    for name in (" lead", "trail "):
        for number in range(4):
            put(tmp_path / "train" / name / f"{number}.png", picture(RED))
    put(tmp_path / "test" / "1.png", picture(RED))
    found = inspected(tmp_path)
    assert classes_of(found) == {"lead": 4, "trail": 4}
    assert left_out(found) == {"test/1.png": "no label"}
    assert len(found["notes"]) == 2
    assert classes_of(inspected(tmp_path, exclude="test")) == {"lead": 4, "trail": 4}


def test_a_cache_made_of_links(tmp_path: Path) -> None:
    for name in TWO:
        for number in range(4):
            put(tmp_path / "blobs" / f"{name}{number}", picture(RED))
            link = tmp_path / "snapshots" / "1" / name / f"{number}.png"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path("../../../blobs") / f"{name}{number}")
    assert classes_of(inspected(tmp_path / "snapshots" / "1")) == TWO
