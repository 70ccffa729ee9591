"""The step loop learns, repeats itself bit for bit and stops at NaN; evaluation counts right."""

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accrete.batches import Augmentation, TrainingBatches
from accrete.config import ModelConfig
from accrete.errors import TrainingDivergedError
from accrete.evaluate import BATCH_SIZE, Evaluation, evaluate
from accrete.manifests import Normalization
from accrete.model import build_model
from accrete.plan import Plan
from accrete.recipe import Recipe, StageSchedule, lr_at, resolve
from accrete.train import (
    HISTORY_POINTS,
    HistoryPoint,
    TrainState,
    load_momentum,
    make_optimizer,
    momentum_of,
    train,
)

NORMALIZATION = Normalization(mean=(0.5,), std=(0.25,))
NUM_CLASSES = 4


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Images of 8×8 pixels gain nothing from threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def make_batches(schedule: StageSchedule, seed: int = 0) -> TrainingBatches:
    """Return batches of 160 images."""
    images_NHWC, labels_N = make_data(160)
    return TrainingBatches(
        images_NHWC,
        labels_N,
        batch_size=schedule.batch_size,
        seed=seed,
        stage=1,
        normalization=NORMALIZATION,
        augmentation=Augmentation(flip=False, crop_padding=1),
    )


def make_model() -> nn.Module:
    """Return a small network in channels_last, as training takes it."""
    config = ModelConfig(name="small", width=0.25)
    model: nn.Module = build_model(config, channels=1, num_classes=NUM_CLASSES, seed=0)
    return model.to(memory_format=torch.channels_last)


def make_linear_model() -> nn.Sequential:
    """Return a linear classifier of 8×8 images, the same each time."""
    linear = nn.Linear(64, NUM_CLASSES)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.uniform_(-0.1, 0.1, generator=generator)
    return nn.Sequential(nn.Flatten(), linear)


class Told:
    """A watcher that remembers what it heard, and takes the state after some steps."""

    def __init__(self, *positions: int) -> None:
        self.news: list[tuple[int, float]] = []
        self.taken: dict[int, TrainState] = {}
        self._positions = positions
        self._step = 0

    def progress(self, done: int, loss: float) -> None:
        self.news.append((done, loss))

    def wants_state(self) -> bool:
        self._step += 1
        return self._step in self._positions

    def take_state(self, state: TrainState) -> None:
        self.taken[state.position] = copy.deepcopy(state)


def train_all(
    model: nn.Module,
    batches: TrainingBatches,
    schedule: StageSchedule,
    optimizer: torch.optim.SGD,
    watcher: Told,
) -> list[HistoryPoint]:
    """Train a stage from its beginning."""
    return train(model, batches, schedule, optimizer, state=TrainState(), watcher=watcher)


def run(
    model: nn.Module, schedule: StageSchedule, optimizer: torch.optim.SGD | None = None
) -> list[HistoryPoint]:
    """Train a model and return the history."""
    optimizer = optimizer or make_optimizer(model, schedule)
    return train_all(model, make_batches(schedule), schedule, optimizer, Told())


def same_weights(left: nn.Module, right: nn.Module) -> bool:
    """Return whether two models are bit-equal."""
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def evaluated(model: nn.Module, seed: int = 1, num_images: int = 200) -> Evaluation:
    """Return how a model does on images that it was not trained on."""
    images_NHWC, labels_N = make_data(num_images, seed)
    result = evaluate(
        model,
        images_NHWC,
        labels_N,
        num_classes=NUM_CLASSES,
        normalization=NORMALIZATION,
        precision_name="fp32",
    )
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("precision", "num_threads", "num_steps"), [("fp32", 1, 12), ("bf16", 1, 12), ("bf16", 2, 2)]
)
def test_two_runs_are_bit_identical(precision: str, num_threads: int, num_steps: int) -> None:
    torch.set_num_threads(num_threads)
    schedule = make_schedule(num_steps, precision=precision)
    first, again = make_model(), make_model()
    assert run(first, schedule) == run(again, schedule)
    assert same_weights(first, again)
    assert not same_weights(first, make_model())


