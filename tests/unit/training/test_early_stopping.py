"""When a stage ends before its budget: on a plateau, or where the gradient is small."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from training_sample import (
    Told,
    make_batches,
    make_linear_model,
    make_model,
    make_schedule,
    same_weights,
    train_on,
    train_until,
)

from accrete.config.schedule import StageSchedule
from accrete.training.early_stopping import (
    reason_to_end_rounds,
    reason_to_stop,
    what_was_missed,
)
from accrete.training.loop import HistoryPoint, TrainState, train
from accrete.training.optimizer import make_optimizer, momentum_of

pytestmark = pytest.mark.usefixtures("one_thread")


def not_asked() -> float:
    raise AssertionError("the gradient's norm was asked for")


def first_stop(
    schedule: StageSchedule, loss: Callable[[float], float], points_per_epoch: int = 4
) -> tuple[float, str] | None:
    """Return when, within 60 epochs, a loss ends a stage, and why."""
    history = []
    for number in range(1, 60 * points_per_epoch + 1):
        epoch = number / points_per_epoch
        history.append(HistoryPoint(step=number, epoch=epoch, lr=0.1, loss=loss(epoch)))
        reason = reason_to_stop(schedule, history, not_asked)
        if reason is not None:
            return epoch, reason
    return None


@pytest.mark.parametrize("patience", [1, 3, 10])
@pytest.mark.parametrize("points_per_epoch", [1, 4, 7])
def test_constant_loss_is_a_plateau_after_twice_the_patience(
    patience: int, points_per_epoch: int
) -> None:
    schedule = make_schedule(10, stop_patience=patience)
    found = first_stop(schedule, lambda _: 2.0, points_per_epoch)
    assert found == (2 * patience, f"the loss went from 2 to 2 in {patience} epochs")


def test_plateau_compares_the_last_epochs_with_as_many_before_them() -> None:
    losses = {1: 1.0, 2: 5.0, 3: 2.0, 4: 6.0}
    schedule = make_schedule(10, stop_patience=2)
    found = first_stop(schedule, lambda epoch: losses[int(epoch)], points_per_epoch=1)
    assert found == (4, "the loss went from 3 to 4 in 2 epochs")


def test_points_that_lie_further_apart_than_the_patience_are_compared_themselves() -> None:
    schedule = make_schedule(10, stop_patience=1)
    points = [HistoryPoint(step=n, epoch=5.0 * n, lr=0.1, loss=2.0) for n in (1, 2)]
    assert reason_to_stop(schedule, points, not_asked) is not None
    assert reason_to_stop(schedule, points[:1], not_asked) is None


def test_rising_loss_is_a_plateau_too() -> None:
    found = first_stop(make_schedule(10, stop_patience=2), lambda epoch: 1 + epoch)
    assert found is not None
    assert found[0] == 4


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_falling_loss_is_no_plateau(patience: int) -> None:
    schedule = make_schedule(10, stop_patience=patience)
    assert first_stop(schedule, lambda epoch: 0.97**epoch) is None


def test_slow_fall_is_a_plateau_for_the_impatient_only() -> None:
    def loss(epoch: float) -> float:
        return 0.995**epoch

    assert first_stop(make_schedule(10, stop_patience=1), loss) is not None
    assert first_stop(make_schedule(10, stop_patience=4), loss) is None


def test_loss_that_falls_and_then_stays_stops_when_both_windows_are_level() -> None:
    found = first_stop(
        make_schedule(10, stop_patience=3), lambda epoch: max(1.0, 10 - epoch), points_per_epoch=1
    )
    assert found == (14, "the loss went from 1 to 1 in 3 epochs")


@pytest.mark.parametrize(("norm", "stops"), [(0.0999, True), (0.1, False), (math.inf, False)])
def test_small_gradient_ends_a_stage(norm: float, stops: bool) -> None:
    history = [HistoryPoint(step=1, epoch=0.1, lr=0.1, loss=2.0)]
    reason = reason_to_stop(make_schedule(10, stop_gradient=0.1), history, lambda: norm)
    assert reason == ("the gradient's norm is 0.0999, below 0.1" if stops else None)


def test_both_stops_are_off_by_default() -> None:
    schedule = make_schedule(10)
    assert (schedule.stop_gradient, schedule.stop_patience) == (None, None)
    assert first_stop(schedule, lambda _: 2.0) is None


# Rates so small that nothing is learnt; ten steps an epoch, all images the same each epoch.
LEVEL = {"lr": 1e-9, "weight_decay": 0.0, "stop_patience": 2}
# All images in every batch, so that the gradient has no noise and the weights reach its zero.
CONVEX = {"lr": 0.2, "weight_decay": 0.01, "stop_gradient": 0.01, "total_steps": 10_000}


def trained(
    schedule: StageSchedule, num_images: int, position: int | None = None
) -> tuple[nn.Module, TrainState]:
    """Train a linear model, in one go or with a stop and a continuation."""

    def batches() -> object:
        return make_batches(schedule, num_images=num_images, crop_padding=0)

    model, state = make_linear_model(), TrainState()
    if position is None:
        optimizer = make_optimizer(model, schedule)
        train(model, batches(), schedule, optimizer, state=state, watcher=Told())
        return model, state
    part = make_linear_model()
    part_optimizer, state = train_until(position, part, batches(), schedule)
    model.load_state_dict(part.state_dict())
    momentum = momentum_of(part, part_optimizer)
    return model, train_on(model, momentum, batches(), schedule, state=state, watcher=Told())


def test_stage_that_is_level_ends_after_twice_its_patience() -> None:
    _, state = trained(make_schedule(60, **LEVEL), 160)
    assert (state.position, len(state.history)) == (40, 40)
    assert state.stopped is not None
    assert state.stopped.startswith("the loss went from 1.")
    assert state.stopped.endswith(" in 2 epochs")


def test_stage_that_is_level_runs_to_its_end_where_no_stop_is_asked_for() -> None:
    _, state = trained(make_schedule(60, **LEVEL | {"stop_patience": None}), 160)
    assert (state.position, state.stopped) == (60, None)


def test_stage_whose_budget_ends_with_the_plateau_is_not_stopped_early() -> None:
    _, state = trained(make_schedule(40, **LEVEL), 160)
    assert (state.position, state.stopped) == (40, None)


def full_gradient_norm(model: nn.Module, schedule: StageSchedule) -> float:
    """Return the norm of the gradient over all images, weight decay included."""
    images, labels = next(make_batches(schedule, num_images=16, crop_padding=0).starting_at(0, 0))
    loss = nn.functional.cross_entropy(
        model(images), labels, label_smoothing=schedule.label_smoothing
    )
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    pairs = zip(gradients, model.parameters(), strict=True)
    whole = torch.cat([(g + schedule.weight_decay * p).flatten() for g, p in pairs])
    return float(whole.detach().norm())


def test_stage_ends_where_the_gradient_vanishes() -> None:
    schedule = make_schedule(400, **CONVEX)
    assert full_gradient_norm(make_linear_model(), schedule) > 0.5
    model, state = trained(schedule, 16)
    assert 10 < state.position < schedule.num_steps
    assert state.stopped is not None
    assert state.stopped.startswith("the gradient's norm is 0.0")
    assert state.stopped.endswith(", below 0.01")
    assert full_gradient_norm(model, schedule) < 0.05


def outcome(state: TrainState) -> tuple[int, str | None, list[HistoryPoint]]:
    """Return what training came to."""
    return state.position, state.stopped, state.history


@pytest.mark.parametrize("position", [1, 25, 39])
def test_resumed_stage_stops_at_the_same_step_on_a_plateau(position: int) -> None:
    schedule = make_schedule(60, **LEVEL)
    whole, state = trained(schedule, 160)
    again, again_state = trained(schedule, 160, position)
    assert outcome(again_state) == outcome(state)
    assert same_weights(again, whole)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_resumed_stage_stops_at_the_same_step_where_the_gradient_vanishes(share: float) -> None:
    schedule = make_schedule(400, **CONVEX)
    whole, state = trained(schedule, 16)
    again, again_state = trained(schedule, 16, int(share * state.position))
    assert outcome(again_state) == outcome(state)
    assert same_weights(again, whole)


def test_stage_that_had_stopped_does_no_step_when_it_is_resumed() -> None:
    schedule = make_schedule(60, **LEVEL)
    model, state = trained(schedule, 160)
    before = make_linear_model()
    before.load_state_dict(model.state_dict())
    batches = make_batches(schedule)
    again = train_on(model, {}, batches, schedule, state=state, watcher=Told())
    assert again == state
    assert same_weights(model, before)


@pytest.mark.parametrize(
    ("until", "top1s", "ends"),
    [
        ("retrained-accuracy", [0.99], False),
        ("retrained-accuracy", [0.5, 0.51], False),
        ("retrained-accuracy", [0.5, 0.504], True),
        ("retrained-accuracy", [0.5, 0.4], True),
        ("retrained-accuracy", [0.5, 0.6, 0.604], True),
        ("retrained-accuracy", [0.6, 0.5, 0.601], True),
        ("0.75", [0.75], True),
        ("0.75", [0.749], False),
        ("0.75", [0.6, 0.7], False),
        ("0.75", [0.6, 0.601], True),
    ],
)
def test_rounds_end_with_the_target_or_when_one_gained_little(
    until: str, top1s: list[float], ends: bool
) -> None:
    assert (reason_to_end_rounds(until, top1s) is not None) == ends


def test_a_target_that_was_missed_is_said() -> None:
    plateau = reason_to_end_rounds("0.75", [0.6, 0.601])
    assert plateau is not None
    assert plateau.endswith("less than half a point, though 75.00% was asked for")
    unasked = reason_to_end_rounds("retrained-accuracy", [0.6, 0.601])
    assert unasked is not None
    assert unasked.endswith("less than half a point")
    missed = what_was_missed("0.75", [0.8, 0.7])
    assert missed == "validation accuracy is 70.00%, below the 75.00% asked for"
    assert what_was_missed("0.75", [0.75]) is None
    assert what_was_missed("retrained-accuracy", [0.5]) is None


ROUNDS = {"until": "retrained-accuracy", "round_steps": 10}


def test_later_rounds_train_as_the_first_one_does() -> None:
    schedule, modes = make_schedule(20, **ROUNDS), []
    model = make_model()
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))

    def validate() -> float:
        model.eval()
        return 0.5 + len(modes) / 100

    train(
        model,
        make_batches(schedule),
        schedule,
        make_optimizer(model, schedule),
        state=TrainState(),
        watcher=Told(),
        validate=validate,
    )
    assert modes == [True] * 20


def in_rounds(top1s: list[float], position: int | None = None) -> tuple[nn.Module, TrainState]:
    """Train a linear model in rounds whose validation accuracies are given."""
    schedule, left = make_schedule(40, **ROUNDS), iter(top1s)
    model, state = make_linear_model(), TrainState()
    optimizer, watcher = make_optimizer(model, schedule), Told(*([position] if position else []))
    train(
        model,
        make_batches(schedule),
        schedule,
        optimizer,
        state=state,
        watcher=watcher,
        validate=lambda: next(left),
    )
    return model, watcher.taken[position] if position else state


def test_stage_is_validated_after_each_round_and_ends_with_the_last_one_that_gained() -> None:
    _, state = in_rounds([0.5, 0.6, 0.601])
    assert (state.position, state.round_top1s) == (30, [0.5, 0.6, 0.601])
    assert state.stopped is not None
    assert "60.10% after 3 rounds and was 60.00% before" in state.stopped


def test_stage_whose_rounds_all_gain_uses_its_budget() -> None:
    _, state = in_rounds([0.5, 0.6, 0.7, 0.8])
    assert (state.position, state.round_top1s, state.stopped) == (40, [0.5, 0.6, 0.7, 0.8], None)


def test_snapshot_between_rounds_knows_those_that_were_validated() -> None:
    _, state = in_rounds([0.5, 0.6, 0.601], 20)
    assert state.round_top1s == [0.5, 0.6]
    _, state = in_rounds([0.5, 0.6, 0.601], 19)
    assert state.round_top1s == [0.5]
