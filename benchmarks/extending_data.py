"""A short life's images: some classes of CIFAR-100, some images of each, others to choose on."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from accrete.config.classes import seeded_order
from accrete.config.image_format import Normalization
from accrete.config.run import SourceConfig
from accrete.data.images import decode_image, resize_crop
from accrete.data.sources.opening import open_source
from accrete.training.evaluation import evaluate
from accrete.training.image_source import ResidentImages

NORMALIZATION = Normalization(mean=(0.507, 0.487, 0.441), std=(0.267, 0.256, 0.276))
"""CIFAR-100's."""

_NUM_CLASSES = 40

_HELD_BACK = 100
"""Images of each class to choose on."""


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled images, in label order."""

    images_NHWC: Tensor
    """uint8."""
    labels_N: Tensor
    """int64."""

    def up_to(self, num_classes: int) -> "Part":
        """Return those of the first classes."""
        end = int((self.labels_N < num_classes).sum())
        return Part(self.images_NHWC[:end], self.labels_N[:end])

    @property
    def source(self) -> ResidentImages:
        """As training takes them."""
        return ResidentImages(self.images_NHWC)


@dataclass(frozen=True, slots=True)
class Life:
    """What arrives, class by class."""

    train: Part
    """To train on."""
    held_back: Part
    """To choose on."""

    def top1(self, model: nn.Module, num_classes: int) -> float:
        """Return a model's accuracy on the first classes' held back images."""
        part = self.held_back.up_to(num_classes)
        found = evaluate(
            model,
            part.source,
            part.labels_N,
            num_classes=num_classes,
            normalization=NORMALIZATION,
            precision="bf16",
        )
        top1 = found.top1(0, num_classes) if found else None
        assert top1 is not None
        return top1


def life_of(source: SourceConfig, seed: int, *, per_class: int, side: int) -> Life:
    """Return the images of a seed's first 40 classes.

    Args:
        source: CIFAR-100; its training images alone are read.
        seed: of the order of its classes.
        per_class: training images of each class.
        side: px that images are scaled to.
    """
    opened = open_source(source)
    labels = {
        name: label for label, name in enumerate(seeded_order(opened.counts()["train"], seed))
    }
    of_label: list[list[np.ndarray]] = [[] for _ in range(_NUM_CLASSES)]
    for item in opened.items():
        label = labels[item.class_name]
        wanted = label < _NUM_CLASSES and item.split == "train"
        if wanted and len(of_label[label]) < per_class + _HELD_BACK:
            data = item.load()
            assert isinstance(data, bytes)
            of_label[label].append(resize_crop(decode_image(data, item.place), side, side))
    return Life(
        train=_part([images[_HELD_BACK:] for images in of_label]),
        held_back=_part([images[:_HELD_BACK] for images in of_label]),
    )


def _part(of_label: list[list[np.ndarray]]) -> Part:
    counts = torch.tensor([len(images) for images in of_label])
    images = np.stack([image for images in of_label for image in images])
    return Part(
        torch.from_numpy(images), torch.repeat_interleave(torch.arange(len(counts)), counts)
    )
