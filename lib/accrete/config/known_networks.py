"""Which networks there are, and which images they take. Pure: torch need not be asked.

Sizes were measured with torchvision 0.29.2, built as `models/networks.py` does: the smallest square
that passes, in training too, and whether larger ones do. A test measures again.
"""

import difflib
from collections.abc import Mapping, Sequence

from accrete.config.image_format import Normalization
from accrete.errors import ConfigError

TORCHVISION = "torchvision:"
"""What the names of torchvision's networks begin with."""

_ANY_SIZE = (
    *(f"efficientnet_{each}" for each in ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7")),
    *("efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s"),
    *("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
    *("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"),
    *("regnet_x_16gf", "regnet_x_1_6gf", "regnet_x_32gf", "regnet_x_3_2gf"),
    *("regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf"),
    *("regnet_y_128gf", "regnet_y_16gf", "regnet_y_1_6gf", "regnet_y_32gf"),
    *("regnet_y_3_2gf", "regnet_y_400mf", "regnet_y_800mf", "regnet_y_8gf"),
    *("resnet101", "resnet152", "resnet18", "resnet34", "resnet50"),
    *("resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d"),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("wide_resnet101_2", "wide_resnet50_2"),
)

_FROM_32 = (
    *("convnext_base", "convnext_large", "convnext_small", "convnext_tiny"),
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
)

SMALLEST_SIDES: Mapping[str, int] = {
    **dict.fromkeys(_ANY_SIZE, 1),
    **{f"swin_{each}": 4 for each in ("b", "s", "t", "v2_b", "v2_s", "v2_t")},
    "googlenet": 15,
    **{f"densenet{each}": 29 for each in (121, 161, 169, 201)},
    **dict.fromkeys(_FROM_32, 32),
    "alexnet": 63,
    "inception_v3": 75,
}
"""Pixels of the shorter side, by torchvision's name; all larger images fit, too."""

EXACT_SIDES: Mapping[str, int] = {
    **{f"vit_{each}": 224 for each in ("b_16", "b_32", "h_14", "l_16", "l_32")},
    "maxvit_t": 224,
}
"""Pixels of both sides, of networks whose attention is over so many patches."""

WITHOUT_LINEAR = ("squeezenet1_0", "squeezenet1_1")
"""Classifiers that end in a convolution: there is no head to grow."""

_OWN_SMALLEST = {"small": 8, "vgg19": 16}
"""Their pools halve an image three and four times."""


IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What torchvision's own weights were trained with (torchvision.transforms._presets)."""

_HALVES = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)
_SCALED_TO_HALVES = ("googlenet", "inception_v3")
"""With weights, torchvision's bring ImageNet's scaling to halves themselves (transform_input)."""


def scaling_of_weights(name: str) -> Normalization:
    """Return how torchvision's own weights of a network expect images to be scaled.

    Args:
        name: of the network, as `ModelConfig` has it.
    """
    return _HALVES if name.removeprefix(TORCHVISION) in _SCALED_TO_HALVES else IMAGENET


def check_network(name: str) -> None:
    """Refuse a network that does not exist or cannot grow.

    Args:
        name: as `ModelConfig` has it.

    Raises:
        ConfigError: names those that were perhaps meant.
    """
    if not name.startswith(TORCHVISION):
        return
    short = name.removeprefix(TORCHVISION)
    if short in WITHOUT_LINEAR:
        raise ConfigError(
            f"model {name} ends in a convolution, not in a linear layer that could grow: choose "
            "another, such as torchvision:mobilenet_v3_small"
        )
    names = (*SMALLEST_SIDES, *EXACT_SIDES)
    if short not in names:
        near = difflib.get_close_matches(short.lower(), names, n=3)
        meant = " or ".join(f"{TORCHVISION}{each}" for each in near)
        raise ConfigError(
            f"model is {name!r}, which torchvision does not have: "
            + (f"did you mean {meant}?" if near else "choose one such as torchvision:resnet18")
        )


def check_image_size(name: str, image_size: int | None, own: tuple[str, int] | None) -> None:
    """Refuse images that a network cannot take, as far as is known before they are read.

    Args:
        name: of the network.
        image_size: side that they are scaled to; None: they stay as they are.
        own: a kind of source whose images are all of one size, and their side.

    Raises:
        ConfigError: says which size to give.
    """
    fitting = fitting_size(name)
    if image_size is not None and not fits(name, image_size):
        raise ConfigError(f"model {name} {fitting} instead of {image_size}")
    if image_size is None and own is not None and not fits(name, own[1]):
        kind, side = own
        raise ConfigError(f"model {name} {fitting}, since those of {kind} are {side}x{side} px")
    if image_size is None and _exact(name) is not None:
        raise ConfigError(f"model {name} {fitting}")


def check_size_of_images(name: str, height: int, width: int) -> None:
    """Refuse images of a size that a network cannot take, as soon as the size is known.

    Args:
        name: of the network.
        height: in pixels, which all images are brought to.
        width: the same.

    Raises:
        ConfigError: says which size to give.
    """
    if not (fits(name, height) and fits(name, width)):
        raise ConfigError(
            f"model {name} {fitting_size(name)}, since the images are brought to {width}x{height} "
            "px, or choose another --model"
        )


def check_image_sides(name: str, sides: Sequence[int] | None) -> None:
    """Refuse training images that are scaled down to less than a network takes.

    Args:
        name: of the network.
        sides: of each stage; None: none is scaled down.

    Raises:
        ConfigError: a side is too small.
    """
    least = _exact(name) or _smallest(name)
    for side in sides or ():
        if side < least:
            raise ConfigError(
                f"--image-sides has {side}, but model {name} takes "
                f"{'no other' if _exact(name) else 'no smaller'} images than {least}x{least} px: "
                f"{'leave it out' if _exact(name) else 'give larger ones'}"
            )


def known_as(name: str) -> str | None:
    """Return the name that a network of torchvision's has here, None where it has no such one."""
    return f"{TORCHVISION}{name}" if name in SMALLEST_SIDES or name in EXACT_SIDES else None


def fits(name: str, side: int) -> bool:
    """Return whether a network takes squares of a side, as far as is known."""
    exact = _exact(name)
    return side >= _smallest(name) if exact is None else side == exact


def fitting_size(name: str) -> str:
    """Return what a network takes and what to do, as the rest of a sentence about it."""
    exact, least = _exact(name), _smallest(name)
    if exact is not None:
        return f"takes {exact}x{exact} px: give --image-size {exact}"
    return f"takes at least {least}x{least} px: give --image-size {least} or more"


def _exact(name: str) -> int | None:
    return EXACT_SIDES.get(name.removeprefix(TORCHVISION)) if TORCHVISION in name else None


def _smallest(name: str) -> int:
    """Return the smallest side; 1 where none is known: training tries it out."""
    if name.startswith(TORCHVISION):
        return SMALLEST_SIDES.get(name.removeprefix(TORCHVISION), 1)
    return _OWN_SMALLEST.get(name, 1)
