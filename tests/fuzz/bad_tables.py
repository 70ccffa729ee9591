"""Bad Parquet files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_files import (
    image_table,
    pickled,
    png,
    write,
)
from bad_kinds import (
    EMPTY,
    NO_TABLE,
    SKIP,
    parquet_kind,
)

NO_CLASS = "a class is a whole number or a text; choose another column with --label-column"


def _table(path_name: str = "train.parquet", **columns: Any) -> Callable[[Path], object]:
    return lambda folder: image_table(folder / path_name, **columns)


parquet_kind(
    "a folder without Parquet files",
    "--data DIR holds no .parquet file",
    lambda folder: write(folder / "x.csv", b"a,b"),
)
parquet_kind(
    "a text file named .parquet",
    f"DIR/x.parquet is no Parquet file (…): {NO_TABLE}",
    lambda folder: write(folder / "x.parquet", b"a,b\n" * 9),
)
parquet_kind(
    "a Parquet file cut short",
    f"DIR/train.parquet is no Parquet file (…): {NO_TABLE}",
    lambda folder: os.truncate(image_table(folder / "train.parquet"), 500),
)


def _damage_pages(folder: Path) -> None:
    path = image_table(folder / "train.parquet", label=list(range(3)) * 2000, compression="gzip")
    data = bytearray(path.read_bytes())
    start = len(data) // 4
    data[start : start + 200] = bytes(200)
    path.write_bytes(data)


parquet_kind(
    "a Parquet file with damaged pages",
    f"DIR/train.parquet is no Parquet file (…): {NO_TABLE}",
    _damage_pages,
)
parquet_kind(
    "a pickle named .parquet",
    "DIR/x.parquet is no Parquet file (it is a pickle, which is never loaded): "
    "write the images and labels to a Parquet file",
    lambda folder: write(folder / "x.parquet", pickled()),
)
parquet_kind(
    "pickled objects in the image column",
    f"DIR/train.parquet row 0 cannot be decoded (it is a pickle, which is never loaded): {SKIP}",
    _table(image=[pickled()] * 6),
)
parquet_kind(
    "an image that is null",
    f"DIR/train.parquet row 1 cannot be decoded (it is empty): {SKIP}",
    _table(image=[png(), None, *[png()] * 4]),
)
parquet_kind(
    "a label that is null",
    "DIR/train.parquet row 1 has no label: give it one or remove the row",
    _table(label=[0, None, 1, 0, 1, 1]),
)
parquet_kind(
    "a negative label",
    "DIR/train.parquet row 2 has label -1: it must be 0 or more",
    _table(label=[0, 1, -1, 0, 1, 1]),
)
parquet_kind(
    "a label past the named classes",
    "DIR/train.parquet row 3 has label 7: it must be 0..1",
    _table(label=[0, 1, 0, 7, 1, 0], names=["ant", "bee"]),
)
parquet_kind(
    "a text label that is no named class",
    "DIR/train.parquet row 0 has label 'wasp', which is no class of the set",
    _table(label=["wasp", *["ant", "bee"] * 2, "ant"], names=["ant", "bee"]),
)
parquet_kind(
    "labels that are not whole numbers",
    f"DIR/train.parquet row 0 has label 0.5: {NO_CLASS}",
    _table(label=[0.5, 1.5] * 3),
)
parquet_kind(
    "labels of another type in another file",
    f"DIR/train-1.parquet row 0 has label 0.5: {NO_CLASS}",
    lambda folder: (
        image_table(folder / "train-0.parquet")
        and image_table(folder / "train-1.parquet", label=[0.5, 1.5] * 3)
    ),
)
parquet_kind(
    "a column that another file lacks",
    "DIR/train-1.parquet has no column 'label', other files of the set have one",
    lambda folder: (
        image_table(folder / "train-0.parquet")
        and image_table(folder / "train-1.parquet", label=None)
    ),
)
parquet_kind(
    "a column that is there twice",
    "DIR/train.parquet has 2 columns 'label', other files of the set have one",
    _table(twice=True),
)
parquet_kind(
    "no image column",
    "image column (--image-column) is not clear in DIR/train.parquet: none holds images or names "
    "image files beside it, of image, label",
    _table(image=[1.5] * 6),
)
parquet_kind(
    "a label column that is not there",
    "label column (--label-column) is 'kind', but DIR has label",
    _table(),
    label_column="kind",
)
parquet_kind(
    "a class that is named twice",
    "DIR names class 'ant' twice: name each class once",
    _table(names=["ant", "ant"]),
)
parquet_kind(
    "a named class without an image",
    f"class 'wasp' of DIR has no training image: {EMPTY}",
    _table(names=["ant", "bee", "wasp"]),
)
parquet_kind(
    "a label that is an empty text",
    "DIR/train.parquet row 0 has no label: give it one or remove the row",
    _table(label=["", "a"] * 3),
)
parquet_kind(
    "a very long class name",
    f"DIR/train.parquet row 0 has a class name of 300 characters, {'x' * 40!r}…: use at most 255",
    _table(label=["x" * 300, "a"] * 3),
)
parquet_kind(
    "labels as long as documents",
    "DIR/train.parquet has a label of 5,000 characters in column 'label': "
    "a class's name is short; choose the column with --label-column",
    _table(label=["x" * 5000, "a"] * 3),
)
parquet_kind(
    "a small file that says it has millions of rows",
    "DIR/train.parquet says that it has 3,000,000 rows in … bytes: "
    "it is damaged, or made to fill the memory; write it again",
    lambda folder: image_table(
        folder / "train.parquet", image=[None] * 3_000_000, label=[0] * 3_000_000
    ),
)
parquet_kind(
    "files of splits, and one of none",
    "DIR/more.parquet lies beside files of splits, but its name tells none: "
    "rename it, or leave it out: --exclude 'more.parquet'",
    lambda folder: image_table(folder / "train.parquet") and image_table(folder / "more.parquet"),
)
parquet_kind(
    "several configurations in one folder",
    "DIR can be read in two ways: 2 configurations (en, fr), of which --config names one, or one "
    "set in several folders: --config all",
    lambda folder: [
        (folder / name / "train").mkdir(parents=True)
        or image_table(folder / name / "train" / "0.parquet")
        for name in ("en", "fr")
    ],
)
parquet_kind(
    "a path to an image that is not there",
    "DIR/train.parquet row 0 names image 'images/1.png', which is no file, or no single one, "
    "beside it below DIR: put the images there, or embed them in the table",
    _table(image=[{"bytes": None, "path": "images/1.png"}] * 6),
)
