"""A trained network as one file that is of use without accrete."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from accrete import __version__
from accrete.catalog.manifests import StageManifest
from accrete.core.hashing import canonical_json
from accrete.core.serialization import to_json
from accrete.errors import AccreteError
from accrete.models._onnx import write_onnx
from accrete.models.predictor import TrainedModel

EXPORT_FORMAT = 1
"""Version of the metadata; it counts up when a field changes its meaning, not when one is added."""
METADATA_KEY = "accrete"
"""Name of the one metadata entry, in both formats."""


_PIXELS = {
    "layout": "NCHW",
    "range": [0, 255],
    "upright": "EXIF",
    "background": "white",
    "resize": "cover",
    "interpolation": "bilinear",
    "antialias": True,
    "crop": "center",
}
"""How an image file becomes what a network takes, whoever does it; `data/images.py` is ours."""

_INPUTS = {
    "onnx": {"name": "images", "dtype": "uint8", "normalized": False, "output": "logits"},
    "safetensors": {"dtype": "float32", "normalized": True},
}


def export_metadata(manifest: StageManifest, format_name: str, run: str | None) -> dict[str, Any]:
    """Return all that using a network takes, beside its weights, as JSON values.

    Args:
        manifest: the stage.
        format_name: `safetensors` or `onnx`.
        run: name of the run that it was found by; None: it was named by its digest.
    """
    image = to_json(manifest.image)
    del image["encoding"]  # of the training images in the store
    return {
        "format": EXPORT_FORMAT,
        "accrete_version": __version__,
        "run": run,
        "stage": {"digest": manifest.digest, "index": manifest.index},
        "class_names": list(manifest.class_names),
        "image": image,
        "pixels": {"channels": "L" if manifest.image.channels == 1 else "RGB", **_PIXELS},
        "input": _INPUTS[format_name],
        "normalization": to_json(manifest.normalization),
        "model": to_json(manifest.model.architecture),
    }


def export_model(
    trained: TrainedModel, output: Path, format_name: str, run: str | None = None
) -> str:
    """Write a network to a file, whole or not at all; return what came of it in one line.

    Args:
        trained: the network.
        output: the file; one that is there is replaced.
        format_name: `safetensors` or `onnx`.
        run: name of the run that it was found by, for the metadata.

    Raises:
        AccreteError: the file cannot be written, or ONNX Runtime computes something else.
    """
    about = export_metadata(trained.manifest, format_name, run)
    metadata = {METADATA_KEY: canonical_json(about).decode()}
    with _made_beside(output) as path:
        if format_name == "onnx":
            difference = write_onnx(trained, metadata, path)
            remark = f"; ONNX Runtime's logits are within {difference:.0e} of PyTorch's"
        else:
            # One entry only: safetensors writes several in an order that changes by process.
            save_file(_weights(trained), path, metadata=metadata)
            remark = ""
    manifest = trained.manifest
    return (
        f"{output}: {manifest.model.name}, {len(manifest.class_names)} classes, "
        f"stage {manifest.index} ({manifest.digest[:12]}), "
        f"{output.stat().st_size / 1e6:,.1f} MB{remark}"
    )


def _weights(trained: TrainedModel) -> dict[str, Any]:
    state = trained.network.state_dict()
    return {name: tensor.detach().contiguous() for name, tensor in state.items()}


@contextmanager
def _made_beside(output: Path) -> Iterator[Path]:
    """Give a path to write to; its file takes the output's place, or nothing is left."""
    try:
        with TemporaryDirectory(dir=output.parent, prefix=".accrete-") as folder:
            path = Path(folder) / output.name
            path.touch()
            mode = path.stat().st_mode  # as the user's umask has it; safetensors has its own idea
            yield path
            path.chmod(mode)
            path.replace(output)
    except (OSError, SafetensorError) as error:
        detail = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise AccreteError(f"output {output} cannot be written ({detail})") from error
