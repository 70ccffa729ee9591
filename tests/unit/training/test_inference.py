"""Outputs are those of all images at once, whatever part of them fits the device."""

import pytest
import torch
from torch import Tensor, nn
from training_sample import NORMALIZATION, make_data, make_model

from accrete.errors import OutOfMemoryError
from accrete.training.inference import Inference

pytestmark = pytest.mark.usefixtures("one_thread")


class Device:
    """A network on a device with memory for so many images."""

    def __init__(self, network: nn.Module, most: int) -> None:
        self.network = network
        self.most = most
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        outputs: Tensor = self.network(images)
        return outputs


@pytest.mark.parametrize("most", [1, 3, 9, 100])
def test_outputs_are_those_of_all_at_once(most: int) -> None:
    network = make_model().eval()
    images_NHWC, _ = make_data(21)
    device = Device(network, most)
    found = Inference(device, NORMALIZATION)
    torch.testing.assert_close(found(images_NHWC), Inference(network, NORMALIZATION)(images_NHWC))
    assert not found(images_NHWC).requires_grad
    device.sizes.clear()
    found(images_NHWC)
    assert max(device.sizes) <= most  # what does not fit is tried once


def test_one_image_that_does_not_fit_is_one_line() -> None:
    images_NHWC, _ = make_data(5)
    message = r"a single image of \(8, 8\) px does not fit the device \(CUDA out of memory\)"
    with pytest.raises(OutOfMemoryError, match=message):
        Inference(Device(make_model(), 0), NORMALIZATION)(images_NHWC)
