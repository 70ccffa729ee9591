"""Networks: a trunk that never changes shape and a linear head that grows.

Shape suffixes: N images, C channels, H height, W width, F features, K classes.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from accrete.config.run import ModelConfig
from accrete.core.hashing import derive_seed
from accrete.errors import ConfigError, HeadShrinkError
from accrete.models._convolution import Conv3x3

_VGG19_BLOCKS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
_SMALL_BLOCKS = ((16,), (32, 32), (64, 64), (128, 128))


class Classifier(nn.Module):
    """A trunk from images to features, and a head from features to one logit a class."""

    def __init__(self, trunk: nn.Module, head: nn.Linear) -> None:
        """Join a trunk and a head of as many inputs as the trunk has features."""
        super().__init__()
        self.trunk = trunk
        self.head = head
        self._is_trunk_frozen = False

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return logits (N, K) of normalized images (N, C, H, W)."""
        logits_NK: Tensor = self.head(self.trunk(images_NCHW))
        return logits_NK

    def freeze_trunk(self) -> None:
        """Keep the trunk as it is, batch norm's statistics too: training changes the head alone."""
        self._is_trunk_frozen = True
        self.trunk.requires_grad_(False)

    def train(self, mode: bool = True) -> "Classifier":
        """Set training or evaluation mode; a frozen trunk is always in the latter."""
        super().train(mode)
        if self._is_trunk_frozen:
            self.trunk.eval()
        return self


def build_model(config: ModelConfig, *, channels: int, num_classes: int, seed: int) -> Classifier:
    """Return a freshly initialized network; the same arguments give the same weights.

    Args:
        config: which network.
        channels: of the images, 1 or 3.
        num_classes: outputs of the head, at least 1.
        seed: of the weights.

    Raises:
        ConfigError: torchvision has no such network, or it does not end in a linear layer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("weights", seed))
        if config.name.startswith("torchvision:"):
            trunk, num_features = _torchvision_trunk(config.name, channels)
        else:
            blocks = _VGG19_BLOCKS if config.name == "vgg19" else _SMALL_BLOCKS
            widths = [[_scaled(c, config.width) for c in block] for block in blocks]
            trunk = _conv_trunk(widths, channels, bn_after_relu=config.bn_after_relu)
            num_features = widths[-1][-1]
        head = nn.Linear(num_features, num_classes)
    return Classifier(trunk, head)


def grow_head(head: nn.Linear, num_classes: int, generator: torch.Generator) -> nn.Linear:
    """Return a wider classifier head that keeps the old classes' weights (paper, III-B, eq. 2).

    Args:
        head: weight (num_old_classes, features), bias (num_old_classes,).
        num_classes: N_j, at least num_old_classes.
        generator: of the new rows, uniform in ±1/sqrt(features) as torch initializes them.

    Returns:
        A new module, same device and dtype, weight (num_classes, features); its first
        num_old_classes rows are bit-equal to head's. Build the optimizer after this.

    Raises:
        HeadShrinkError: num_classes < num_old_classes.
    """
    num_old = head.out_features
    if num_classes < num_old:
        raise HeadShrinkError(
            f"a head of {num_old} classes cannot become one of {num_classes}: "
            "classes are only added"
        )
    weight, bias = head.weight, head.bias
    bound = 1 / math.sqrt(head.in_features)
    new_rows = torch.empty(num_classes - num_old, head.in_features)
    new_biases = torch.empty(num_classes - num_old)
    new_rows.uniform_(-bound, bound, generator=generator)
    new_biases.uniform_(-bound, bound, generator=generator)
    # No to_empty(): from "meta" to a device it imports sympy, half a second of every stage.
    grown = nn.Linear(head.in_features, num_classes, device="meta", dtype=weight.dtype)
    grown.weight = nn.Parameter(torch.cat([weight.detach(), new_rows.to(weight)]))
    grown.bias = nn.Parameter(torch.cat([bias.detach(), new_biases.to(bias)]))
    return grown


def grow_momentum(momentum: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return momentum buffers widened with zeros to the shapes of a grown model's parameters.

    Args:
        momentum: buffer of each parameter of the smaller model, by name.
        model: the grown model.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    grown = {}
    for name, buffer in momentum.items():
        wide = torch.zeros(shapes[name], dtype=buffer.dtype, device=buffer.device)
        wide[tuple(slice(0, size) for size in buffer.shape)] = buffer
        grown[name] = wide
    return grown


def num_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _conv_trunk(
    widths: Iterable[Iterable[int]], channels: int, *, bn_after_relu: bool
) -> nn.Sequential:
    """Return blocks of 3×3 convs, a max-pool between blocks, a global average pool at the end.

    The paper's VGG-19 has sixteen such convs (section IV); with the last of five pools an average
    over all that is left, images of any size from 16 px fit (8 px for four blocks).
    """
    layers: list[nn.Module] = []
    for number, block in enumerate(widths):
        if number:
            layers.append(nn.MaxPool2d(2))
        for width in block:
            conv = Conv3x3(channels, width)
            norm, relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            layers += [conv, relu, norm] if bn_after_relu else [conv, norm, relu]
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _AsRgb(nn.Module):
    """Three equal channels from one, for networks made for colour."""

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return images_NCHW.expand(-1, 3, -1, -1)


def weighted_part(model: Classifier) -> nn.Module:
    """Return the part of a trunk that has weights, which is the same for grey and colour images."""
    trunk = model.trunk
    if isinstance(trunk, nn.Sequential) and isinstance(trunk[0], _AsRgb):
        return trunk[1]
    return trunk


def head_name(config: ModelConfig) -> str:
    """Return what torchvision calls the last linear layer of one of its networks.

    Raises:
        ConfigError: as `build_model` raises it.
    """
    return _torchvision_network(config.name)[1]


def _torchvision_trunk(name: str, channels: int) -> tuple[nn.Module, int]:
    """Return a torchvision network without its last linear layer, and that layer's inputs."""
    network, last = _torchvision_network(name)
    linear = network.get_submodule(last)
    assert isinstance(linear, nn.Linear)
    network.set_submodule(last, nn.Identity())
    return (nn.Sequential(_AsRgb(), network) if channels == 1 else network), linear.in_features


def _torchvision_network(name: str) -> tuple[nn.Module, str]:
    """Return a torchvision network, and the name of its last linear layer."""
    from torchvision import models

    short_name = name.removeprefix("torchvision:")
    if short_name not in models.list_models(module=models):
        raise ConfigError(
            f"model is {name!r}, which torchvision does not have: use a classifier that "
            "torchvision.models.list_models() gives, such as torchvision:resnet18"
        )
    # These two return more than logits in training unless told not to.
    is_inception = short_name in ("googlenet", "inception_v3")
    options = {"aux_logits": False, "init_weights": True} if is_inception else {}
    network = models.get_model(short_name, weights=None, **options)
    last = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not last or network.get_submodule(last[-1]).out_features != 1000:
        raise ConfigError(f"model {name} does not end in a linear classifier: choose another")
    return network, last[-1]
