"""A small separable data set, networks for it, and a stage of training to its end."""

import copy
import dataclasses
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from accrete.config.image_format import Normalization
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig
from accrete.config.schedule import StageSchedule, resolve
from accrete.models.networks import build_model
from accrete.training.augmentation import Augmentation
from accrete.training.batches import TrainingBatches
from accrete.training.image_source import ResidentImages
from accrete.training.loop import HistoryPoint, TrainState, train
from accrete.training.optimizer import Sgd, load_momentum, make_optimizer

NORMALIZATION = Normalization(mean=(0.5,), std=(0.25,))
NUM_CLASSES = 4


def make_data(num_images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return noisy 8×8 images, of class k with a bright quarter k, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.arange(num_images) % NUM_CLASSES
    noise = torch.randint(0, 120, (num_images, 8, 8, 1), generator=generator)
    for image, label in zip(noise, labels_N.tolist(), strict=True):
        y, x = divmod(label, 2)
        image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] += 100
    return noise.to(torch.uint8), labels_N


def make_schedule(num_steps: int, **changes: Any) -> StageSchedule:
    """Return the schedule of a plan's only stage, of this many steps of 16 images."""
    plan = Plan(rule="", class_order=("a",), class_images=(160,), stage_sizes=(1,))
    recipe = Recipe(batch_size=16, lr=0.05, precision="fp32", budget_epochs=num_steps / 10)
    (schedule,) = resolve(recipe, plan, 8)
    assert schedule.num_steps == num_steps
    return dataclasses.replace(schedule, **changes)


def make_batches(
    schedule: StageSchedule, seed: int = 0, *, num_images: int = 160, crop_padding: int = 1
) -> TrainingBatches:
    """Return batches of the data set's first images."""
    images_NHWC, labels_N = make_data(num_images)
    return TrainingBatches(
        ResidentImages(images_NHWC),
        labels_N,
        batch_size=schedule.batch_size,
        seed=seed,
        stage=1,
        normalization=NORMALIZATION,
        augmentation=Augmentation(flip="none", crop_padding=crop_padding),
    )


def make_model() -> nn.Module:
    """Return a small network in channels_last, as training takes it."""
    config = ModelConfig(name="small", width=0.25)
    model: nn.Module = build_model(config, channels=1, num_classes=NUM_CLASSES, seed=0)
    return model.to(memory_format=torch.channels_last)


def make_linear_model() -> nn.Sequential:
    """Return a linear classifier of 8×8 images, the same each time."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, NUM_CLASSES))
    fill(model)
    return model


def fill(model: nn.Module) -> None:
    """Give a model's parameters small random values, the same each time."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.1, 0.1, generator=generator)


class Told:
    """A watcher that remembers what it heard, and takes the state after some steps."""

    def __init__(self, *positions: int) -> None:
        self.news: list[tuple[int, float]] = []
        self.notices: list[str] = []
        self.taken: dict[int, TrainState] = {}
        self._positions = positions
        self._step = 0

    def progress(self, done: int, loss: float) -> None:
        self.news.append((done, loss))

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def wants_state(self) -> bool:
        self._step += 1
        return self._step in self._positions

    def take_state(self, state: TrainState) -> None:
        self.taken[state.position] = copy.deepcopy(state)


class StoppedError(Exception):
    """Ends training in the middle."""


class StopAt(Told):
    """A watcher that ends training as soon as it took the state."""

    def take_state(self, state: TrainState) -> None:
        super().take_state(state)
        raise StoppedError


def train_all(
    model: nn.Module,
    batches: TrainingBatches,
    schedule: StageSchedule,
    optimizer: Sgd,
    watcher: Told,
) -> list[HistoryPoint]:
    """Train a stage from its beginning."""
    return train(model, batches, schedule, optimizer, state=TrainState(), watcher=watcher)


def run(
    model: nn.Module, schedule: StageSchedule, optimizer: Sgd | None = None
) -> list[HistoryPoint]:
    """Train a model and return the history."""
    optimizer = optimizer or make_optimizer(model, schedule)
    return train_all(model, make_batches(schedule), schedule, optimizer, Told())


def train_until(
    position: int, model: nn.Module, batches: TrainingBatches, schedule: StageSchedule
) -> tuple[Sgd, TrainState]:
    """Train up to a step and no further; return the optimizer and the state there."""
    optimizer, watcher = make_optimizer(model, schedule), StopAt(position)
    with suppress(StoppedError):
        train_all(model, batches, schedule, optimizer, watcher)
    return optimizer, watcher.taken[position]


def train_on(
    model: nn.Module,
    momentum: dict[str, Tensor],
    batches: TrainingBatches,
    schedule: StageSchedule,
    *,
    state: TrainState,
    watcher: Told,
) -> TrainState:
    """Train what is left of a stage, as another process would from a snapshot."""
    optimizer, state = make_optimizer(model, schedule), copy.deepcopy(state)
    load_momentum(model, optimizer, momentum)
    train(model, batches, schedule, optimizer, state=state, watcher=watcher)
    return state


def same_weights(left: nn.Module, right: nn.Module) -> bool:
    """Return whether two models are bit-equal."""
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
