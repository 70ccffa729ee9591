"""Evaluation counts right, whatever lies where, and changes nothing."""

import copy
import math

import pytest
import torch
from batch_sample import ArrayReader
from torch import Tensor, nn
from training_sample import (
    NORMALIZATION,
    NUM_CLASSES,
    make_data,
    make_linear_model,
    make_model,
    same_weights,
)

from accrete.training.evaluation import BATCH_SIZE, Evaluation, evaluate
from accrete.training.image_source import ImageSource, ResidentImages, StreamedImages

pytestmark = pytest.mark.usefixtures("one_thread")


def evaluated(
    model: nn.Module, images: Tensor | ImageSource, labels_N: Tensor, precision_name: str = "fp32"
) -> Evaluation | None:
    """Return how a model does on some images."""
    return evaluate(
        model,
        ResidentImages(images) if isinstance(images, Tensor) else images,
        labels_N,
        num_classes=NUM_CLASSES,
        normalization=NORMALIZATION,
        precision=precision_name,
    )


def plain_counts(
    model: nn.Module, images_NHWC: Tensor, labels_N: Tensor
) -> tuple[list[list[int]], float]:
    """Return confusion matrix and mean loss, one image at a time in double precision."""
    double = copy.deepcopy(model).double().eval()
    confusion = [[0] * NUM_CLASSES for _ in range(NUM_CLASSES)]
    loss = 0.0
    with torch.no_grad():
        for image, label in zip(images_NHWC, labels_N.tolist(), strict=True):
            pixels = (image.permute(2, 0, 1)[None].double() / 255 - 0.5) / 0.25
            shares = double(pixels)[0].softmax(0).tolist()
            confusion[label][shares.index(max(shares))] += 1
            loss -= math.log(shares[label])
    return confusion, loss / len(labels_N)


def right_ones(model: nn.Module, images_NHWC: Tensor, labels_N: Tensor) -> list[int]:
    """Return whether each image is classified right, evaluated as if it were the only one."""
    found = []
    for image, label in zip(images_NHWC, labels_N, strict=True):
        confusion, _ = plain_counts(model, image[None], label[None])
        found.append(confusion[label][label])
    return found


@pytest.mark.parametrize("num_images", [1, 150, BATCH_SIZE, BATCH_SIZE + 77])
def test_evaluation_agrees_with_a_plain_loop(num_images: int) -> None:
    model = make_linear_model()
    images_NHWC, labels_N = make_data(num_images)
    confusion, loss = plain_counts(model, images_NHWC, labels_N)
    result = evaluated(model, images_NHWC, labels_N)
    assert result is not None
    assert result.confusion == confusion
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert result.num_images == num_images
    right = sum(confusion[label][label] for label in range(NUM_CLASSES))
    assert result.top1(0, NUM_CLASSES) == right / num_images
    assert list(result.right) == right_ones(model, images_NHWC, labels_N)


def test_evaluation_of_streamed_images_is_that_of_resident_ones() -> None:
    images_NHWC, labels_N = make_data(BATCH_SIZE + 77)
    reader = ArrayReader(images_NHWC.numpy())
    streamed = StreamedImages(reader, num_workers=1, device=torch.device("cpu"))
    model = make_model()
    assert evaluated(model, streamed, labels_N) == evaluated(model, images_NHWC, labels_N)


def test_evaluation_has_the_precision_that_is_asked_for() -> None:
    images_NHWC, labels_N = make_data(150)
    full, half = (evaluated(make_model(), images_NHWC, labels_N, name) for name in ("fp32", "bf16"))
    assert full is not None
    assert half is not None
    assert half.loss != full.loss
    assert half.loss == pytest.approx(full.loss, rel=0.01)


def test_evaluation_counts_classes_without_images() -> None:
    images_NHWC, labels_N = make_data(30)
    some = labels_N == 2
    result = evaluated(make_model(), images_NHWC[some], labels_N[some], "bf16")
    assert result is not None
    assert [sum(row) for row in result.confusion] == [0, 0, 7, 0]
    assert result.top1(0, 2) is None
    assert result.top1(2, 4) == result.top1(0, 4)


def test_top1_of_old_and_new_classes_counts_their_rows_alone() -> None:
    evaluation = Evaluation(confusion=[[3, 1, 0], [0, 2, 2], [5, 0, 0]], loss=0.0, right=b"")
    assert evaluation.num_images == 13
    assert evaluation.top1(0, 2) == 5 / 8
    assert evaluation.top1(2, 3) == 0
    assert evaluation.top1(0, 3) == 5 / 13
    assert evaluation.top1(1, 1) is None


def test_evaluation_changes_nothing_in_the_model() -> None:
    model = make_model().train()
    before = copy.deepcopy(model)
    evaluated(model, *make_data(200))
    assert same_weights(model, before)


def test_evaluation_of_no_image_is_none() -> None:
    no_image = torch.empty(0, 8, 8, 1, dtype=torch.uint8)
    assert evaluated(make_model(), no_image, torch.empty(0, dtype=torch.int64)) is None
