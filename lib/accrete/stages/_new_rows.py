"""The head's rows of a stage's new classes, from what the trunk makes of their images."""

import torch
from torch import Tensor

from accrete.config.image_format import Normalization
from accrete.models.head_rows import set_rows_by_means
from accrete.models.networks import Classifier
from accrete.stages.inputs import Split
from accrete.training.image_source import ImageSource
from accrete.training.inference import Inference

_NEW_IMAGES = 100
"""Images of each new class that are looked at; of an old one a tenth."""

_AT_ONCE = 250


@torch.no_grad()
def set_new_rows(
    model: Classifier, split: Split, num_old_classes: int, normalization: Normalization
) -> None:
    """Set the head's rows of the new classes by the mean features of some of their images.

    Args:
        model: on the images' device; in training mode again afterwards.
        split: training images of all classes.
        num_old_classes: rows that stay as they are.
        normalization: of the data set.

    Raises:
        OutOfMemoryError: not a single image fits the device.
    """
    labels_N, num_classes = split.labels_N, model.head.out_features
    model.eval()
    features_of = Inference(model.trunk, normalization)
    means = []
    for label in range(num_classes):
        most = _NEW_IMAGES if label >= num_old_classes else _NEW_IMAGES // 10
        indices = (labels_N == label).nonzero().flatten()[:most]
        if len(indices):
            means.append((label, _mean_features(features_of, split.images, indices)))
    model.train()
    mean_F = torch.stack([mean for _, mean in means]).mean(0)
    new = [mean for label, mean in means if label >= num_old_classes]
    if len(new) == num_classes - num_old_classes:
        set_rows_by_means(model.head, torch.stack(new), mean_F)


def _mean_features(features_of: Inference, images: ImageSource, indices_N: Tensor) -> Tensor:
    picks = [part.to(images.index_device) for part in torch.split(indices_N, _AT_ONCE)]
    features = [features_of(images_BHWC).float() for images_BHWC in images.batches(picks)]
    return torch.cat(features).mean(0)
