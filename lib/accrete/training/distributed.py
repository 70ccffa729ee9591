"""The processes that train one stage together, one a GPU; mostly there is only one."""

import json
import warnings
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


class Peers:
    """This process among those that train together."""

    def __init__(self, device: torch.device, rank: int = 0, world_size: int = 1) -> None:
        """Be one of several; torch.distributed must be set up where there is more than one.

        Args:
            device: this one's.
            rank: which, from 0; the first one does all writing.
            world_size: how many.
        """
        self.device, self.rank, self.world_size = device, rank, world_size

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        """Return the mean of a value over the processes; all must call."""
        return self.all_reduce(value) / self.world_size if self.world_size > 1 else value

    def all_reduce(self, value: Tensor) -> Tensor:
        """Return the sum of a value over the processes; all must call."""
        if self.world_size == 1:
            return value
        total = value.clone()
        distributed.all_reduce(total)
        return total

    def broadcast_object(self, value: Any) -> Any:
        """Return the first process's value, anything that JSON holds; all must call."""
        if self.world_size == 1:
            return value
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        length = torch.tensor([len(data)], device=self.device)
        distributed.broadcast(length, 0)
        content = (
            data.to(self.device) if self.is_main else data.new_empty(int(length)).to(self.device)
        )
        distributed.broadcast(content, 0)
        return json.loads(bytes(content.tolist()))

    def broadcast(self, tensors: list[Tensor]) -> None:
        """Give every process the first one's values, in place; all must call."""
        if self.world_size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def barrier(self) -> None:
        """Return when all have called."""
        if self.world_size > 1:
            distributed.barrier()


ALONE = Peers(torch.device("cpu"))
"""One process on a CPU."""


def wrap_data_parallel(model: nn.Module) -> DistributedDataParallel:
    """Wrap a model so that each backward pass leaves the mean gradient of all processes.

    Weights and buffers become the first process's. Buffers are not exchanged after that: with
    synchronized batch norm they stay equal.
    """
    with warnings.catch_warnings():
        # torch 2.15 renames this argument; 2.11 has only this name
        warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def convert_sync_batchnorm(model: nn.Module, device: torch.device) -> None:
    """Have batch norm take its statistics over the batches of all processes, in place.

    Then several processes compute what one would on the whole batch, up to rounding. Names and
    shapes of the weights stay. torch's own SyncBatchNorm needs a GPU.
    """
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            if device.type == "cuda":
                synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(child)  # type: ignore[no-untyped-call]
            else:
                synced = _SyncBatchNorm(child)
            setattr(model, name, synced)
        else:
            convert_sync_batchnorm(child, device)


class _SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes' batches, in plain operations that a CPU has."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        kind = norm.weight.dtype
        super().__init__(norm.num_features, eps=norm.eps, momentum=norm.momentum, dtype=kind)
        self.load_state_dict(norm.state_dict())

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return images (B, C, H, W), each channel scaled to mean 0 and variance 1."""
        if not self.training:
            return super().forward(images_BCHW)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = images_BCHW if images_BCHW.dtype == torch.float64 else images_BCHW.float()
        count = values.numel() // values.shape[1] * distributed.get_world_size()
        mean = _all_reduce(values.sum((0, 2, 3))) / count
        centred = values - mean.view(1, -1, 1, 1)
        variance = _all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        scaled = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return scaled.to(images_BCHW.dtype)


class _AllReduce(torch.autograd.Function):
    """The sum of a tensor over the processes; gradients are summed on their way back."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradients: Tensor) -> Tensor:
        total = gradients.clone()
        distributed.all_reduce(total)
        return total


def _all_reduce(values: Tensor) -> Tensor:
    total: Tensor = _AllReduce.apply(values)
    return total
