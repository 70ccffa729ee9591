"""Kinds of bad input, each with what makes it, what reads it, and the line that refuses it.

`docs/bad-input.md` lists them from here; its test holds the two together.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bad_files import (
    dataset_note,
    export_of,
    exported,
    image_table,
    make_images,
    npy,
    pickled,
    png,
    png_header,
    run_record,
    shard_of,
    sparse,
    stage_note,
    step_document,
    tiff_of_floats,
    torch_saved,
    write,
)

from accrete.catalog import Catalog, parse_json
from accrete.checkpoint import load_checkpoint
from accrete.classes import check_order
from accrete.codec import from_json
from accrete.config import ModelConfig, SourceConfig
from accrete.cost import read_measurements
from accrete.counting import counts_of_file, counts_of_source
from accrete.digest import sha256_of_file
from accrete.image_files import find_images
from accrete.image_format import ImageFormat
from accrete.manifests import load_dataset, load_stage
from accrete.plan import Plan
from accrete.prepare import prepare
from accrete.requests import read_names
from accrete.runs import parse_document, parse_record
from accrete.shard_reader import ShardReader
from accrete.status import run_states
from accrete.weights import WeightsRequest, read_weights

Read = Callable[[Path, Catalog], Any]
"""Makes the bad input in a folder, and reads it as a command does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of bad input."""

    name: str
    """What it is, for people."""
    read: Read
    """Makes it and reads it."""
    line: str
    """What is said of it: `DIR` is the folder, `…` stands for anything."""
    exit_code: int = 2
    """Of a command that meets it."""


KINDS: list[Kind] = []


def kind(name: str, line: str, exit_code: int = 2) -> Callable[[Read], Read]:
    """Add a kind of bad input to the table."""

    def add(read: Read) -> Read:
        KINDS.append(Kind(name=name, read=read, line=line, exit_code=exit_code))
        return read

    return add


def publish(config: SourceConfig, folder: Path, catalog: Catalog) -> None:
    """Prepare a source, as the pipeline's first step does."""
    counts = counts_of_source(config)
    plan = Plan(
        rule="all",
        class_order=tuple(counts),
        class_images=tuple(counts.values()),
        stage_sizes=(len(counts),),
    )
    prepare(config, plan, catalog, folder.parent / "work", lambda _total: lambda _done: None)


def folder_kind(
    name: str, line: str, files: dict[str, bytes], more: Callable[[Path], object] = lambda _: None
) -> None:
    """Add an image folder: two good classes, some files, and what `more` makes."""

    def read(folder: Path, catalog: Catalog) -> None:
        make_images(folder)
        for file_name, content in files.items():
            write(folder / file_name, content)
        more(folder)
        publish(SourceConfig(kind="imagefolder", location=str(folder)), folder, catalog)

    kind(name, line)(read)


def parquet_kind(name: str, line: str, make: Callable[[Path], object], **options: Any) -> None:
    """Add a folder with Parquet files that `make` writes."""

    def read(folder: Path, catalog: Catalog) -> None:
        make(folder)
        config = SourceConfig(kind="parquet", location=str(folder), **options)
        publish(config, folder, catalog)

    kind(name, line)(read)


def reader_kind(
    name: str, line: str, content: bytes, read_file: Callable[[Path], object], exit_code: int = 2
) -> None:
    """Add a file of some content, which a reader is given."""

    def read(folder: Path, _catalog: Catalog) -> None:
        path = folder / "file"
        path.write_bytes(content)
        read_file(path)

    kind(name, line, exit_code)(read)


SKIP = "mend or remove it, or skip such images with --on-bad-image skip"

# Image folders

