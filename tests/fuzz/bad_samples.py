"""Bad tar shards, and bad files in MNIST's format."""

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from bad_files import pickled, png, write
from bad_kinds import kind, publish
from numpy.typing import NDArray

from accrete.catalog.catalog import Catalog
from accrete.config.run import SourceConfig

AGAIN = "write or download it again"
Members = list[tuple[str, bytes]]


def samples(*labels: object) -> Members:
    """Return members of samples with these labels."""
    members: Members = []
    for number, label in enumerate(labels):
        members += [(f"{number}.png", png()), (f"{number}.cls", str(label).encode())]
    return members


GOOD = samples(*[0, 1] * 5)


def tar_of(members: Members) -> bytes:
    """Return an archive of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _header(size: bytes, type_flag: bytes = b"0") -> bytes:
    """Return a header whose size may be absurd, and the end of an archive."""
    header = bytearray(tarfile.TarInfo("0.png").tobuf()[:512])
    header[124:136], header[156:157] = size, type_flag
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def _with_link(kind: bytes) -> bytes:
    """Return an archive whose last sample's image is a link."""
    link = tarfile.TarInfo("a.png")
    link.type, link.linkname = kind, "../photos/1.png"
    data = tar_of([*GOOD, ("a.cls", b"0")]).rstrip(b"\0")
    return data + b"\0" * (-len(data) % 512) + link.tobuf() + bytes(1024)


def _sparse() -> bytes:
    return _header(b"00000000000\0", b"S")


def archive_kind(
    name: str, line: str, content: bytes | Members, file_name: str = "x.tar", **options: Any
) -> None:
    """Add a folder with one shard."""

    def read(folder: Path, catalog: Catalog) -> None:
        data = content if isinstance(content, bytes) else tar_of(content)
        write(folder / file_name, data)
        config = SourceConfig(kind="webdataset", location=str(folder), **options)
        publish(config, folder, catalog)

    kind(name, line)(read)


def idx_kind(name: str, line: str, images: bytes, labels: bytes) -> None:
    """Add a folder with a file of images and one of labels."""

    def read(folder: Path, catalog: Catalog) -> None:
        write(folder / "train-images-idx3-ubyte", images)
        write(folder / "train-labels-idx1-ubyte", labels)
        publish(SourceConfig(kind="idx", location=str(folder)), folder, catalog)

    kind(name, line)(read)


def idx_of(values: NDArray[Any], element: int = 8) -> bytes:
    """Return an array in MNIST's format."""
    sizes = np.array(values.shape, ">u4").tobytes()
    return bytes((0, 0, element, values.ndim)) + sizes + values.astype(np.uint8).tobytes()


