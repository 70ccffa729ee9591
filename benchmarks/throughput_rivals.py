"""The loops that `throughput.py` compares ours with: a plain one, and Avalanche's.

Both train the same network on the same images in fp32, with torchvision's transforms on each image.
"""

import io
import itertools
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout
from typing import Any

from PIL import Image
from throughput_loops import Setting, Turn
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from accrete.config.recipe import Recipe


class Plain:
    """A loop as most people write it: transforms image by image, fp32, the loss at every step."""

    def __init__(self, setting: Setting) -> None:
        """Set up Dataset, DataLoader, network and SGD."""
        self.name, self.model, self.num_workers = "plain PyTorch", setting.new_model(), 0
        self._setting = setting
        self._dataset = CifarLike(setting, _transform(setting))
        self._optimizer = _plain_sgd(self.model)
        self._criterion = nn.CrossEntropyLoss(label_smoothing=Recipe().label_smoothing)

    def counting(self, turn: Turn) -> AbstractContextManager[None]:
        """Count what the network is given."""
        return turn.counting_inputs(self.model)

    def train(self, turn: Turn) -> None:
        """Do a turn's steps."""
        device = self._setting.device
        self.model.train()
        running_loss = 0.0
        for images, labels in self._batches():
            images_on_device = images.to(device, non_blocking=True)
            labels_on_device = labels.to(device, non_blocking=True)
            self._optimizer.zero_grad()
            loss = self._criterion(self.model(images_on_device), labels_on_device)
            loss.backward()
            self._optimizer.step()
            running_loss += loss.item()
            if turn.step_done():
                return

    def _batches(self) -> Iterator[Any]:
        loader = DataLoader(
            self._dataset,
            batch_size=self._setting.batch_size,
            shuffle=True,
            num_workers=self.num_workers,
            pin_memory=self._setting.device.type == "cuda",
            drop_last=True,
        )
        return itertools.chain.from_iterable(itertools.repeat(loader))


class Avalanche:
    """Avalanche's Cumulative strategy on one experience, set up as its `SplitCIFAR100` is.

    It keeps its default evaluator (loss and accuracy of the epoch); what that prints is dropped.
    """

    def __init__(self, setting: Setting) -> None:
        """Make the experience.

        Raises:
            ImportError: avalanche-lib is not installed.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # solvers and loggers that it could also have
            from avalanche.benchmarks import nc_benchmark
        self.name, self.model, self.num_workers = "Avalanche", setting.new_model(), 0
        self._setting = setting
        dataset = CifarLike(setting, None)
        benchmark = nc_benchmark(
            train_dataset=dataset,
            test_dataset=dataset,
            n_experiences=1,
            task_labels=False,
            train_transform=_transform(setting),
            eval_transform=_transform(setting),
        )
        self._experience = benchmark.train_stream[0]

    def counting(self, turn: Turn) -> AbstractContextManager[None]:
        """Count what the network is given."""
        return turn.counting_inputs(self.model)

    def train(self, turn: Turn) -> None:
        """Train on the experience until the turn is over."""
        from avalanche.training.supervised import Cumulative

        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            strategy = Cumulative(
                model=self.model,
                optimizer=_plain_sgd(self.model),
                criterion=nn.CrossEntropyLoss(label_smoothing=Recipe().label_smoothing),
                train_mb_size=self._setting.batch_size,
                train_epochs=1_000_000,
                device=self._setting.device,
                plugins=[_turn_plugin(turn)],
            )
            strategy.train(self._experience, num_workers=self.num_workers, drop_last=True)


def _turn_plugin(turn: Turn) -> Any:
    """Return a plugin that stops Avalanche's loop after a turn's last step."""
    from avalanche.training.plugins import SupervisedPlugin

    class EndsTurn(SupervisedPlugin):
        def after_training_iteration(self, strategy: Any, **_: Any) -> None:
            if turn.step_done():
                strategy.stop_training()

    return EndsTurn()


class CifarLike(Dataset[Any]):
    """Images as torchvision's CIFAR100 hands them out: one by one, through Pillow."""

    def __init__(self, setting: Setting, transform: Any) -> None:
        """Take the images, and what to do to each; None: nothing."""
        self.data, self.targets = setting.images_NHWC, setting.labels_N.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.data[index])
        return (self.transform(image) if self.transform else image), self.targets[index]


def _transform(setting: Setting) -> transforms.Compose:
    """Return torchvision's transforms that do what the recipe `fast` does."""
    side = setting.images_NHWC.shape[1]
    return transforms.Compose(
        [
            transforms.RandomCrop(side, padding=side // 8),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(setting.normalization.mean, setting.normalization.std),
        ]
    )


def _plain_sgd(model: nn.Module) -> optim.SGD:
    return optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