def test_another_seed_gives_other_weights() -> None:
    schedule = make_schedule(12)
    first, other = make_model(), make_model()
    run(first, schedule)
    train_all(other, make_batches(schedule, 1), schedule, make_optimizer(other, schedule), Told())
    assert not same_weights(first, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_separable_classes_are_learnt(precision: str) -> None:
    model = make_model()
    before = evaluated(model).top1(0, NUM_CLASSES)
    history = run(model, make_schedule(60, precision=precision))
    after = evaluated(model).top1(0, NUM_CLASSES)
    assert before is not None
    assert after is not None
    assert before < 0.6
    assert after > 0.95
    assert history[-1].loss < history[0].loss / 2


def test_history_follows_the_schedule() -> None:
    schedule = make_schedule(20, first_step=40, total_steps=80)
    history = run(make_model(), schedule)
    assert [point.step for point in history] == list(range(41, 61))
    assert [point.lr for point in history] == [lr_at(schedule, step) for step in range(40, 60)]
    assert [point.epoch for point in history] == pytest.approx([n / 10 for n in range(1, 21)])


def test_history_keeps_about_two_hundred_points() -> None:
    schedule = make_schedule(2 * HISTORY_POINTS + 3, batch_size=2)
    told = Told()
    model = make_linear_model()
    batches = make_batches(schedule)
    optimizer = make_optimizer(model, schedule)
    history = train_all(model, batches, schedule, optimizer, told)
    assert HISTORY_POINTS == 200
    assert [point.step for point in history] == [*range(2, 403, 2), 403]
    assert told.news == [(point.step, point.loss) for point in history]


def test_history_point_is_the_mean_loss_since_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("accrete.train.HISTORY_POINTS", 2)
    schedule = make_schedule(7, lr=1e-9, weight_decay=0.0)
    model = make_linear_model()
    history = run(model, schedule)
    losses = []
    for position in range(7):
        images, labels = make_batches(schedule).batch(position, position)
        loss = nn.functional.cross_entropy(
            model(images), labels, label_smoothing=schedule.label_smoothing
        )
        losses.append(loss.item())
    means = [sum(losses[:3]) / 3, sum(losses[3:6]) / 3, losses[6]]
    assert [point.loss for point in history] == pytest.approx(means, rel=1e-5)


def test_one_step_is_sgd_with_nesterov_momentum_and_weight_decay() -> None:
    schedule = make_schedule(3, label_smoothing=0.2, weight_decay=0.01)
    model = make_linear_model()
    weight = model[1].weight.detach().double().numpy().T
    bias = model[1].bias.detach().double().numpy()
    velocity_w, velocity_b = np.zeros_like(weight), np.zeros_like(bias)
    batches = make_batches(schedule)
    run(model, schedule)
    for step in range(3):
        images, labels = batches.batch(step, step)
        inputs = images.flatten(1).double().numpy()
        logits = inputs @ weight + bias
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        targets = np.full_like(shares, 0.2 / NUM_CLASSES)
        targets[np.arange(len(labels)), labels.numpy()] += 0.8
        errors = (shares - targets) / len(labels)
        gradient_w = inputs.T @ errors + 0.01 * weight
        gradient_b = errors.sum(0) + 0.01 * bias
        velocity_w = 0.9 * velocity_w + gradient_w
        velocity_b = 0.9 * velocity_b + gradient_b
        lr = lr_at(schedule, step)
        weight = weight - lr * (gradient_w + 0.9 * velocity_w)
        bias = bias - lr * (gradient_b + 0.9 * velocity_b)
    np.testing.assert_allclose(model[1].weight.detach().numpy().T, weight, atol=1e-5)
    np.testing.assert_allclose(model[1].bias.detach().numpy(), bias, atol=1e-5)


def test_momentum_that_is_carried_continues_as_if_nothing_had_happened() -> None:
    first, second = make_schedule(8), make_schedule(8, first_step=8, total_steps=16)
    model = make_model()
    optimizer = make_optimizer(model, first)
    assert momentum_of(model, optimizer) == {}
    run(model, first, optimizer)
    momentum = {name: buffer.clone() for name, buffer in momentum_of(model, optimizer).items()}
    assert set(momentum) == {name for name, _ in model.named_parameters()}
    carried, reset = copy.deepcopy(model), copy.deepcopy(model)
    run(model, second, optimizer)
    fresh = make_optimizer(carried, second)
    load_momentum(carried, fresh, momentum)
    run(carried, second, fresh)
    run(reset, second)
    assert same_weights(carried, model)
    assert not same_weights(reset, model)


def test_loaded_momentum_is_a_copy() -> None:
    model = make_model()
    schedule = make_schedule(2)
    momentum = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, schedule)
    load_momentum(model, optimizer, momentum)
    run(model, schedule, optimizer)
    assert all(bool((buffer == 1).all()) for buffer in momentum.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_loss_that_diverges_names_epoch_and_rate(precision: str) -> None:
    schedule = make_schedule(40, lr=1000.0, weight_decay=10.0, lr_shape="step", precision=precision)
    model = make_linear_model()
    with pytest.raises(TrainingDivergedError, match=r"(nan|inf) at epoch \d\.\d\d with lr 1000: "):
        run(model, schedule)


def test_loss_that_is_nan_at_once_names_the_first_check() -> None:
    model = make_model()
    with torch.no_grad():
        model.get_parameter("head.bias").fill_(math.nan)
    schedule = make_schedule(10)
    match = rf"the loss is nan at epoch 0\.10 with lr {lr_at(schedule, 0):.4g}: lower --lr"
    with pytest.raises(TrainingDivergedError, match=match):
        run(model, schedule)


def plain_counts(
    model: nn.Module, images_NHWC: Tensor, labels_N: Tensor
) -> tuple[list[list[int]], float]:
    """Return confusion matrix and mean loss, one image at a time in double precision."""
    double = copy.deepcopy(model).double().eval()
    confusion = [[0] * NUM_CLASSES for _ in range(NUM_CLASSES)]
    loss = 0.0
    with torch.no_grad():
        for image, label in zip(images_NHWC, labels_N.tolist(), strict=True):
            pixels = (image.permute(2, 0, 1)[None].double() / 255 - 0.5) / 0.25
            shares = double(pixels)[0].softmax(0).tolist()
            confusion[label][shares.index(max(shares))] += 1
            loss -= math.log(shares[label])
    return confusion, loss / len(labels_N)


@pytest.mark.parametrize("num_images", [1, 150, BATCH_SIZE + 77])
def test_evaluation_agrees_with_a_plain_loop(num_images: int) -> None:
    model = make_linear_model()
    images_NHWC, labels_N = make_data(num_images)
    confusion, loss = plain_counts(model, images_NHWC, labels_N)
    result = evaluated(model, 0, num_images)
    assert result.confusion == confusion
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert result.num_images == num_images
    right = sum(confusion[label][label] for label in range(NUM_CLASSES))
    assert result.top1(0, NUM_CLASSES) == right / num_images


def test_evaluation_counts_classes_without_images() -> None:
    model = make_model()
    images_NHWC, labels_N = make_data(30)
    result = evaluate(
        model,
        images_NHWC[labels_N == 2],
        labels_N[labels_N == 2],
        num_classes=NUM_CLASSES,
        normalization=NORMALIZATION,
        precision_name="bf16",
    )
    assert result is not None
    assert [sum(row) for row in result.confusion] == [0, 0, 7, 0]
    assert result.top1(0, 2) is None
    assert result.top1(2, 4) == result.top1(0, 4)


def test_top1_of_old_and_new_classes_counts_their_rows_alone() -> None:
    evaluation = Evaluation(confusion=[[3, 1, 0], [0, 2, 2], [5, 0, 0]], loss=0.0)
    assert evaluation.num_images == 13
    assert evaluation.top1(0, 2) == 5 / 8
    assert evaluation.top1(2, 3) == 0
    assert evaluation.top1(0, 3) == 5 / 13
    assert evaluation.top1(1, 1) is None


def test_evaluation_changes_nothing_in_the_model() -> None:
    model = make_model().train()
    before = copy.deepcopy(model)
    evaluated(model)
    assert same_weights(model, before)


def test_evaluation_of_no_image_is_none() -> None:
    result = evaluate(
        make_model(),
        torch.empty(0, 8, 8, 1, dtype=torch.uint8),
        torch.empty(0, dtype=torch.int64),
        num_classes=NUM_CLASSES,
        normalization=NORMALIZATION,
        precision_name="fp32",
    )
    assert result is None


class StoppedError(Exception):
    """Ends training in the middle."""


class StopAt(Told):
    def take_state(self, state: TrainState) -> None:
        super().take_state(state)
        raise StoppedError


@pytest.mark.parametrize("position", [1, 7, 11])
def test_training_goes_on_from_any_step_to_identical_weights_and_history(position: int) -> None:
    schedule = make_schedule(12, precision="bf16")
    whole = make_model()
    history = run(whole, schedule)
    part = make_model()
    optimizer = make_optimizer(part, schedule)
    stopped = StopAt(position)
    with pytest.raises(StoppedError):
        train_all(part, make_batches(schedule), schedule, optimizer, stopped)
    again = make_model()
    again.load_state_dict(part.state_dict())
    fresh = make_optimizer(again, schedule)
    load_momentum(again, fresh, momentum_of(part, optimizer))
    rest = train(
        again,
        make_batches(schedule),
        schedule,
        fresh,
        state=stopped.taken[position],
        watcher=Told(),
    )
    assert same_weights(whole, again)
    assert rest == history