kind("a folder that is not there", "--data DIR/none does not exist: give the folder of the images")(
    lambda folder, _: counts_of_source(
        SourceConfig(kind="imagefolder", location=str(folder / "none"))
    )
)
kind(
    "a folder without any image",
    "--data DIR holds no image in class folders: it needs <class>/<image> or train/<class>/<image>",
)(lambda folder, _: counts_of_source(SourceConfig(kind="imagefolder", location=str(folder))))
kind(
    "the home folder of nobody",
    "--data ~nobody-at-all/x cannot be read (Could not determine home directory.)",
)(
    lambda _folder, _: counts_of_source(
        SourceConfig(kind="imagefolder", location="~nobody-at-all/x")
    )
)
kind(
    "a path that is too long",
    "--data /xxx… cannot be read (File name too long)",
)(lambda _folder, _: counts_of_source(SourceConfig(kind="imagefolder", location="/" + "x" * 5000)))
folder_kind(
    "an image outside of a class folder",
    "DIR/1.png lies in no class folder: move it into one",
    {"1.png": png()},
)
folder_kind(
    "an empty class folder",
    "class 'cat' of DIR has no training image: add some or remove the class",
    {},
    lambda folder: (folder / "cat").mkdir(),
)
folder_kind(
    "a class of the test images only",
    "DIR/test/fox/1.png is of class 'fox', which has no training image: "
    "add some or remove the class",
    {"train/cat/1.png": png(), "test/fox/1.png": png()},
    lambda folder: [(folder / name).rename(folder / "train" / name) for name in ("ant", "bee")],
)
folder_kind(
    "a folder beside train/ that is no split",
    "DIR/extra lies beside train/ but is no split: use train, test and validation",
    {"extra/cat/1.png": png()},
    lambda folder: (
        (folder / "train").mkdir()
        or [(folder / name).rename(folder / "train" / name) for name in ("ant", "bee")]
    ),
)
folder_kind(
    "an image of 0 bytes",
    f"DIR/ant/x.png cannot be decoded (it is empty): {SKIP}",
    {"ant/x.png": b""},
)
folder_kind(
    "an image cut short",
    f"DIR/ant/x.png cannot be decoded (…): {SKIP}",
    {"ant/x.png": png(size=(64, 64))[:200]},
)
folder_kind(
    "a text file named .png",
    "DIR/ant/x.png cannot be decoded (it is no BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file): "
    + SKIP,
    {"ant/x.png": b"not an image"},
)
folder_kind(
    "PostScript named .png, which Pillow would hand to Ghostscript",
    "DIR/ant/x.png cannot be decoded (it is no BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file): "
    + SKIP,
    {"ant/x.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"},
)
folder_kind(
    "an image bomb: a few bytes that declare 72 megapixels",
    "DIR/ant/x.png has 9000x8000 pixels, over the limit of 64000000: "
    "scale it down or skip such images with --on-bad-image skip",
    {"ant/x.png": png_header(9000, 8000)},
)
folder_kind(
    "an image bomb: a few bytes that declare gigapixels",
    "DIR/ant/x.png cannot be decoded (Image size (3600000000 pixels) exceeds limit of … pixels, "
    f"could be decompression bomb DOS attack.): {SKIP}",
    {"ant/x.png": png_header(60_000, 60_000)},
)
folder_kind(
    "an image with floating-point pixels",
    "DIR/ant/x.tif has floating-point pixels: convert it to 8 bits",
    {"ant/x.tif": tiff_of_floats()},
)
folder_kind(
    "a pickle named .png",
    f"DIR/ant/x.png cannot be decoded (it is a pickle, which is never loaded): {SKIP}",
    {"ant/x.png": pickled()},
)
folder_kind(
    "an image file of over 256 MiB",
    "DIR/ant/x.png is a file of 300,000,000 bytes, over the limit of 268,435,456: "
    "scale the image down or skip such images with --on-bad-image skip",
    {},
    lambda folder: sparse(folder / "ant" / "x.png", 300_000_000),
)
folder_kind(
    "a link to a folder (a loop, or another folder's images)",
    "DIR/again is a link to a folder, and such links are not followed: "
    "move or copy the folder here",
    {},
    lambda folder: (folder / "again").symlink_to(folder),
)
folder_kind(
    "a link that leads to itself",
    "DIR/ant/x.png cannot be read (Too many levels of symbolic links): mend or remove it",
    {},
    lambda folder: (folder / "ant" / "x.png").symlink_to(folder / "ant" / "x.png"),
)
folder_kind(
    "a link that leads nowhere",
    "DIR/ant/x.png cannot be read (No such file or directory): mend or remove it",
    {},
    lambda folder: (folder / "ant" / "x.png").symlink_to(folder / "gone.png"),
)
folder_kind(
    "a link that leads out of the folder",
    "DIR/ant/x.png is a link that leads out of the folder, and such links are not followed: "
    "copy the file here",
    {},
    lambda folder: (folder / "ant" / "x.png").symlink_to("/etc/passwd"),
)
folder_kind(
    "a pipe among the images, which would never end",
    "DIR/ant/x.png is no regular file (a link to a folder, a pipe or a device): remove it",
    {},
    lambda folder: os.mkfifo(folder / "ant" / "x.png"),
)
folder_kind(
    "a file name that is no UTF-8",
    r"the name of DIR/ant/\udcff.png is no UTF-8: rename it",
    {},
    lambda folder: Path(os.fsdecode(os.fsencode(folder / "ant") + b"/\xff.png")).write_bytes(png()),
)
folder_kind(
    "two class names that differ in their Unicode form only",
    "DIR has two classes 'Käfer' that differ in their Unicode form only "
    r"('Ka\u0308fer' and 'K\xe4fer'): merge or rename them",
    {f"{name}/{n}.png": png() for name in ("Ka\u0308fer", "K\u00e4fer") for n in range(3)},
)
folder_kind(
    "a class name with a line break",
    r"DIR has class 'a\nb', with a control character or text that is no UTF-8 in its name: "
    "rename it",
    {f"a\nb/{n}.png": png() for n in range(3)},
)
folder_kind(
    "a class name of blanks",
    "DIR has a class without a name (' '): name it",
    {f" /{n}.png": png() for n in range(3)},
)

