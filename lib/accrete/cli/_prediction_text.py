"""Predictions for people, as lines of a table, and for programs, as lines of JSON."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from accrete.core.units import format_path, format_percent

if TYPE_CHECKING:
    from accrete.models.predictor import Prediction


class PredictionTable:
    """A table whose column widths are known before its first row."""

    def __init__(self, files: Iterable[Path], class_names: Sequence[str], top: int) -> None:
        """Lay out the columns.

        Args:
            files: all that rows may name.
            class_names: all that they may be taken for.
            top: classes in each row.
        """
        self._file_width = max(map(len, ["file", *map(format_path, files)]))
        self._name_width = max(map(len, class_names))
        self._top = top

    def header(self) -> str:
        """Return the line above the rows."""
        cell_width = self._name_width + len(" 100.0 %")
        ranks = [f"{f'#{rank}':<{cell_width}}" for rank in range(1, self._top + 1)]
        return "  ".join([f"{'file':<{self._file_width}}", *ranks]).rstrip()

    def row(self, prediction: "Prediction") -> str:
        """Return one image's line."""
        cells = [
            f"{guess.class_name:<{self._name_width}}{format_percent(guess.probability, 1):>8}"
            for guess in prediction.guesses
        ]
        return "  ".join([f"{format_path(prediction.file):<{self._file_width}}", *cells])


def json_line(prediction: "Prediction") -> str:
    """Return one image's JSON object, without a line break in it."""
    guesses = [
        {"class": guess.class_name, "label": guess.label, "probability": guess.probability}
        for guess in prediction.guesses
    ]
    return json.dumps({"file": str(prediction.file), "predictions": guesses})
