"""Weights that a run begins from: how they have images scaled, and what identities are made of."""

import dataclasses
from typing import Any

import pytest

from accrete.config.image_format import Normalization
from accrete.config.known_networks import IMAGENET
from accrete.config.pretrained_weights import PretrainedWeights
from accrete.config.run import ModelConfig
from accrete.core.serialization import from_json, to_json
from accrete.errors import ConfigError

COLOUR = PretrainedWeights(
    origin="r.pth",
    file_sha256="a" * 64,
    sha256="b" * 64,
    num_bytes=10,
    normalization=IMAGENET,
    image_side=224,
)
GREY = dataclasses.replace(COLOUR, normalization=Normalization(mean=(0.3,), std=(0.2,)))
RESNET = ModelConfig(name="torchvision:resnet18", weights=COLOUR)


def test_images_are_scaled_as_the_weights_expect() -> None:
    assert RESNET.normalization_for(3) == IMAGENET
    assert RESNET.architecture.normalization_for(3) is None


def test_grey_images_are_scaled_by_the_means_over_channels_and_the_other_way_round() -> None:
    grey = RESNET.normalization_for(1)
    assert grey is not None
    assert grey.mean == pytest.approx((0.449,), abs=1e-6)
    assert grey.std == pytest.approx((0.226,), abs=1e-6)
    colour = dataclasses.replace(RESNET, weights=GREY).normalization_for(3)
    assert colour == Normalization(mean=(0.3,) * 3, std=(0.2,) * 3)


@pytest.mark.parametrize(
    ("weights", "channels", "message"),
    [(COLOUR, 1, "take colour images, but these are grey"), (GREY, 3, "take grey images, but")],
)
def test_our_own_networks_take_one_number_of_channels(
    weights: PretrainedWeights, channels: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(name="small", weights=weights).normalization_for(channels)


def test_a_network_without_weights_is_stored_as_it_always_was() -> None:
    assert "weights" not in to_json(RESNET.architecture)
    assert from_json(ModelConfig, to_json(RESNET), "model") == RESNET


@pytest.mark.parametrize(
    "fields",
    [
        {"sha256": "x"},
        {"file_sha256": ""},
        {"num_bytes": -1},
        {"normalization": Normalization(mean=(0.5,), std=(0.5, 0.5))},
        {"normalization": Normalization(mean=(0.5, 0.5), std=(0.5, 0.5))},
    ],
)
def test_values_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(COLOUR, **fields)
