"""What the loops of `throughput.py` have in common, and ours; `throughput_rivals` has the others.

Each loop goes on from turn to turn, as training does, and reads its loss as it does in earnest.

Shape suffixes: N images, H height, W width, C channels.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from accrete.config.image_format import Normalization
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig
from accrete.config.schedule import StageSchedule, resolve
from accrete.models.networks import Classifier, build_model
from accrete.training.augmentation import Augmentation
from accrete.training.batches import TrainingBatches
from accrete.training.compilation import compile_trunk
from accrete.training.image_source import ResidentImages
from accrete.training.loop import TrainState, train
from accrete.training.optimizer import make_optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all loops train, on what."""

    images_NHWC: NDArray[np.uint8]
    """Training images."""
    labels_N: NDArray[np.int64]
    """Their labels, 0..num_classes-1."""
    num_classes: int
    """Outputs of the network."""
    normalization: Normalization
    """Of the images."""
    model: str
    """Name of the network."""
    batch_size: int
    """Images per step."""
    device: torch.device
    """Where the network is."""

    def new_model(self) -> Classifier:
        """Return the network, with the same weights each time."""
        config = ModelConfig(name=self.model)
        model = build_model(config, channels=3, num_classes=self.num_classes, seed=0)
        return model.to(self.device)


class Turn:
    """Some steps of one loop, timed but for the first ones; the loop says when one is done."""

    def __init__(self, setting: Setting, *, num_steps: int, num_warmup: int) -> None:
        """Time the steps num_warmup+1..num_steps.

        Args:
            setting: of the loop.
            num_steps: in all.
            num_warmup: at least 1; their time does not count.
        """
        self.num_steps = num_steps
        self.num_images = 0
        self._setting, self._num_warmup = setting, num_warmup
        self._num_done = 0
        self._started_s = self._ended_s = 0.0

    def step_done(self) -> bool:
        """Count a step; return whether it was the last."""
        self._num_done += 1
        if self._num_done == self._num_warmup:
            self._started_s = self._now_s()
        if self._num_done == self.num_steps:
            self._ended_s = self._now_s()
        return self._num_done >= self.num_steps

    @contextmanager
    def counting_inputs(self, model: nn.Module) -> Iterator[None]:
        """Count the images that a network is given."""

        def count(_model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            self.num_images += len(inputs[0])

        hook = model.register_forward_pre_hook(count)
        try:
            yield
        finally:
            hook.remove()

    @property
    def images_per_s(self) -> float:
        """Images of the timed steps over their seconds."""
        num_timed = self.num_steps - self._num_warmup
        return num_timed * self._setting.batch_size / (self._ended_s - self._started_s)

    def _now_s(self) -> float:
        if self._setting.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


class Loop(Protocol):
    """A contender."""

    name: str
    """In the table."""
    model: nn.Module
    """What it trains."""
    num_workers: int | None
    """Processes that read images; None: it has no such knob."""

    def counting(self, turn: Turn) -> AbstractContextManager[None]:
        """Have the turn count the images that are trained on."""

    def train(self, turn: Turn) -> None:
        """Do steps until the turn has had enough."""


class Ours:
    """`accrete.training.loop.train` on resident images, in a stage of the recipe `fast`."""

    def __init__(
        self,
        name: str,
        setting: Setting,
        *,
        precision: str,
        compiled: str | None = None,
        recorded: bool = True,
    ) -> None:
        """Set a stage up as `accrete.stages.run` does.

        Args:
            name: in the table.
            setting: what it trains, on what.
            precision: `bf16` or `fp32`.
            compiled: torch.compile's backend for the trunk; None: it is not compiled.
            recorded: whether a GPU's steps are recorded.
        """
        self.name, self.num_workers = name, None
        self.model = setting.new_model().to(memory_format=torch.channels_last)
        if compiled is not None:
            compile_trunk(self.model.trunk, compiled)
        self._recorded = recorded
        self._schedule = _whole_stage(setting, precision)
        self._optimizer = make_optimizer(self.model, self._schedule)
        self._state = TrainState()
        self._batches = _CountedBatches(
            ResidentImages(torch.from_numpy(setting.images_NHWC).to(setting.device)),
            torch.from_numpy(setting.labels_N),
            batch_size=setting.batch_size,
            seed=0,
            stage=1,
            normalization=setting.normalization,
            augmentation=Augmentation(
                flip=self._schedule.flip, crop_padding=self._schedule.crop_padding
            ),
        )

    def counting(self, turn: Turn) -> AbstractContextManager[None]:
        """Count what the training loop takes: a recorded step calls no network."""
        return self._batches.counting_for(turn)

    def train(self, turn: Turn) -> None:
        """Go on with the stage, from its beginning where too few steps of it are left."""
        if self._state.position + turn.num_steps > self._schedule.num_steps:
            self._state = TrainState()
        self._state.stopped = None
        train(
            self.model,
            self._batches,
            self._schedule,
            self._optimizer,
            state=self._state,
            watcher=_EndsTurn(turn, self._state),
            recorded=self._recorded,
        )


class _CountedBatches(TrainingBatches):
    """Batches that a turn may count."""

    _turn: Turn | None = None

    @contextmanager
    def counting_for(self, turn: Turn) -> Iterator[None]:
        """Have a turn count the images that are taken."""
        self._turn = turn
        try:
            yield
        finally:
            self._turn = None

    def starting_at(self, position: int, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches, each counted as it is taken."""
        for images, labels in super().starting_at(position, step):
            if self._turn is not None:
                self._turn.num_images += len(images)
            yield images, labels


class _EndsTurn:
    """Ends our loop after a turn's last step."""

    def __init__(self, turn: Turn, state: TrainState) -> None:
        self._turn, self._state = turn, state

    def progress(self, done: int, loss: float) -> None:
        """Ignore it."""

    def notice(self, text: str) -> None:
        """Refuse to go on: a step that did not fit cannot be compared."""
        raise RuntimeError(text)

    def wants_state(self) -> bool:
        """Have the step counted."""
        if self._turn.step_done():
            self._state.stopped = "the turn is over"
        return False

    def take_state(self, state: TrainState) -> None:
        """Never called."""


def _whole_stage(setting: Setting, precision: str) -> StageSchedule:
    """Return the schedule of a stage over all images, with the recipe's own budget."""
    num_images = len(setting.images_NHWC)
    plan = Plan(
        rule="all at once", class_order=("all",), class_images=(num_images,), stage_sizes=(1,)
    )
    recipe = Recipe(batch_size=setting.batch_size, precision=precision)
    (schedule,) = resolve(recipe, plan, setting.images_NHWC.shape[1])
    return schedule
