"""One optimizer step, in smaller parts where a batch does not fit the device's memory."""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from accrete.config.schedule import StageSchedule
from accrete.errors import OutOfMemoryError
from accrete.training.device import autocast
from accrete.training.optimizer import Sgd


class OptimizerStep:
    """The steps of a stage."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Sgd,
        schedule: StageSchedule,
        *,
        num_old_classes: int = 0,
        num_parts: int = 1,
    ) -> None:
        """Step with these.

        Args:
            model: in training mode; DistributedDataParallel among peers.
            optimizer: of its parameters.
            schedule: precision, `bf16` or `fp32`, label smoothing, and replay.
            num_old_classes: the first outputs, whose images may be replayed in part.
            num_parts: parts that each batch is computed in.
        """
        self._model, self._optimizer, self._schedule = model, optimizer, schedule
        self.num_parts = num_parts
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in model.buffers():
            by_type.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = list(by_type.values())
        self._saved = [[torch.empty_like(b) for b in group] for group in self._buffers]
        device = next(model.parameters()).device
        self._lr = torch.zeros((), device=device) if device.type == "cuda" else None
        self._old_logits = slice(0, num_old_classes)
        self._adjustment = math.log(schedule.replay) if 0 < schedule.replay < 1 else 0.0

    def __call__(self, batch: tuple[Tensor, Tensor], lr: float) -> Tensor:
        """Do one step; return the batch's mean loss, on the device.

        Args:
            batch: images float32 (B, C, H, W) and labels (B,).
            lr: learning rate.

        Raises:
            torch.OutOfMemoryError: weights and buffers are as they were before.
        """
        self._set_lr(lr)
        self._save_buffers()
        try:
            loss = self._gradients(batch)
            self._optimizer.step()
        except torch.OutOfMemoryError:
            self._optimizer.zero_grad()
            self._restore_buffers()
            raise
        return loss

    def halve(self, batch_size: int, cause: str) -> str:
        """Compute batches in twice as many parts from here on; return a notice that says so.

        Raises:
            OutOfMemoryError: they cannot be smaller, or other processes would have to follow.
        """
        if isinstance(self._model, DistributedDataParallel) or 2 * self.num_parts > batch_size:
            raise OutOfMemoryError(
                f"a step of {batch_size} images, {self._in_parts()}, does not fit the device "
                f"({cause}): lower --batch-size or --image-size"
            )
        self.num_parts *= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return (
            f"out of memory ({cause}): each batch of {batch_size} images is computed in "
            f"{self.num_parts} parts from here on"
        )

    def _set_lr(self, lr: float) -> None:
        """Hand the learning rate to the optimizer: on a GPU in memory there, where a recorded step
        reads it anew each time, and every step in the same float32."""
        if self._lr is not None:
            self._lr.fill_(lr)
        self._optimizer.lr = lr if self._lr is None else self._lr

    def _in_parts(self) -> str:
        return "whole" if self.num_parts == 1 else f"in {self.num_parts} parts"

    def _gradients(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Leave the batch's gradients in the parameters; return its mean loss."""
        images_BCHW, labels_B = batch
        self._optimizer.zero_grad()
        part_size = -(-len(labels_B) // self.num_parts)
        image_parts, label_parts = (torch.split(t, part_size) for t in (images_BCHW, labels_B))
        parts = list(zip(image_parts, label_parts, strict=True))
        losses = []
        for number, (images, labels) in enumerate(parts, start=1):
            with self._exchange(is_last=number == len(parts)):
                with autocast(images.device, self._schedule.precision):
                    logits_BK = self._model(images)
                loss = functional.cross_entropy(
                    self._adjusted(logits_BK.float()),
                    labels,
                    label_smoothing=self._schedule.label_smoothing,
                )
                if len(parts) > 1:
                    loss = loss * (len(labels) / len(labels_B))
                torch.autograd.backward(loss)
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _adjusted(self, logits_BK: Tensor) -> Tensor:
        """Return logits for classes that are as frequent as in training: old ones are rarer there
        than in the data, and are not to be taken for rarer where the model is used."""
        if not self._adjustment:
            return logits_BK
        shift_K = torch.zeros_like(logits_BK[0])
        shift_K[self._old_logits] = self._adjustment
        return logits_BK + shift_K

    def _exchange(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Have peers exchange gradients in the last part of a batch only."""
        if isinstance(self._model, DistributedDataParallel) and not is_last:
            return self._model.no_sync()
        return nullcontext()

    def _save_buffers(self) -> None:
        """Keep batch norm's running statistics: a forward pass that fails has changed some."""
        for saved, buffers in zip(self._saved, self._buffers, strict=True):
            torch._foreach_copy_(saved, buffers)

    def _restore_buffers(self) -> None:
        for saved, buffers in zip(self._saved, self._buffers, strict=True):
            torch._foreach_copy_(buffers, saved)
