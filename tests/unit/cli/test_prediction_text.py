"""Predictions as a table and as JSON."""

import json
import os
from pathlib import Path

from accrete.cli._prediction_text import PredictionTable, json_line
from accrete.models.predictor import Guess, Prediction

NAMES = ("cat", "armadillo")
FIRST = Prediction(Path("a.png"), (Guess("armadillo", 1, 0.9876), Guess("cat", 0, 0.0124)))
SECOND = Prediction(Path("some/b.png"), (Guess("cat", 0, 1.0), Guess("armadillo", 1, 0.0)))


def test_the_table_s_columns_stand_below_each_other() -> None:
    table = PredictionTable([FIRST.file, SECOND.file], NAMES, 2)
    assert [table.header(), table.row(FIRST), table.row(SECOND)] == [
        "file        #1                 #2",
        "a.png       armadillo  98.8 %  cat         1.2 %",
        "some/b.png  cat       100.0 %  armadillo   0.0 %",
    ]


def test_a_short_file_name_leaves_room_for_the_header() -> None:
    prediction = Prediction(Path("a"), (Guess("x", 0, 0.5),))
    table = PredictionTable([prediction.file], ["x"], 1)
    assert [table.header(), table.row(prediction)] == ["file  #1", "a     x  50.0 %"]


def test_a_file_name_of_odd_bytes_can_be_shown_and_is_whole_in_json() -> None:
    path = Path(os.fsdecode(b"caf\xe9.png"))
    prediction = Prediction(path, (Guess("x", 0, 0.5),))
    assert "caf\\xe9.png" in PredictionTable([path], ["x"], 1).row(prediction)
    line = json_line(prediction)
    assert line.isascii()
    assert os.fsencode(json.loads(line)["file"]) == b"caf\xe9.png"


def test_a_json_line_holds_file_classes_labels_and_probabilities() -> None:
    assert json.loads(json_line(FIRST)) == {
        "file": "a.png",
        "predictions": [
            {"class": "armadillo", "label": 1, "probability": 0.9876},
            {"class": "cat", "label": 0, "probability": 0.0124},
        ],
    }


def test_a_json_line_is_one_line_even_where_a_name_is_not() -> None:
    odd = Prediction(Path("a\nb.png"), (Guess("two\nlines", 0, 1.0),))
    assert "\n" not in json_line(odd)
    assert json.loads(json_line(odd))["predictions"][0]["class"] == "two\nlines"