# Parquet


def _table(path_name: str = "train.parquet", **columns: Any) -> Callable[[Path], object]:
    return lambda folder: image_table(folder / path_name, **columns)


NO_TABLE = "write or download it again"
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
    "label column (--label-column) is not clear in DIR: give one of (none fits)",
    _table(label=[0.5, 1.5] * 3),
)
parquet_kind(
    "labels of another type in another file",
    "DIR/train-1.parquet has double in column 'label': it must be whole numbers or text",
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
    "image column (--image-column) is not clear in DIR: give one of (none fits)",
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
    "class 'wasp' of DIR has no training image: add some or remove the class",
    _table(names=["ant", "bee", "wasp"]),
)
parquet_kind(
    "an empty class name",
    "DIR/train.parquet row 0 has a class without a name (''): name it",
    _table(label=["", "a"] * 3),
)
parquet_kind(
    "a very long class name",
    f"DIR/train.parquet row 0 has a class name of 300 characters, {'x' * 40!r}…: use at most 255",
    _table(label=["x" * 300, "a"] * 3),
)
parquet_kind(
    "labels as long as documents",
    "DIR/train.parquet has a label of 5,000 bytes in column 'label': "
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

# Files that say what to plan

reader_kind(
    "counts that are no JSON",
    "counts file DIR/file is not JSON (…)",
    b"cat: 3",
    counts_of_file,
)
reader_kind(
    "counts that are nested too deeply",
    "counts file DIR/file is not JSON (nested too deeply)",
    b"[" * 100_000,
    counts_of_file,
)
reader_kind(
    "counts of one class twice",
    "counts file DIR/file is not JSON ('cat' is there twice in an object)",
    b'{"cat": 3, "cat": 4}',
    counts_of_file,
)
reader_kind(
    "a count that is no number",
    "counts file DIR/file: class 'cat' has 'many', not a number",
    b'{"cat": "many"}',
    counts_of_file,
)
reader_kind(
    "an absurd count",
    "counts file DIR/file: class 'cat' has 1000000000000000000000 images: "
    "give a number from 1 to 9007199254740991",
    b'{"cat": 1000000000000000000000}',
    counts_of_file,
)
kind(
    "a device for a list of names", "class order /dev/zero cannot be read (it is no regular file)"
)(lambda _folder, _: read_names(Path("/dev/zero"), "class order"))
reader_kind(
    "a list of names that is no UTF-8",
    "class order DIR/file cannot be read ('utf-8' codec can't decode byte 0xff in position 0: "
    "invalid start byte)",
    b"\xff\xfe",
    lambda path: read_names(path, "class order"),
)
reader_kind(
    "a list that names a class twice",
    "DIR/file names class 'cat' twice: name each class once",
    b"cat\ndog\ncat\n",
    lambda path: read_names(path, "class order"),
)
reader_kind(
    "a class order with an unknown class",
    "DIR/file names class 'owl', which the data set does not have",
    b"cat\nowl\n",
    lambda path: check_order(read_names(path, "class order") or (), ["cat"], str(path)),
)
reader_kind(
    "a class order that leaves a class out",
    "DIR/file leaves out 1 classes, the first is 'dog': name them all",
    b"cat\n",
    lambda path: check_order(read_names(path, "class order") or (), ["cat", "dog"], str(path)),
)
kind(
    "a chosen class that the source does not have",
    "--only-classes names class 'owl', which the source does not have: it has 10, the first is '0'",
)(lambda _folder, _: counts_of_source(SourceConfig(kind="digits", only_classes=("owl",))))
reader_kind(
    "measured costs that are no list",
    "measured costs DIR/file hold no list: give what `accrete study` wrote",
    b"{}",
    read_measurements,
)

# Weights and checkpoints


def _weights(path: Path, **options: Any) -> None:
    named = {"class_names": ("a", "b"), "model": ModelConfig(name="torchvision:resnet18")}
    read_weights(WeightsRequest(path=path, **named | options))


def _safetensors(content: bytes) -> Read:
    def read(folder: Path, _catalog: Catalog) -> None:
        path = folder / "w.safetensors"
        path.write_bytes(content)
        read_weights(WeightsRequest(path=path))

    return read


def _hashed(content: bytes) -> Read:
    def read(folder: Path, _catalog: Catalog) -> None:
        path = folder / "w.pth"
        path.write_bytes(content)
        _weights(path, sha256=sha256_of_file(path))

    return read


reader_kind(
    "weights in a pickle without its SHA-256",
    "weights DIR/file are a pickle: give the SHA-256 that its publisher names "
    "(--weights-sha256), or a .safetensors file",
    torch_saved(),
    _weights,
)
reader_kind(
    "weights of another SHA-256",
    "weights DIR/file have SHA-256 …, not " + "0" * 64 + ": "
    "they are another file than the one meant; fetch them again",
    torch_saved(),
    lambda path: _weights(path, sha256="0" * 64),
    4,
)
kind(
    "a pickle that would run code, with its SHA-256",
    "weights DIR/w.pth are no torch state file (…)",
)(_hashed(pickled(harmful=True)))
kind(
    "what torch.save wrote, named .safetensors",
    "weights DIR/w.safetensors are no safetensors file (it is a pickle in a zip archive, "
    "as torch.save writes it, which is never loaded)",
)(_safetensors(torch_saved()))
kind(
    "a pickle named .safetensors",
    "weights DIR/w.safetensors are no safetensors file (it is a pickle, which is never loaded)",
)(_safetensors(pickled()))
kind(
    "a numpy array of objects named .safetensors",
    "weights DIR/w.safetensors are no safetensors file (it is a numpy array file, "
    "which may hold a pickle, which is never loaded)",
)(_safetensors(npy()))
kind("weights of 0 bytes", "weights DIR/w.safetensors are no safetensors file (it is empty)")(
    _safetensors(b"")
)
kind(
    "a giant header of tensors",
    "weights DIR/w.safetensors are no safetensors file "
    "(its header is 9,223,372,036,854,775,807 bytes, over 33,554,432)",
)(_safetensors((2**63 - 1).to_bytes(8, "little") + b"{}"))
kind(
    "tensors of an absurd shape",
    "weights DIR/w.safetensors are no safetensors file (…)",
)(_safetensors(export_of({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}})))
kind("weights cut short", "weights DIR/w.safetensors are no safetensors file (…)")(
    _safetensors(exported()[:2000])
)
kind(
    "weights that nest what they say too deeply",
    "weights DIR/w.safetensors are no safetensors file (nested too deeply)",
)(_safetensors(export_of({}, said="[" * 100_000)))
kind(
    "weights of another version",
    "weights DIR/w.safetensors are of another version: export them with this accrete",
)(_safetensors(exported(format=99)))
kind(
    "weights of an absurd number of channels",
    "DIR/w.safetensors: image: number of channels is '1000000000': choose one of 1, 3",
)(
    _safetensors(
        exported(
            image={"height": 8, "width": 8, "channels": 10**9, "preprocessing": "none"},
        )
    )
)
kind(
    "weights that name a class twice",
    "weights DIR/w.safetensors have class 'ant' twice: name each class once",
)(_safetensors(exported(class_names=["ant", "bee", "ant"])))
kind(
    "weights with other outputs than names",
    "weights DIR/w.safetensors have 3 outputs, but 2 classes are named: name one class an output",
    4,
)(_safetensors(exported(class_names=["ant", "bee"])))
reader_kind(
    "a checkpoint that is a pickle",
    "DIR/file is not an accrete checkpoint (it is a pickle in a zip archive, "
    "as torch.save writes it, which is never loaded)",
    torch_saved(),
    load_checkpoint,
    4,
)
reader_kind(
    "a checkpoint that says nothing of itself",
    "DIR/file is not an accrete checkpoint ('accrete')",
    export_of({}),
    load_checkpoint,
    4,
)

