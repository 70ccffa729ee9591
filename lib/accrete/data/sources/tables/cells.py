"""Cells of tables: labels to class names, images to bytes or pixels."""

from decimal import Decimal
from typing import Any

import numpy as np

from accrete.data.images import Pixels, looks_like_image
from accrete.data.sources.tables.columns import IMAGE_NAMES
from accrete.data.sources.tables.rows import Rows
from accrete.errors import BadImageError, LabelError

HIDDEN = -1
"""What benchmarks publish for the label of a test image that nobody shall know."""

_MAX_NUMBER = 10**15
"""Beyond it a float is no exact whole number, nor anybody's class."""

_LOOKED_AT = 8
"""Cells of a column, to see whether they are images."""

Label = int | str | None


def label_of(value: Any, place: str) -> Label:
    """Return a cell's label: a whole number, a text, or None where there is none.

    Args:
        value: of Arrow's, as Python has it; a list of one stands for that one.
        place: the row, for errors.

    Raises:
        LabelError: it is several labels, or a number with a fraction.
    """
    if isinstance(value, list):
        if len(value) > 1:
            raise LabelError(
                f"{place} has {len(value)} labels: an image has one class; choose another column "
                "with --label-column"
            )
        return label_of(value[0], place) if value else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (float, Decimal)):
        if value != value:  # noqa: PLR0124  NaN, which pandas writes for what is missing
            return None
        if not -_MAX_NUMBER < value < _MAX_NUMBER or value != int(value):
            raise LabelError(
                f"{place} has label {value}: a class is a whole number or a text; choose another "
                "column with --label-column"
            )
        return int(value)
    if isinstance(value, bytes):  # what Spark and Impala make of text
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise LabelError(f"{place} has bytes for a label that are no text") from error
    if value is None or isinstance(value, (int, str)):
        return value
    raise LabelError(f"{place} has {str(value)[:60]!r} for a label: it must be a number or a text")


def likely_images(rows: Rows) -> list[str]:
    """Return the columns that hold images: by their type, and by a look at unusual ones.

    Numbers in rows and strings of bytes may be many things: boxes, hashes.
    """
    found = []
    for name, column in rows.columns.items():
        if not column.is_image:
            continue
        cells = [cell for cell in rows.first(name, _LOOKED_AT) if cell]
        if name.rpartition(".")[2].lower() in IMAGE_NAMES or all(map(_may_be_image, cells)):
            found.append(name)
    return found


def _may_be_image(cell: Any) -> bool:
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, dict):
        return True
    return isinstance(cell, bytes) and looks_like_image(cell[:64])


def image_of(value: Any, place: str) -> bytes | Pixels:
    """Return a cell's image: an encoded file, or pixels; nothing where it is null.

    Args:
        value: bytes, a struct with bytes, rows of pixels, or a list of one of them.
        place: the row, for errors.

    Raises:
        BadImageError: it is several images, numbers that are no pixels, or a path alone.
    """
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            return _pixels(value, place)
        if len(value) > 1:
            raise BadImageError(
                f"{place} has {len(value)} images: one is needed, or skip such rows with "
                "--on-bad-image skip"
            )
        return image_of(value[0], place) if value else b""
    if isinstance(value, dict):
        if value.get("path") and not value.get("bytes"):
            raise BadImageError(
                f"{place} has a path without bytes ({str(value['path'])[:80]!r}), the first rows "
                "of its file have bytes: embed all images, or none"
            )
        value = value.get("bytes")
    if value is not None and not isinstance(value, bytes):
        raise BadImageError(
            f"{place} has {str(value)[:60]!r} for an image: choose another column with "
            "--image-column"
        )
    return value or b""


def _pixels(rows: list[Any], place: str) -> Pixels:
    try:
        values = np.asarray(rows, np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise _no_pixels(place, "rows of different length") from error
    if values.ndim == 3 and values.shape[2] not in (1, 3) and values.shape[0] in (1, 3):
        values = values.transpose(1, 2, 0)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3) or not values.size:
        raise _no_pixels(place, f"numbers of shape {values.shape}")
    if values.min() < 0 or values.max() > 255:
        raise _no_pixels(place, f"numbers from {values.min()} to {values.max()}")
    return values.astype(np.uint8)


def _no_pixels(place: str, what: str) -> BadImageError:
    return BadImageError(
        f"{place} has {what}: an image is (height, width) or (height, width, 3) numbers from 0 to "
        "255; skip such rows with --on-bad-image skip"
    )
