"""A convolution of tiny maps is torch's own, in values and gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from accrete.config.run import ModelConfig
from accrete.models._convolution import Conv3x3, _TinyMaps
from accrete.models.networks import build_model

SIZES = [(1, 1), (1, 2), (2, 1), (2, 2)]


def maps(height: int, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return maps of 3 images with 4 channels."""
    torch.manual_seed(height * 10 + width)
    return torch.randn(3, 4, height, width, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_values_and_gradients_are_those_of_conv2d(
    height: int, width: int, layout: torch.memory_format
) -> None:
    conv = Conv3x3(4, 5).double().to(memory_format=layout)
    images = maps(height, width)
    ours = conv(images)
    theirs = functional.conv2d(images, conv.weight, padding=1)
    torch.testing.assert_close(ours, theirs)
    towards = torch.randn_like(ours)
    inputs = (images, conv.weight)
    for mine, torchs in zip(
        torch.autograd.grad(ours, inputs, towards),
        torch.autograd.grad(theirs, inputs, towards),
        strict=True,
    ):
        torch.testing.assert_close(mine, torchs)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_gradients_are_those_of_small_differences(height: int, width: int) -> None:
    weight = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_TinyMaps.apply, (maps(height, width), weight))


def test_in_bf16_the_weight_s_gradient_is_added_up_in_its_own_precision() -> None:
    conv, images = Conv3x3(4, 5), maps(2, 2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = conv(images)
        theirs = functional.conv2d(images, conv.weight, padding=1)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.02)
    (mine,) = torch.autograd.grad(ours.float().sum(), conv.weight)
    exact = functional.conv2d(images.double(), conv.weight.double(), padding=1).sum()
    (expected,) = torch.autograd.grad(exact, conv.weight)
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, expected.float(), atol=0.02, rtol=0.02)


def test_evaluation_and_larger_maps_are_conv2d_s_own_bits() -> None:
    conv = Conv3x3(4, 5)
    for height, width, is_training in ((2, 2, False), (2, 3, True), (3, 1, True)):
        images = maps(height, width, torch.float32)
        ours = conv.train(is_training)(images)
        assert torch.equal(ours, functional.conv2d(images, conv.weight, padding=1))


def test_networks_hold_what_those_of_plain_convolutions_hold() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 5, 3, padding=1, bias=False).weight
    torch.manual_seed(0)
    assert torch.equal(Conv3x3(4, 5).weight, plain)
    model = build_model(ModelConfig(name="small"), channels=1, num_classes=2, seed=0)
    calls: list[tuple[int, ...]] = []
    for module in model.modules():
        if isinstance(module, Conv3x3):
            module.register_forward_hook(lambda _m, _i, out: calls.append(tuple(out.shape[-2:])))
    model(torch.randn(2, 1, 8, 8))
    assert calls == [(8, 8), (4, 4), (4, 4), (2, 2), (2, 2), (1, 1), (1, 1)]
