"""Steps of a GPU that are recorded once, as a CUDA graph, and launched whole from then on.

A small batch keeps a GPU busy for less time than its host needs to launch each of the step's few
hundred kernels. The recorded kernels are those that `OptimizerStep` launches, so what is computed
is equal.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from accrete.config.schedule import StageSchedule
from accrete.training.optimizer import Sgd
from accrete.training.step import OptimizerStep

NUM_EAGER_STEPS = 3
"""Steps of the stage that are launched kernel by kernel, before one is recorded: in them cuDNN
chooses its algorithms, torch.compile compiles and momentum is made, none of which can be recorded.
"""


def make_step(
    model: nn.Module,
    optimizer: Sgd,
    schedule: StageSchedule,
    *,
    num_old_classes: int = 0,
    num_parts: int,
    notice: Callable[[str], None] | None,
) -> OptimizerStep:
    """Return the steps of a stage: recorded where they can be, on one GPU.

    Args:
        model: in training mode; DistributedDataParallel among peers, whose exchange is not
            recorded.
        optimizer: of its parameters.
        schedule: of the stage.
        num_old_classes: of the stage.
        num_parts: parts that each batch is computed in.
        notice: hears where steps cannot be recorded, and why; None: they are not to be.
    """
    on_gpu = next(model.parameters()).device.type == "cuda"
    if notice is None or not on_gpu or isinstance(model, DistributedDataParallel):
        return OptimizerStep(
            model, optimizer, schedule, num_old_classes=num_old_classes, num_parts=num_parts
        )
    return RecordedStep(
        model,
        optimizer,
        schedule,
        num_old_classes=num_old_classes,
        num_parts=num_parts,
        notice=notice,
    )


class RecordedStep(OptimizerStep):
    """The steps of a stage on one GPU."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Sgd,
        schedule: StageSchedule,
        *,
        num_old_classes: int = 0,
        num_parts: int = 1,
        notice: Callable[[str], None],
    ) -> None:
        """Step with these, as `make_step` has them."""
        super().__init__(
            model, optimizer, schedule, num_old_classes=num_old_classes, num_parts=num_parts
        )
        self._notice = notice
        self._num_eager = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._can_record = True
        self._batch: tuple[Tensor, ...] = ()
        self._loss: Tensor | None = None

    def __call__(self, batch: tuple[Tensor, Tensor], lr: float) -> Tensor:
        """Do one step; return the batch's mean loss, on the device, valid until the next step.

        Args:
            batch: images float32 (B, C, H, W) and labels (B,), in each step of these shapes.
            lr: learning rate.

        Raises:
            torch.OutOfMemoryError: weights and buffers are as they were before.
        """
        if self._graph is None and self._can_record and self._num_eager >= NUM_EAGER_STEPS:
            self._record(batch)
        if self._graph is None:
            loss = super().__call__(batch, lr)
            self._num_eager += 1
            return loss
        self._set_lr(lr)
        for place, given in zip(self._batch, batch, strict=True):
            place.copy_(given)
        self._graph.replay()
        assert self._loss is not None
        return self._loss

    def _record(self, batch: tuple[Tensor, Tensor]) -> None:
        """Record a step, without doing it; where that fails, steps stay as they are."""
        graph = torch.cuda.CUDAGraph()
        self._batch = tuple(torch.empty_like(given) for given in batch)
        try:
            # Threads that store a snapshot or fetch shards go on meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._loss = self._gradients((self._batch[0], self._batch[1]))
                self._optimizer.step()
        except RuntimeError as error:  # out of memory, or an operation that waits for the GPU
            self._can_record = False
            self._batch, self._loss = (), None
            self._optimizer.zero_grad()
            torch.cuda.synchronize()
            self._notice(
                f"a step of this network cannot be recorded ({str(error).splitlines()[0]}): "
                "its kernels are launched one by one, which may be slower"
            )
            return
        self._graph = graph
