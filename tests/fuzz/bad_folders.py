"""Bad image folders, and bad images to predict."""

import os
import shutil
from pathlib import Path

from bad_files import (
    pickled,
    png,
    png_header,
    sparse,
    tiff,
    write,
)
from bad_kinds import (
    EMPTY,
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
    "--data DIR holds no image: it is empty; it needs <class>/<image> or train/<class>/<image>",
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
    "DIR/1.png lies in no class folder: move it into one, or leave it out with --exclude '1.png'",
    {"1.png": png()},
)
folder_kind(
    "an empty class folder",
    f"class 'cat' of DIR has no training image: {EMPTY}",
    {},
    lambda folder: (folder / "cat").mkdir(),
)
folder_kind(
    "a class of the test images only",
    f"class 'fox' of DIR has images to test on but no training image: {EMPTY}",
    {"train/cat/1.png": png(), "test/fox/1.png": png()},
    lambda folder: [(folder / name).rename(folder / "train" / name) for name in ("ant", "bee")],
)
folder_kind(
    "a folder beside train/ that is no split",
    "DIR/extra lies beside train/ but is no split: leave it out with --exclude 'extra', rename it, "
    "or say --class-level 1 if all of these are classes",
    {"extra/cat/1.png": png()},
    lambda folder: (
        (folder / "train").mkdir()
        or [(folder / name).rename(folder / "train" / name) for name in ("ant", "bee")]
    ),
)
folder_kind(
    "folders that could be classes at two levels",
    "DIR can be read in two ways: 2 classes (animal, thing) by the first folder (--class-level 1), "
    "or 3 classes (car, cat, dog) by the deepest (--class-level 2): say which",
    {f"{name}/1.png": png() for name in ("animal/cat", "animal/dog", "thing/car")},
    lambda folder: [shutil.rmtree(folder / name) for name in ("ant", "bee")],
)
folder_kind(
    "images in no class folders",
    "DIR has images in test1/ and train/, in no class folders (cat.0.jpg): move each into a folder "
    "named as its class, or give --label-pattern '^(.+?)[-_. ]*[0-9]+[.]' if the class is in the "
    "name, as in cat.0.jpg; --source csv with a table of their names and labels beside",
    {
        **{f"train/{name}.{n}.jpg": png() for name in ("cat", "dog") for n in range(4)},
        "test1/1.jpg": png(),
    },
    lambda folder: [shutil.rmtree(folder / name) for name in ("ant", "bee")],
)
folder_kind(
    "two class names that differ in blanks only",
    "DIR has classes ' owl' and 'owl', which differ in blanks at their ends only: "
    "merge or rename them",
    {f"{name}/{n}.png": png() for name in (" owl", "owl") for n in range(3)},
)
folder_kind(
    "an image cut short",
    f"DIR/ant/x.png cannot be decoded (…): {SKIP}",
    {"ant/x.png": png(size=(64, 64))[:200]},
)
folder_kind(
    "a text file named .png",
    f"DIR/ant/x.png cannot be decoded (it is text): {SKIP}",
    {"ant/x.png": b"not an image"},
)
folder_kind(
    "a page that a server sent in place of an image",
    "DIR/ant/x.jpg cannot be decoded (it is an HTML page, as servers send in place of a file that "
    f"is not there): {SKIP}",
    {"ant/x.jpg": b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>"},
)
folder_kind(
    "a Git LFS pointer in place of an image",
    "DIR/ant/x.jpg cannot be decoded (it is a Git LFS pointer, not the file itself; "
    f"run git lfs pull): {SKIP}",
    {"ant/x.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"},
)
folder_kind(
    "bytes of no kind that is known, named .png",
    "DIR/ant/x.png cannot be decoded (it is no BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file): "
    + SKIP,
    {"ant/x.png": bytes(range(200, 256))},
)
folder_kind(
    "PostScript named .png, which Pillow would hand to Ghostscript",
    f"DIR/ant/x.png cannot be decoded (it is a PostScript drawing): {SKIP}",
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
    "DIR/ant/x.tif has floating-point pixels of 0 to 300, of which only 0 to 1 has a known range: "
    "scale them to it, or convert it to 8 bits",
    {"ant/x.tif": tiff("F", 300)},
)
folder_kind(
    "an image with negative pixels",
    "DIR/ant/x.tif has pixels of -40 to 0, of which only 0 to 65535 has a known range: "
    "convert it to 8 or 16 bits",
    {"ant/x.tif": tiff("I", -40)},
)
folder_kind(
    "an image with floating-point pixels that would all be black",
    "DIR/ant/x.tif has floating-point pixels of 0 to 1e-06, where 1 is white: all would be black; "
    "scale them to 0 to 1, or convert it to 8 bits",
    {"ant/x.tif": tiff("F", 1e-6)},
)
folder_kind(
    "an image with floating-point pixels that are no numbers",
    "DIR/ant/x.tif has floating-point pixels that are no numbers (NaN): replace them, or convert "
    "it to 8 bits",
    {"ant/x.tif": tiff("F", float("nan"))},
)
folder_kind(
    "an image with signed pixels of 8 bits",
    "DIR/ant/x.tif has signed pixels of 8 bits, which are not decoded: convert it to unsigned "
    "pixels of 8 bits",
    {"ant/x.tif": tiff("L", 200, sample_format=2)},
)
folder_kind(
    "a TIFF of a kind that is not decoded",
    "DIR/ant/x.tif cannot be decoded (it is a TIFF file of 1 band of 8 floating-point bits, a kind "
    f"that is not decoded, or it is damaged): {SKIP}",
    {"ant/x.tif": tiff("L", 200, sample_format=3)},
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
    "a link to a folder that is read already (a loop, or images twice)",
    "DIR/again leads to the folder itself, whose files are read already: remove the link",
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
    "a link to a file that is no image",
    f"DIR/ant/x.png cannot be decoded (it is text): {SKIP}",
    {},
    lambda folder: (folder / "ant" / "x.png").symlink_to("/etc/passwd"),
)
folder_kind(
    "a pipe among the images, which would never end",
    "DIR/ant/x.png is no regular file (a pipe or a device): remove it",
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
    "no image in DIR: 1 file, left out (.txt ×1)",
)
def _no_image(folder: Path, _catalog: Catalog) -> None:
    write(folder / "notes.txt", b"text")
    find_images([folder])
