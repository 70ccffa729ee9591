"""Networks: sizes, what they take, and a head that grows without losing anything."""

import pytest
import torch
from torch import Tensor, nn

from accrete.config.run import ModelConfig
from accrete.errors import ConfigError, HeadShrinkError
from accrete.models._convolution import Conv3x3
from accrete.models.networks import build_model, grow_head, grow_momentum, num_parameters

VGG19_PARAMETERS_AT_100_CLASSES = 20_081_188


def generator(seed: int = 0) -> torch.Generator:
    """Return a generator of random numbers."""
    return torch.Generator().manual_seed(seed)


def weights_of(config: ModelConfig, seed: int) -> list[Tensor]:
    """Return the state of a fresh network of ten classes."""
    model = build_model(config, channels=1, num_classes=10, seed=seed)
    return list(model.state_dict().values())


def all_equal(left: list[Tensor], right: list[Tensor]) -> bool:
    """Return whether all tensors are bit-equal."""
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def vgg19() -> nn.Module:
    return build_model(ModelConfig(name="vgg19"), channels=3, num_classes=100, seed=0).eval()


def test_vgg19_has_the_design_s_parameters_at_100_classes(vgg19: nn.Module) -> None:
    assert num_parameters(vgg19) == VGG19_PARAMETERS_AT_100_CLASSES
    assert sum(isinstance(module, nn.Conv2d) for module in vgg19.modules()) == 16


@pytest.mark.parametrize("side", [16, 20, 24, 32])
def test_vgg19_takes_images_from_16_pixels_up(vgg19: nn.Module, side: int) -> None:
    with torch.no_grad():
        assert vgg19(torch.zeros(1, 3, side, side)).shape == (1, 100)


def test_vgg19_takes_images_that_are_not_square(vgg19: nn.Module) -> None:
    with torch.no_grad():
        assert vgg19(torch.zeros(1, 3, 17, 40)).shape == (1, 100)


@pytest.mark.parametrize(("width", "channels"), [(0.25, [16, 32, 64, 128, 128]), (0.05, [3, 6])])
def test_width_scales_every_block_of_vgg19(width: float, channels: list[int]) -> None:
    config = ModelConfig(name="vgg19", width=width)
    model = build_model(config, channels=3, num_classes=7, seed=0)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    firsts = [convs[i].out_channels for i in (0, 2, 4, 8, 12)]
    assert firsts[: len(channels)] == channels
    assert model.head.in_features == convs[-1].out_channels == firsts[-1]


@pytest.mark.parametrize(
    ("bn_after_relu", "order"),
    [
        (False, [Conv3x3, nn.BatchNorm2d, nn.ReLU]),
        (True, [Conv3x3, nn.ReLU, nn.BatchNorm2d]),
    ],
)
def test_batch_norm_comes_before_or_after_the_relu(
    bn_after_relu: bool, order: list[type[nn.Module]]
) -> None:
    config = ModelConfig(name="vgg19", width=0.05, bn_after_relu=bn_after_relu)
    trunk = build_model(config, channels=3, num_classes=2, seed=0).trunk
    assert isinstance(trunk, nn.Sequential)
    kinds = [type(layer) for layer in trunk]
    assert kinds[:-2] == [
        kind
        for number, convs in enumerate((2, 2, 4, 4, 4))
        for kind in ([nn.MaxPool2d] if number else []) + order * convs
    ]
    assert kinds[-2:] == [nn.AdaptiveAvgPool2d, nn.Flatten]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 9, 28, 32])
def test_small_takes_images_from_8_pixels_up(channels: int, side: int) -> None:
    model = build_model(ModelConfig(name="small"), channels=channels, num_classes=10, seed=0)
    with torch.no_grad():
        assert model(torch.zeros(2, channels, side, side)).shape == (2, 10)


def test_small_has_about_three_hundred_thousand_parameters() -> None:
    model = build_model(ModelConfig(name="small"), channels=3, num_classes=100, seed=0)
    assert num_parameters(model) == pytest.approx(300_000, rel=0.05)


@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_network_takes_grey_and_colour(channels: int) -> None:
    config = ModelConfig(name="torchvision:resnet18")
    model = build_model(config, channels=channels, num_classes=5, seed=0)
    assert model.head.in_features == 512
    with torch.no_grad():
        assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 5)
    # resnet18 has 11,689,512 parameters, 513,000 of them in its head of 1000 classes.
    assert num_parameters(model) == 11_689_512 - 513_000 + 5 * 513


def test_grey_image_is_three_equal_channels_to_a_torchvision_network() -> None:
    config = ModelConfig(name="torchvision:resnet18")
    grey = build_model(config, channels=1, num_classes=3, seed=0).eval()
    colour = build_model(config, channels=3, num_classes=3, seed=0).eval()
    images = torch.rand(2, 1, 32, 32, generator=generator())
    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.repeat(1, 3, 1, 1)))


def test_unknown_torchvision_network_is_refused_by_name() -> None:
    config = ModelConfig(name="torchvision:resnet19")
    with pytest.raises(ConfigError, match="model is 'torchvision:resnet19', which torchvision"):
        build_model(config, channels=3, num_classes=2, seed=0)


