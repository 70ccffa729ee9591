"""How a model does on labelled images: loss, what is taken for what, accuracy over some labels.

Shape suffixes: N images, K classes, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from accrete.config.image_format import Normalization
from accrete.training.device import autocast
from accrete.training.distributed import ALONE, Peers
from accrete.training.image_source import ImageSource
from accrete.training.inference import Inference

BATCH_SIZE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How a model does on some labelled images."""

    confusion: list[list[int]]
    """Images by true label (row) and predicted label (column), num_classes squared."""
    loss: float
    """Mean cross-entropy."""
    right: bytes
    """A byte an image, in the images' order: 1 where it is classified right, else 0."""

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
    images: ImageSource,
    labels_N: Tensor,
    *,
    num_classes: int,
    normalization: Normalization,
    precision: str,
    peers: Peers = ALONE,
) -> Evaluation | None:
    """Classify images in large batches; None where there is no image.

    Args:
        model: on the images' device.
        images: uint8.
        labels_N: int64, 0..num_classes-1.
        num_classes: outputs of the model.
        normalization: the data set's.
        precision: `bf16` or `fp32`, as in training.
        peers: the processes that share the work; all get the result.

    Raises:
        OutOfMemoryError: not a single image fits the device.
    """
    if not images.num_images:
        return None
    model.eval()
    logits_of = Inference(model, normalization)
    device = images.device
    confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    right_N = torch.zeros(images.num_images, dtype=torch.uint8, device=device)
    starts = range(peers.rank * BATCH_SIZE, images.num_images, peers.world_size * BATCH_SIZE)
    picks = [torch.arange(s, min(s + BATCH_SIZE, images.num_images)) for s in starts]
    picks = [indices_B.to(images.index_device) for indices_B in picks]
    for indices_B, images_BHWC in zip(picks, images.batches(picks), strict=True):
        labels_B = labels_N[indices_B.to(labels_N.device)].to(device)
        with autocast(device, precision):
            logits_BK = logits_of(images_BHWC)
        loss_sum += functional.cross_entropy(logits_BK.float(), labels_B, reduction="sum")
        predicted_B = logits_BK.argmax(1)
        right_N[indices_B.to(device)] = (predicted_B == labels_B).to(torch.uint8)
        cells = labels_B * num_classes + predicted_B
        confusion += torch.bincount(cells, minlength=num_classes * num_classes)
    return Evaluation(
        confusion=peers.all_reduce(confusion).view(num_classes, num_classes).tolist(),
        loss=float(peers.all_reduce(loss_sum)) / images.num_images,
        right=peers.all_reduce(right_N).cpu().numpy().tobytes(),
    )
