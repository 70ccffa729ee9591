"""The training loop learns, repeats itself bit for bit, resumes to the same and stops at NaN."""

import itertools
import math

import pytest
import torch
from torch import nn
from training_sample import (
    NORMALIZATION,
    NUM_CLASSES,
    Told,
    make_batches,
    make_data,
    make_linear_model,
    make_model,
    make_schedule,
    run,
    same_weights,
    train_all,
    train_on,
    train_until,
)

from accrete.config.schedule import lr_at
from accrete.errors import TrainingDivergedError
from accrete.training.evaluation import evaluate
from accrete.training.image_source import ResidentImages
from accrete.training.loop import HISTORY_POINTS
from accrete.training.optimizer import make_optimizer, momentum_of

pytestmark = pytest.mark.usefixtures("one_thread")


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


def top1_of(model: nn.Module) -> float:
    """Return the accuracy on images that the model was not trained on."""
    images_NHWC, labels_N = make_data(200, seed=1)
    result = evaluate(
        model,
        ResidentImages(images_NHWC),
        labels_N,
        num_classes=NUM_CLASSES,
        normalization=NORMALIZATION,
        precision="fp32",
    )
    assert result is not None
    return result.top1(0, NUM_CLASSES) or 0.0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_separable_classes_are_learnt(precision: str) -> None:
    model = make_model()
    before = top1_of(model)
    history = run(model, make_schedule(60, precision=precision))
    after = top1_of(model)
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
    monkeypatch.setattr("accrete.training.loop.HISTORY_POINTS", 2)
    schedule = make_schedule(7, lr=1e-9, weight_decay=0.0)
    model = make_linear_model()
    history = run(model, schedule)
    losses = []
    for images, labels in itertools.islice(make_batches(schedule).starting_at(0, 0), 7):
        loss = nn.functional.cross_entropy(
            model(images), labels, label_smoothing=schedule.label_smoothing
        )
        losses.append(loss.item())
    means = [sum(losses[:3]) / 3, sum(losses[3:6]) / 3, losses[6]]
    assert [point.loss for point in history] == pytest.approx(means, rel=1e-5)


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


@pytest.mark.parametrize("position", [1, 7, 11])
def test_training_goes_on_from_any_step_to_identical_weights_and_history(position: int) -> None:
    schedule = make_schedule(12, precision="bf16")
    whole = make_model()
    history = run(whole, schedule)
    part, again = make_model(), make_model()
    optimizer, state = train_until(position, part, make_batches(schedule), schedule)
    assert (state.position, len(state.history)) == (position, position)
    again.load_state_dict(part.state_dict())
    momentum = momentum_of(part, optimizer)
    state = train_on(again, momentum, make_batches(schedule), schedule, state=state, watcher=Told())
    assert same_weights(whole, again)
    assert state.history == history