archive_kind(
    "a folder without shards",
    "--data DIR holds no shard: it needs .tar, .tar.gz or .tgz files of images and labels",
    GOOD,
    "x.tar.zst",
)
archive_kind(
    "a text file named .tar", f"DIR/x.tar is no whole tar archive (…): {AGAIN}", b"x" * 999
)
archive_kind(
    "a pickle named .tar",
    f"DIR/x.tar is no whole tar archive (it is a pickle, which is never loaded): {AGAIN}",
    pickled(),
)
archive_kind(
    "a tar shard cut short",
    f"DIR/x.tar is no whole tar archive (unexpected end of data): {AGAIN}",
    tar_of(GOOD)[:-11500],
)
archive_kind(
    "a shard that was not closed",
    "DIR/x.tar ends at byte 20,480 without the zeros that end a tar archive: it is cut "
    "short, or was "
    f"not closed; {AGAIN}",
    tar_of(GOOD)[:20480],
)
archive_kind(
    "a packed shard cut short",
    f"DIR/x.tar.gz is no whole tar archive (Compressed file ended …): {AGAIN}",
    gzip.compress(tar_of(GOOD))[:-20],
    "x.tar.gz",
)
archive_kind(
    "a shard with a damaged header",
    f"DIR/x.tar has a damaged header at byte 2,048: {AGAIN}",
    tar_of(GOOD)[:2048] + b"?" * 512 + tar_of(GOOD)[2560:],
)
archive_kind(
    "two shards joined to one",
    "DIR/x.tar has more after its end at byte …, as two joined archives have: write them as "
    "two files",
    tar_of(GOOD) * 2,
)
archive_kind(
    "a shard whose file has a size below zero, which would be read for ever",
    f"DIR/x.tar has a file of -… bytes at byte 0: it is damaged; {AGAIN}",
    _header(b"\xff" * 12),
)
archive_kind(
    "a shard that declares a header of gigabytes",
    f"DIR/x.tar is no whole tar archive (a file's header is over 65,536 bytes): {AGAIN}",
    _header(b"77777777777\0", b"x"),
)
archive_kind(
    "a sparse file in a shard",
    "DIR/x.tar has '0.png' as a sparse file: write it again without --sparse",
    _sparse(),
)
archive_kind(
    "a sample without a label",
    "DIR/x.tar sample 'a' has no label: there is no .cls, as other samples have, but .png; "
    "add it or "
    "remove the sample",
    [*GOOD, ("a.png", png())],
)
archive_kind(
    "a sample without an image",
    "DIR/x.tar sample 'a' has no image, it has .cls: add one, remove the sample, or say with "
    "--image-column which extension images have",
    [*GOOD, ("a.cls", b"0")],
)
archive_kind(
    "a sample with two images",
    "DIR/x.tar sample 'a' has several images: choose one of .png, .mask.png with --image-column",
    [*GOOD, ("a.png", png()), ("a.mask.png", png()), ("a.cls", b"0")],
)
archive_kind(
    "a sample that is there twice",
    "DIR/x.tar sample '9' has 'png' twice: write each sample once, under a key of its own",
    [*GOOD, ("9.png", png())],
)
archive_kind(
    "a sample whose members are apart",
    "DIR/x.tar has sample '0' twice, with others between: the members of a sample follow "
    "each other, "
    "as tar --sort=name writes them; write the shard again",
    [*GOOD, ("0.json", b"{}")],
)
archive_kind(
    "images and labels in folders of their own in a shard",
    "DIR/x.tar sample 'images/0' is not whole, it has .png, and 'labels/0.txt' is not beside it: "
    "the members of a sample share the path up to the first dot of the name and follow each "
    "other; put them into one folder and write the shard with tar --sort=name",
    [("images/0.png", png()), ("images/1.png", png()), ("labels/0.txt", b"cat")],
)
archive_kind(
    "a shard whose image is a symbolic link",
    "DIR/x.tar sample 'a' has no image: its .png is a link, without content; write the shard "
    "again with what it leads to, as tar --dereference does",
    _with_link(tarfile.SYMTYPE),
)
archive_kind(
    "a shard whose image is a hard link to a file that is not in it",
    "DIR/x.tar has 'a.png' as a hard link to '../photos/1.png', and no such file before it: "
    "write the shard again",
    _with_link(tarfile.LNKTYPE),
)
archive_kind(
    "a Git LFS pointer named .tar",
    "DIR/x.tar is no whole tar archive (it is a Git LFS pointer, not the file itself; run git lfs "
    f"pull): {AGAIN}",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
)
archive_kind(
    "captions for labels in a shard",
    "DIR: label .txt has 20 classes in 20 samples ('caption 0', 'caption 1' and 18 more), so it "
    "is no label: choose another one with --label-column",
    [
        member
        for number in range(20)
        for member in (
            (f"{number}.png", png()),
            (f"{number}.txt", f"caption {number}".encode()),
        )
    ],
)
archive_kind(
    "a label that is a pickle",
    "DIR/x.tar sample '0' .cls is a pickle, which is never loaded: write the class as text",
    [("0.png", png()), ("0.cls", pickled())],
)
archive_kind(
    "a label column that a shard does not have",
    "--label-column is 'kind', but DIR/x.tar sample '0' has .png, .cls",
    GOOD,
    label_column="kind",
)
archive_kind(
    "a negative label in a shard",
    "DIR/x.tar sample '1' has label -1: it must be 0 or more",
    samples(0, -1),
)
archive_kind(
    "an image in a shard that is none",
    "DIR/x.tar/a.png cannot be decoded (it is text): mend or remove it, "
    "or skip such images with --on-bad-image skip",
    [*GOOD, ("a.png", b"text"), ("a.cls", b"0")],
)

IMAGES, LABELS = idx_of(np.zeros((10, 3, 3))), idx_of(np.arange(10) % 2)
PLACE = "DIR/train-images-idx3-ubyte"

idx_kind(
    "an idx file that is none",
    f"{PLACE} is no idx file (it begins with b'\\x01\\x02\\x03\\x04'): write or download it again, "
    "or leave it out with --exclude",
    b"\1\2\3\4",
    LABELS,
)
idx_kind(
    "a Git LFS pointer in place of an idx file",
    f"{PLACE} is no idx file (it is a Git LFS pointer, not the file itself; run git lfs pull): "
    "write or download it again, or leave it out with --exclude",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    LABELS,
)
idx_kind(
    "an idx file that is a pickle",
    f"{PLACE} is no idx file (it is a pickle, which is never loaded): write or download it "
    "again, or "
    "leave it out with --exclude",
    pickled(),
    LABELS,
)
idx_kind(
    "an idx file cut short",
    f"{PLACE} has 105 bytes, for its sizes 10×3×3 it must have 106: it is cut short or "
    f"damaged; {AGAIN}",
    IMAGES[:-1],
    LABELS,
)
idx_kind(
    "an idx file that declares exabytes, packed",
    f"{PLACE} has at most … bytes unpacked, for its sizes 4294967295×4294967295×4294967295 it "
    "must have "
    f"79,228,162,458,924,105,385,300,197,391: it is cut short or damaged; {AGAIN}",
    gzip.compress(bytes((0, 0, 8, 3)) + b"\xff" * 12),
    LABELS,
)
idx_kind(
    "an idx file with more behind its images, packed",
    f"{PLACE} has over 1,048,576 bytes unpacked, for its sizes 10×3×3 it must have 106: it is "
    "cut short "
    f"or damaged; {AGAIN}",
    gzip.compress(IMAGES + bytes(9 << 20)),
    LABELS,
)
idx_kind(
    "an idx file of floating-point numbers",
    f"{PLACE} has floating-point numbers: only unsigned bytes (type 0x08) are read",
    idx_of(np.zeros((10, 3, 3)), 0x0D),
    LABELS,
)
idx_kind(
    "other labels than images in MNIST's format",
    "DIR/train-labels-idx1-ubyte has 9 labels for 10 images: the two files are not of one "
    "set; write "
    "or download both again",
    IMAGES,
    idx_of(np.zeros(9)),
)
