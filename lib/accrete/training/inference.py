"""What a network makes of images in large batches, without gradients.

Shape suffixes: B images at once, C channels, H height, W width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from accrete.config.image_format import Normalization
from accrete.errors import OutOfMemoryError
from accrete.training.augmentation import normalize


class Inference:
    """A network's outputs, computed in smaller parts where a batch does not fit the device.

    A batch of training was found to fit, in parts if need be (`OptimizerStep.halve`); one without
    gradients is larger, and where it did not fit, a stage that was trained could not be published.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], normalization: Normalization) -> None:
        """Of a network in evaluation mode.

        Args:
            network: from float32 (B, C, H, W); each image's output depends on that image alone.
            normalization: of the images.
        """
        self._network = network
        self._normalization = normalization
        self._most: int | None = None

    @torch.no_grad()
    def __call__(self, images_BHWC: Tensor) -> Tensor:
        """Return the network's outputs (B, ...).

        Args:
            images_BHWC: uint8, on the network's device.

        Raises:
            OutOfMemoryError: not a single image fits.
        """
        while True:
            most = min(self._most or len(images_BHWC), len(images_BHWC))
            try:
                outputs = [self._output(part) for part in torch.split(images_BHWC, most)]
                return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
            except torch.OutOfMemoryError as error:
                cause = str(error).partition(".")[0]  # the error itself holds on to activations
            if most == 1:
                raise OutOfMemoryError(
                    f"a single image of {tuple(images_BHWC.shape[1:3])} px does not fit the device "
                    f"({cause}): lower --image-size, or free its memory"
                )
            self._most = most // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _output(self, images_BHWC: Tensor) -> Tensor:
        return self._network(normalize(images_BHWC, self._normalization))
