"""Bad weights and checkpoints."""

from pathlib import Path
from typing import Any

from bad_files import (
    export_of,
    exported,
    npy,
    pickled,
    torch_saved,
)
from bad_kinds import Read, kind, reader_kind

from accrete.catalog.catalog import Catalog
from accrete.config.run import ModelConfig
from accrete.core.hashing import sha256_of_file
from accrete.models.backbone import BackboneRequest, read_backbone
from accrete.models.checkpoint import load_checkpoint
from accrete.models.pretrained import WeightsRequest, read_weights


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
    "weights DIR/w.pth hold more than tensors, or are damaged: a whole model may run code …",
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


def _trunk(content: bytes) -> Read:
    def read(folder: Path, _catalog: Catalog) -> None:
        path = folder / "w.safetensors"
        path.write_bytes(content)
        model = ModelConfig(name="torchvision:resnet18")
        read_backbone(BackboneRequest(path=path, model=model))

    return read


kind(
    "a trained trunk of another network",
    "weights DIR/w.safetensors do not fit torchvision:resnet18: they lack 'conv1.weight', and have "
    "'a', which it has not: are they of another network, or named as another program does?",
    4,
)(_trunk(export_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})))
kind(
    "an exported trunk of another width than it says",
    "weights DIR/w.safetensors do not fit small: '0.weight' is float32 (1, 3, 3, 3) instead of "
    "float32 (2, 3, 3, 3): are they of another network?",
    4,
)(_trunk(exported(model={"name": "small", "width": 0.1})))
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
