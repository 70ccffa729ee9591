"""Bad image folders, and bad images to predict."""

import os
from pathlib import Path

from bad_files import (
    pickled,
    png,
    png_header,
    sparse,
    tiff_of_floats,
    write,
)
from bad_kinds import (
    SKIP,
    folder_kind,
    kind,
)

from accrete.catalog.catalog import Catalog
from accrete.config.run import SourceConfig
from accrete.data.counts import counts_of_source
from accrete.models.image_files import find_images

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
    r"the name of DIR/ant/\xff.png is no UTF-8: rename it",
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
