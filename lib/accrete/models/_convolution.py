"""3×3 convolutions of maps of a few pixels, which CPUs train quicker as one matrix product.

Shape suffixes: N images, C channels in, D channels out, H height, W width, P = H·W pixels.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LONGEST_SIDE = 2
"""Of a map, in pixels: there every pixel is within the kernel's reach of every other."""


class Conv3x3(nn.Conv2d):
    """A convolution with a 3×3 kernel, stride 1, a border of zeros and no bias.

    In the last blocks of a network for small images most of what the kernel lies on is border, and
    oneDNN multiplies by it: 9·P products of C×D where P² are of pixels. In training on a CPU, maps
    of 1×1 to 2×2 become products of (N, P·C) and (P·C, P·D) instead, which gives the same up to
    rounding (benchmarks/tiny_maps.py measures both). Evaluation and export are a Conv2d's.
    """

    def __init__(self, channels: int, width: int) -> None:
        """Initialize as Conv2d does."""
        super().__init__(channels, width, 3, padding=1, bias=False)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        is_tiny = max(images_NCHW.shape[-2:]) <= _LONGEST_SIDE
        if not (is_tiny and self.training and images_NCHW.device.type == "cpu"):
            return super().forward(images_NCHW)
        if torch.is_autocast_enabled("cpu"):
            images_NCHW = images_NCHW.to(torch.get_autocast_dtype("cpu"))
        convolved: Tensor = _TinyMaps.apply(images_NCHW, self.weight)
        return convolved


class _TinyMaps(torch.autograd.Function):
    """The convolution; computes in the images' dtype, adds up the weight's gradient in its own."""

    @staticmethod
    def forward(ctx: Any, images_NCHW: Tensor, weight_DC33: Tensor) -> Tensor:
        num_images, channels, height, width = images_NCHW.shape
        num_out = len(weight_DC33)
        kernel_D33C = weight_DC33.permute(0, 2, 3, 1)
        matrix = images_NCHW.new_empty(height, width, num_out, height, width, channels)
        for pixel, part in _parts(height, width):
            matrix[pixel] = kernel_D33C[part]
        matrix = matrix.view(height * width * num_out, height * width * channels)
        images = images_NCHW.permute(0, 2, 3, 1).reshape(num_images, -1)
        ctx.save_for_backward(images, matrix)
        ctx.shape, ctx.weight_dtype = (channels, height, width), weight_DC33.dtype
        convolved_NHWD = (images @ matrix.T).view(num_images, height, width, num_out)
        return convolved_NHWD.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NDHW: Tensor) -> tuple[Tensor | None, Tensor]:
        images, matrix = ctx.saved_tensors
        channels, height, width = ctx.shape
        num_images, num_out = gradient_NDHW.shape[:2]
        gradient = gradient_NDHW.permute(0, 2, 3, 1).reshape(num_images, -1)
        of_images = None
        if ctx.needs_input_grad[0]:
            of_images = (gradient @ matrix).view(num_images, height, width, channels)
            of_images = of_images.permute(0, 3, 1, 2)
        of_matrix = (gradient.T @ images).view(height, width, num_out, height, width, channels)
        of_kernel = matrix.new_zeros(num_out, 3, 3, channels, dtype=ctx.weight_dtype)
        for pixel, part in _parts(height, width):
            of_kernel[part] += of_matrix[pixel]
        return of_images, of_kernel.permute(0, 3, 1, 2)


def _parts(height: int, width: int) -> Iterator[tuple[tuple[int, int], tuple[slice, ...]]]:
    """Yield each pixel of the output, and the part of the kernel that lies on the map there."""
    for y in range(height):
        for x in range(width):
            part = slice(1 - y, 1 - y + height), slice(1 - x, 1 - x + width)
            yield (y, x), (slice(None), *part)
