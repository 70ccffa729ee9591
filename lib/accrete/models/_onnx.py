"""A trained network as an ONNX graph, checked against PyTorch before anyone gets it.

Shape suffixes: N images, C channels, H height, W width, K classes.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accrete.config.image_format import Normalization
from accrete.core.units import format_bytes
from accrete.errors import AccreteError, InputError
from accrete.models.export_preconditions import optional_module
from accrete.models.predictor import TrainedModel
from accrete.training.augmentation import normalize

TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime's and PyTorch's logits, of the largest logit where that
is above 1. Float32 sums in another order differ by about 1e-6."""

_CHECKED_BATCHES = (1, 5)
_MAX_BYTES = 2_000_000_000
"""Protobuf's limit of 2 GiB, less room for the graph."""


class _FromPixels(nn.Module):
    """A network that takes pixels, so that nobody has to know the normalization."""

    mean: Tensor
    """(1, C, 1, 1), 0..255."""
    scale: Tensor
    """(1, C, 1, 1), what one over the deviation is."""

    def __init__(self, network: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.network = network
        mean = torch.tensor(normalization.mean, dtype=torch.float64)
        std = torch.tensor(normalization.std, dtype=torch.float64)
        self.register_buffer("mean", (255 * mean).float().view(1, -1, 1, 1))
        self.register_buffer("scale", (1 / (255 * std)).float().view(1, -1, 1, 1))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return logits (N, K) of uint8 images (N, C, H, W)."""
        logits_NK: Tensor = self.network((images_NCHW.float() - self.mean) * self.scale)
        return logits_NK


def write_onnx(trained: TrainedModel, metadata: Mapping[str, str], path: Path) -> float:
    """Write a network as ONNX; return the largest difference of its logits from PyTorch's.

    The graph takes `images`, uint8 (N, C, H, W) of any N, and gives `logits`, float32 (N, K).

    Args:
        trained: the network, on the CPU.
        metadata: entries for the file's metadata_props.
        path: the file to make.

    Raises:
        AccreteError: the network cannot be exported, or ONNX Runtime computes something else.
    """
    onnx = optional_module("onnx")
    _check_size(trained)
    _export(trained, path)
    model = onnx.load(str(path))
    _forget_where_it_was_made(model)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return checked_difference(trained, path)


def _check_size(trained: TrainedModel) -> None:
    num_bytes = sum(t.numel() * t.element_size() for t in trained.network.state_dict().values())
    if num_bytes > _MAX_BYTES:
        raise InputError(
            f"model {trained.manifest.model.name} has {format_bytes(num_bytes)} of weights, "
            "an ONNX file holds 2 GiB: export it as safetensors"
        )


def _export(trained: TrainedModel, path: Path) -> None:
    image = trained.manifest.image
    example = torch.zeros(2, image.channels, image.height, image.width, dtype=torch.uint8)
    module = _FromPixels(trained.network, trained.manifest.normalization).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's about its own parts
            torch.onnx.export(
                module,
                (example,),
                path,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: "N"},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        detail = str(error).strip().splitlines()[0]
        raise AccreteError(
            f"model {trained.manifest.model.name} cannot be exported to ONNX ({detail}): "
            "export it as safetensors"
        ) from error


def _forget_where_it_was_made(model: Any) -> None:
    """Remove torch's notes for debugging: stack traces with paths of this machine."""
    graph = model.graph
    parts: Iterable[Any] = (
        *(model, graph, *graph.node, *graph.input, *graph.output),
        *(*graph.value_info, *graph.initializer),
    )
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@torch.no_grad()
def checked_difference(trained: TrainedModel, path: Path) -> float:
    """Return the largest difference of a file's logits from those of the network itself.

    Raises:
        AccreteError: it is over the tolerance, or ONNX Runtime cannot compute the file's graph.
    """
    image, name = trained.manifest.image, trained.manifest.model.name
    random = np.random.default_rng(0)
    worst = 0.0
    for size in _CHECKED_BATCHES:
        shape = (size, image.height, image.width, image.channels)
        images_NHWC = random.integers(0, 256, shape, np.uint8)
        normalized = normalize(torch.from_numpy(images_NHWC), trained.manifest.normalization)
        expected_NK = trained.network(normalized).numpy()
        try:
            found_NK = _computed(path, images_NHWC.transpose(0, 3, 1, 2))
            difference = float(np.abs(found_NK - expected_NK).max())
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise AccreteError(
                f"ONNX Runtime cannot compute model {name} for {size} images "
                f"({str(error).splitlines()[0]}): export it as safetensors"
            ) from error
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected_NK).max())):
            raise AccreteError(
                f"model {name} as ONNX differs from PyTorch by {difference:.2g} in the logits of "
                f"{size} images: export it as safetensors"
            )
        worst = max(worst, difference)
    return worst


def _computed(path: Path, images_NCHW: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits (N, K) that ONNX Runtime computes on the CPU."""
    onnxruntime = optional_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong comes as an exception
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    logits_NK: NDArray[np.float32]
    (logits_NK,) = session.run(["logits"], {"images": images_NCHW})
    return logits_NK
