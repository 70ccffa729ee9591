"""Random trees of files: each is an image of the right class and split, or is left out."""

import io
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from accrete.config.run import SourceConfig
from accrete.data.images import decode_image
from accrete.data.sources.junk import is_junk_name
from accrete.data.sources.opening import open_source
from accrete.data.sources.split_names import SPLIT_WORDS, words
from accrete.errors import SourceError

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".JPEG": "JPEG", ".jfif": "JPEG", ".ppm": "PPM", ".bmp": "BMP",
    ".gif": "GIF", ".tiff": "TIFF", ".webp": "WEBP", ".jpe": "JPEG",
}  # fmt: skip
SPLITS = {
    "train": ("train", "Training", "train_set", "TRAIN-images", "train2019"),
    "test": ("test", "Testing", "test_images", "eval"),
    "validation": ("val", "valid", "Validation", "dev_set"),
}
OTHERS = (
    *("notes.txt", "Thumbs.db", "desktop.ini", ".DS_Store", "._1.png", "scan.pdf", "x.xml"),
    *(".hidden.jpg", "README"),
)
JUNK_FOLDERS = ("__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN", ".git")


def is_class_name(name: str) -> bool:
    return (
        bool(name.strip())
        and name not in (".", "..")
        and not is_junk_name(name)
        and not any(word in SPLIT_WORDS for word in words(name))
        and len(name.encode()) < 60
    )


NAMES = st.text(
    st.characters(categories=("L", "N", "M", "Zs", "P", "S"), exclude_characters="/\\"),
    min_size=1,
    max_size=12,
).filter(is_class_name)


@dataclass
class Tree:
    files: dict[str, bytes]
    expected: dict[str, tuple[str, str]]
    """(split, class) of each image's file."""


def picture(kind: str, width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(stream, kind)
    return stream.getvalue()


def clean(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Draw a tree whose meaning is known: classes, maybe in splits, below wrappers, with others."""
    wrapper = "".join(f"{name}/" for name in draw(st.lists(NAMES, max_size=2)))
    classes = draw(st.lists(NAMES, min_size=2, max_size=4, unique_by=lambda n: clean(n).casefold()))
    shape = draw(st.sampled_from(("plain", "splits", "inside")))
    splits = {"train": draw(st.sampled_from(SPLITS["train"]))}
    if shape != "plain":
        for split in draw(st.sets(st.sampled_from(("test", "validation")), min_size=1)):
            splits[split] = draw(st.sampled_from(SPLITS[split]))
    tree = Tree({}, {})
    folders = [wrapper]
    for split, folder in splits.items():
        used = "test" if split == "validation" and "test" not in splits else split
        for name in classes:
            place = {
                "plain": f"{wrapper}{name}/",
                "splits": f"{wrapper}{folder}/{name}/",
                "inside": f"{wrapper}{name}/{folder}/",
            }[shape]
            folders.append(place)
            for number in range(draw(st.integers(1, 2))):
                ending = draw(st.sampled_from(sorted(FORMATS)))
                width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
                file = f"{place}{number}{ending}"
                tree.files[file] = picture(FORMATS[ending], width, height)
                tree.expected[file] = (used, clean(name))
    for folder in draw(st.lists(st.sampled_from(folders), max_size=4)):
        name = draw(st.sampled_from(OTHERS))
        if draw(st.booleans()):
            name = f"{draw(st.sampled_from(JUNK_FOLDERS))}/{draw(st.sampled_from(('a/', '')))}0.png"
        tree.files[f"{folder}{name}"] = b"not an image"
    if draw(st.booleans()):
        tree.files[f"{folders[-1]}empty.png"] = b""
    return tree


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees())
def test_every_file_is_an_image_of_its_class_and_split_or_is_left_out(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, tree.files)
        source = open_source(SourceConfig(kind="imagefolder", location=folder))
        found = {}
        for item in source.items():
            data = item.load()
            assert isinstance(data, bytes)
            assert decode_image(data, item.place).size
            found[item.place.removeprefix(f"{folder}/")] = (item.split, item.class_name)
        assert found == tree.expected
        reading = source.reading()
        assert {file.place for file in reading.left_out} == tree.files.keys() - found.keys()
        assert reading.num_files == len(tree.files)
        counts = source.counts()
        assert sum(sum(of_split.values()) for of_split in counts.values()) == len(found)


PARTS = st.sampled_from(
    (
        *("train", "test", "val", "cat", "dog", "images", "data", "Train", "a", "b", "2023"),
        *("__MACOSX", ".x", "extra", "seg_train", "train_test"),
    )
)
FILES = st.sampled_from(
    ("1.png", "2.png", "x.jpg", "cat.0.jpg", "notes.txt", "README", ".y.png", "Thumbs.db", "l.csv")
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.lists(PARTS, max_size=4), FILES), min_size=1, max_size=8))
def test_any_tree_is_refused_or_accounted_for(
    paths: list[tuple[list[str], str]],
) -> None:
    names = {"/".join([*parts, name]) for parts, name in paths}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, {name: b"\x89PNG\r\n\x1a\n" + name.encode() for name in names})
        try:
            source = open_source(SourceConfig(kind="imagefolder", location=folder))
            source.counts()
        except SourceError:
            return
        used = {item.place.removeprefix(f"{folder}/") for item in source.items()}
        others = {file.place for file in source.reading().left_out}
        assert used | others == names
        assert not used & others
        for item in source.items():
            assert item.class_name in item.place
