"""Which networks there are and what they take: what is said of them, held against torchvision."""

from typing import Any

import pytest

from accrete.config.known_networks import (
    EXACT_SIDES,
    SMALLEST_SIDES,
    TORCHVISION,
    WITHOUT_LINEAR,
    check_image_sides,
    check_image_size,
    check_network,
    check_size_of_images,
    fits,
)
from accrete.errors import ConfigError

QUICK = ("alexnet", "googlenet", "resnet18", "vit_b_32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nonsense",
            "model is 'torchvision:nonsense', which torchvision does not have: choose one",
        ),
        ("ResNet18", "did you mean torchvision:resnet18 or"),
        ("vit_b16", "did you mean torchvision:vit_b_16"),
        ("squeezenet1_0", "torchvision:squeezenet1_0 ends in a convolution, not in a linear layer"),
        ("fcn_resnet50", "which torchvision does not have"),  # of segmentation
    ],
)
def test_network_that_cannot_be_grown_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_network(f"{TORCHVISION}{name}")


@pytest.mark.parametrize(
    ("name", "image_size", "own", "message"),
    [
        ("vit_b_16", None, None, "takes 224x224 px: give --image-size 224$"),
        ("vit_b_16", 256, None, "takes 224x224 px: give --image-size 224 instead of 256"),
        ("inception_v3", 74, None, "takes at least 75x75 px: give --image-size 75 or more instead"),
        ("alexnet", None, ("cifar10", 32), "63 or more, since those of cifar10 are 32x32 px"),
    ],
)
def test_images_that_a_network_cannot_take_are_refused_with_the_size_to_give(
    name: str, image_size: int | None, own: tuple[str, int] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_image_size(f"{TORCHVISION}{name}", image_size, own)


@pytest.mark.parametrize(
    ("name", "image_size", "own"),
    [
        ("small", None, ("digits", 8)),
        ("vgg19", 16, ("digits", 8)),
        ("vgg19", None, None),  # whose sizes show when they are read
        ("torchvision:vit_b_16", 224, ("cifar10", 32)),
        ("torchvision:inception_v3", 75, None),
        ("torchvision:resnet18", None, ("digits", 8)),
    ],
)
def test_images_that_fit_are_taken(
    name: str, image_size: int | None, own: tuple[str, int] | None
) -> None:
    check_network(name)
    check_image_size(name, image_size, own)


def test_a_size_that_shows_when_images_are_looked_at_is_refused_by_both_sides() -> None:
    check_size_of_images("torchvision:inception_v3", 75, 400)
    check_size_of_images("torchvision:vit_b_16", 224, 224)
    check_size_of_images("torchvision:resnet18", 1, 1)
    for size in ((74, 400), (400, 74)):
        with pytest.raises(ConfigError, match=r"75 or more, since the .* to (74x400|400x74) px"):
            check_size_of_images("torchvision:inception_v3", *size)


def test_training_images_are_not_scaled_down_below_what_a_network_takes() -> None:
    check_image_sides("vgg19", (16, 24, 32))
    check_image_sides("torchvision:vit_b_16", None)
    with pytest.raises(ConfigError, match="--image-sides has 12, but model vgg19 takes no smaller"):
        check_image_sides("vgg19", (16, 12))
    with pytest.raises(
        ConfigError, match="torchvision:vit_b_16 takes no other images than 224x224"
    ):
        check_image_sides("torchvision:vit_b_16", (128,))


def test_every_classifier_that_torchvision_has_is_known() -> None:
    from torchvision import models

    known = (*SMALLEST_SIDES, *EXACT_SIDES, *WITHOUT_LINEAR)
    assert len(known) == len(set(known))
    assert sorted(known) == sorted(models.list_models(module=models))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in (*SMALLEST_SIDES, *EXACT_SIDES)
    ],
)
def test_network_takes_what_is_said_of_it_and_nothing_smaller(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = shapes_of(name, monkeypatch)
    full = f"{TORCHVISION}{name}"
    exact, smallest = EXACT_SIDES.get(name), SMALLEST_SIDES.get(name, 1)
    sides = {smallest - 1, smallest, smallest + 1, smallest + 7, 224, 256} - {0}
    assert {s for s in sides if takes(network, s)} == {s for s in sides if fits(full, s)}
    assert takes(network, exact or smallest)


def shapes_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a network as accrete builds it, without numbers: it computes shapes alone."""
    from torch.nn import init

    from accrete.config.run import ModelConfig
    from accrete.models.networks import build_model

    for each in vars(init).copy():
        if each.endswith("_") and not each.startswith("_"):
            monkeypatch.setattr(init, each, lambda tensor, *_args, **_more: tensor)
    config = ModelConfig(name=f"{TORCHVISION}{name}")
    return build_model(config, channels=3, num_classes=5, seed=0).to("meta").train()


def takes(network: Any, side: int) -> bool:
    import torch

    try:
        with torch.no_grad():
            logits = network(torch.empty(2, 3, side, side, device="meta"))
    except (RuntimeError, AssertionError):
        return False
    assert logits.shape == (2, 5)
    return True