# What is stored

DIGEST = "0" * 64


def _dataset_note(change: Callable[[dict[str, Any]], object] | bytes) -> Read:
    def read(_folder: Path, _catalog: Catalog) -> None:
        note = change if isinstance(change, bytes) else dataset_note(change)
        load_dataset(parse_json(note, "manifest.json"), DIGEST, "manifest.json")

    return read


kind(
    "a manifest that is no JSON",
    "manifest.json is not JSON (…): it was changed; delete it and run again",
    4,
)(_dataset_note(b"{"))
kind(
    "a manifest that is no UTF-8",
    "manifest.json is not JSON (not UTF-8 (invalid start byte)): "
    "it was changed; delete it and run again",
    4,
)(_dataset_note(b'{"a": "\xff"}'))
kind(
    "a manifest with half of a surrogate pair",
    "manifest.json is not JSON (not UTF-8 (surrogates not allowed)): "
    "it was changed; delete it and run again",
    4,
)(_dataset_note(b'{"a": "\\ud800"}'))
kind(
    "a manifest with NaN",
    "manifest.json is not JSON (…): it was changed; delete it and run again",
    4,
)(_dataset_note(b'{"a": NaN}'))
kind(
    "a manifest that is nested too deeply",
    "manifest.json is not JSON (nested too deeply): it was changed; delete it and run again",
    4,
)(_dataset_note(b"[" * 100_000 + b"]" * 100_000))
kind(
    "a manifest of millions of empty lists",
    "manifest.json is not JSON (over 4,000,000 values): it was changed; delete it and run again",
    4,
)(_dataset_note(b"[" + b"[]," * 4_000_000 + b"[]]"))
kind(
    "a manifest that was changed",
    "manifest.json has digest …… instead of 000000000000…: "
    "it was changed; delete it and prepare again",
    4,
)(_dataset_note(lambda data: data.update(extends=DIGEST)))
kind(
    "a shard's key that leads out of the cache",
    "manifest.json.classes[0].train[0]: a shard's SHA-256 is '../../../../etc/passwd': "
    "it must be 64 hex digits",
)(
    _dataset_note(
        lambda data: data["classes"][0]["train"][0].update(sha256="../../../../etc/passwd")
    )
)
kind(
    "a shard of absurdly many images",
    "manifest.json.classes[0].train[0]: a shard's number of images is "
    "1000000000000000000: it must lie between 0 and 9007199254740991",
)(_dataset_note(lambda data: data["classes"][0]["train"][0].update(num_images=10**18)))
kind(
    "images of an absurd size",
    "manifest.json.image: image width is 1000000: it must lie between 1 and 64",
)(_dataset_note(lambda data: data["image"].update(height=10**6, width=10**6)))
kind(
    "a deviation of nothing",
    "manifest.json.normalization: standard deviation is 0.0: it must lie between 1e-09 and 1000.0",
)(_dataset_note(lambda data: data["normalization"].update(std=[0, 0, 0])))
kind(
    "a data set that has a class twice",
    "manifest.json: classes have 'ant' twice: name each once",
)(_dataset_note(lambda data: data["classes"].append(data["classes"][0])))
kind(
    "a manifest with an unknown field",
    "manifest.json has an unknown field 'owner'",
)(_dataset_note(lambda data: data.update(owner="me")))
kind(
    "a manifest that lacks a field",
    "manifest.json lacks the field 'split'",
)(_dataset_note(lambda data: data.pop("split")))
kind(
    "a manifest of another version",
    "manifest.json has format 99, this accrete reads 3: use a matching version",
    4,
)(_dataset_note(lambda data: data.update(format=99)))
kind(
    "a stage's manifest that was changed",
    "manifest.json was changed: delete it and run again",
    4,
)(
    lambda _folder, _: load_stage(
        stage_note(lambda data: data["manifest"].update(seed=1)), DIGEST, "manifest.json"
    )
)
kind(
    "a run's record with a path for a name",
    "run.json: run name is '../../etc': use at most 63 of a-z, 0-9 and -, with no - at an end",
)(lambda _folder, _: parse_record(run_record(name="../../etc"), "run.json"))
kind(
    "a run's record with more stages than its plan",
    "run.json: there are 3 stages, but the plan has 2",
)(lambda _folder, _: parse_record(run_record(stages=[DIGEST] * 3), "run.json"))
kind(
    "a step's document of another form",
    "step.json is no step's document (updated_at is missing or wrong): "
    "it was changed; delete it and run again",
    4,
)(lambda _folder, _: parse_document(step_document(updated_at="yesterday"), "step.json"))
kind(
    "a run name with `..`",
    "run name is '../x': use at most 63 of a-z, 0-9 and -, with no - at an end",
)(lambda _folder, catalog: run_states(catalog.store, "../x"))
kind(
    "a data set's digest with `..`",
    "the data set's digest is '../../x': it must be 64 hex digits",
)(lambda _folder, catalog: catalog.dataset("../../x"))
kind(
    "configuration of another type",
    "config.width is 'wide': it must be float",
)(lambda _folder, _: from_json(ModelConfig, {"name": "small", "width": "wide"}, "config"))