def test_torchvision_network_without_a_linear_classifier_is_refused_by_name() -> None:
    config = ModelConfig(name="torchvision:squeezenet1_1")
    with pytest.raises(ConfigError, match="torchvision:squeezenet1_1 does not end in a linear"):
        build_model(config, channels=3, num_classes=2, seed=0)


@pytest.mark.parametrize("name", ["small", "torchvision:resnet18"])
def test_same_seed_gives_the_same_weights(name: str) -> None:
    config = ModelConfig(name=name)
    first = weights_of(config, 0)
    assert all_equal(weights_of(config, 0), first)
    assert not all_equal(weights_of(config, 1), first)


def test_weights_do_not_depend_on_the_global_generator_nor_move_it() -> None:
    config = ModelConfig(name="small", width=0.25)
    first = weights_of(config, 0)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert all_equal(weights_of(config, 0), first)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (10, 20), (40, 41), (3, 3)])
def test_grow_head_keeps_old_rows_bit_equal(old: int, new: int) -> None:
    head = nn.Linear(32, old)
    before = head.weight.detach().clone(), head.bias.detach().clone()
    grown = grow_head(head, new, generator())
    assert (grown.in_features, grown.out_features) == (32, new)
    assert torch.equal(grown.weight[:old], before[0])
    assert torch.equal(grown.bias[:old], before[1])
    assert torch.equal(head.weight, before[0])
    assert grown.weight.requires_grad
    assert grown.bias.requires_grad
    assert grown.weight.is_leaf


def test_grown_head_shares_no_memory_with_the_old_one() -> None:
    head = nn.Linear(4, 2)
    grown = grow_head(head, 3, generator())
    with torch.no_grad():
        head.weight.zero_()
    assert grown.weight[:2].abs().min() > 0


def test_old_logits_are_those_of_the_smaller_model() -> None:
    # Multiples of 1/8 with small sums: every order of additions gives the same float, so that
    # equality tests the head and not the matrix product's blocking, which depends on its size.
    features = torch.randint(-8, 8, (64, 32), generator=generator(1)) / 8
    head = nn.Linear(32, 10)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randint(-8, 8, parameter.shape, generator=generator(2)) / 8)
        grown = grow_head(head, 20, generator())
        assert torch.equal(grown(features)[:, :10], head(features))


@pytest.mark.parametrize("name", ["small", "vgg19"])
def test_old_logits_of_a_network_are_unchanged_by_growing(name: str) -> None:
    model = build_model(ModelConfig(name=name, width=0.25), channels=3, num_classes=4, seed=0)
    images = torch.rand(5, 3, 16, 16, generator=generator())
    with torch.no_grad():
        before = model.eval()(images)
        model.head = grow_head(model.head, 9, generator())
        after = model(images)
    assert after.shape == (5, 9)
    torch.testing.assert_close(after[:, :4], before, rtol=1e-5, atol=1e-6)


def test_new_rows_come_from_the_generator() -> None:
    head = nn.Linear(64, 2)
    first, again, other = (grow_head(head, 50, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight[2:], other.weight[2:])
    assert not torch.equal(first.bias[2:], other.bias[2:])


def test_new_rows_are_uniform_within_torch_s_own_bound() -> None:
    grown = grow_head(nn.Linear(64, 2), 202, generator())
    weight, bias = grown.weight[2:].detach(), grown.bias[2:].detach()
    for new in (weight, bias):
        assert 0.97 / 8 < new.abs().max().item() <= 1 / 8
        assert abs(new.mean().item()) < 0.02
    assert weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.05)


def test_grown_head_keeps_the_dtype() -> None:
    grown = grow_head(nn.Linear(8, 2, dtype=torch.float64), 3, generator())
    assert grown.weight.dtype == grown.bias.dtype == torch.float64


def test_head_that_would_shrink_is_refused_with_both_sizes() -> None:
    with pytest.raises(HeadShrinkError, match="a head of 10 classes cannot become one of 9"):
        grow_head(nn.Linear(8, 10), 9, generator())


def test_momentum_grows_by_zeros() -> None:
    model = build_model(ModelConfig(name="small", width=0.25), channels=1, num_classes=3, seed=0)
    momentum = {
        name: torch.randn(parameter.shape, generator=generator())
        for name, parameter in model.named_parameters()
    }
    model.head = grow_head(model.head, 5, generator())
    grown = grow_momentum(momentum, model)
    assert set(grown) == set(momentum)
    for name, parameter in model.named_parameters():
        assert grown[name].shape == parameter.shape
        old = momentum[name]
        assert torch.equal(grown[name][: len(old)], old)
        assert not grown[name][len(old) :].any()
    assert len(grown["head.weight"]) == len(grown["head.bias"]) == 5


def test_momentum_that_is_absent_stays_absent() -> None:
    model = build_model(ModelConfig(name="small", width=0.25), channels=1, num_classes=3, seed=0)
    assert grow_momentum({}, model) == {}
