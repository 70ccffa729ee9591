"""What is said of a source before it is prepared: in lines, and as JSON for programs."""

import io
from pathlib import Path

from PIL import Image
from source_sample import png, write_files

from accrete.config.run import SourceConfig
from accrete.data.inspection import inspect_source, inspection_json, look
from accrete.data.sources.opening import open_source


def folder_of(place: Path) -> SourceConfig:
    return SourceConfig(kind="imagefolder", location=str(place))


def test_the_lines_say_layout_classes_splits_and_what_is_left_out(tmp_path: Path) -> None:
    names = {f"set/train/{name}/{n}.png": n for name in "abc" for n in range(4)}
    write_files(tmp_path, names | {"set/test/a/1.png": 1})
    (tmp_path / "set" / "notes.txt").write_text("x")
    (tmp_path / "set" / "train" / "a" / "x.heic.tmp").write_text("x")
    understood, looked = inspect_source(folder_of(tmp_path))
    assert understood.lines() == [
        f"imagefolder {tmp_path}: test/ and train/ below set/, a folder a class",
        "3 classes: a … c, with 4 training images each",
        "12 images to train on, 1 to test on (the source's own)",
        "2 of 15 files left out: .txt ×1, .tmp ×1 (set/notes.txt, set/train/a/x.heic.tmp)",
    ]
    assert looked.lines(None, 13) == [
        "images looked at: all, grey; all of 4x4 px, stored as they are"
    ]


def test_images_that_are_none_are_told_before_they_stop_a_run(tmp_path: Path) -> None:
    write_files(tmp_path, {f"a/{n}.png": n for n in range(3)})
    (tmp_path / "a" / "9.png").write_bytes(b"<html>")
    _, looked = inspect_source(folder_of(tmp_path))
    assert "a/9.png cannot be decoded (it is an HTML page" in looked.unreadable[0]
    assert "1 image of those looked at cannot be read" in looked.lines(None, 4)[1]


def test_a_sample_comes_from_all_classes(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{n:03}/{k}.png": k for n in range(50) for k in range(4)})
    looked = look(open_source(folder_of(tmp_path)), 50)
    assert looked.num_looked == 50
    assert looked.lines(None, 200)[0].startswith("images looked at: 50 of 200, grey")


def test_sizes_are_those_of_upright_images(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("RGB", (40, 20)).save(stream, "JPEG", exif=exif)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(stream.getvalue())
    found = inspection_json(*inspect_source(folder_of(tmp_path)))
    assert (found["images"]["height"], found["images"]["width"]) == (40, 20)


def test_the_size_that_is_asked_for_is_told(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/1.png": 1, "b/1.png": 2})
    (tmp_path / "a" / "2.png").write_bytes(png(1))
    config = SourceConfig(kind="imagefolder", location=str(tmp_path), image_size=8)
    found = inspection_json(*inspect_source(config))
    assert (found["images"]["height"], found["images"]["share_scaled_up"]) == (8, 1.0)


def test_digits_are_told_too() -> None:
    understood, looked = inspect_source(SourceConfig(kind="digits"))
    assert understood.lines()[1].startswith("10 classes: 0 … 9, with ")
    assert looked.lines(None, 1797)[0].startswith(
        "images looked at: 256 of 1,797, grey; all of 8x8"
    )