# Shards

RAW = ImageFormat(encoding="raw", height=4, width=6, channels=3, preprocessing="none")


def _shard(content: bytes) -> Read:
    def read(folder: Path, _catalog: Catalog) -> None:
        path = folder / "shard"
        path.write_bytes(content)
        ShardReader([path], RAW, num_images=2)

    return read


kind("a shard of 0 bytes", "DIR/shard is not a class shard (…)", 4)(_shard(b""))
kind("a shard cut short", "DIR/shard is not a class shard (…)", 4)(_shard(shard_of()[:-60]))
kind(
    "a shard that is a pickle",
    "DIR/shard is not a class shard (it is a pickle, which is never loaded)",
    4,
)(_shard(pickled()))
kind(
    "a shard that is compressed, which may become any size",
    "DIR/shard is not a class shard (it holds no plain rows)",
    4,
)(_shard(shard_of(compression="zstd")))
kind(
    "a shard with another column",
    "DIR/shard is not a class shard (its columns are image, more, not image alone)",
    4,
)(_shard(shard_of(more=True)))
kind(
    "a shard of other images than its manifest names",
    "DIR/shard holds fixed_size_binary[30], its manifest names 72 bytes",
    4,
)(_shard(shard_of(row_bytes=30)))
kind(
    "a shard of another number of images",
    "the shards hold 5 images, their manifest names 2",
    4,
)(_shard(shard_of(num_rows=5)))

# Images to predict

kind(
    "an image to predict that is not there",
    "DIR/x.png does not exist: give image files or folders of them",
)(lambda folder, _: find_images([folder / "x.png"]))


@kind(
    "a pipe to predict, which would never end",
    "DIR/x.png is no regular file (a pipe or a device): give image files",
)
def _pipe(folder: Path, _catalog: Catalog) -> None:
    os.mkfifo(folder / "x.png")
    find_images([folder / "x.png"])


@kind(
    "a folder to predict without an image",
    "no image in DIR: 1 files, none with an image's suffix",
)
def _no_image(folder: Path, _catalog: Catalog) -> None:
    write(folder / "notes.txt", b"text")
    find_images([folder])
