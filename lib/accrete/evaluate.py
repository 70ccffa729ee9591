"""Accuracy over all seen classes, over old and new ones, per class, and what is confused.

Shape suffixes: N images, K classes, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from accrete.batches import normalize
from accrete.manifests import Normalization
from accrete.train import precision

BATCH_SIZE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How a model does on some labelled images."""

    confusion: list[list[int]]
    """Images by true label (row) and predicted label (column), num_classes squared."""
    loss: float
    """Mean cross-entropy."""

    @property
    def num_images(self) -> int:
        """Images evaluated."""
        return sum(map(sum, self.confusion))

    def top1(self, first: int, end: int) -> float | None:
        """Return the share of images of labels first..end-1 that are classified right."""
        total = sum(sum(row) for row in self.confusion[first:end])
        right = sum(self.confusion[label][label] for label in range(first, end))
        return right / total if total else None


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images_NHWC: Tensor,
    labels_N: Tensor,
    *,
    num_classes: int,
    normalization: Normalization,
    precision_name: str,
) -> Evaluation | None:
    """Classify images in large batches; None where there is no image.

    Args:
        model: on the images' device.
        images_NHWC: uint8.
        labels_N: int64, 0..num_classes-1.
        num_classes: outputs of the model.
        normalization: the data set's.
        precision_name: `bf16` or `fp32`, as in training.
    """
    if not len(images_NHWC):
        return None
    model.eval()
    confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=labels_N.device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=labels_N.device)
    for start in range(0, len(images_NHWC), BATCH_SIZE):
        images_NCHW = images_NHWC[start : start + BATCH_SIZE].permute(0, 3, 1, 2)
        labels = labels_N[start : start + BATCH_SIZE]
        with precision(labels.device, precision_name):
            logits_NK = model(normalize(images_NCHW, normalization))
        loss_sum += functional.cross_entropy(logits_NK.float(), labels, reduction="sum")
        cells = labels * num_classes + logits_NK.argmax(1)
        confusion += torch.bincount(cells, minlength=num_classes * num_classes)
    return Evaluation(
        confusion=confusion.view(num_classes, num_classes).tolist(),
        loss=float(loss_sum) / len(images_NHWC),
    )
