"""One optimizer step, whole or in parts: the same gradients, and another try when memory ends."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from training_sample import (
    NUM_CLASSES,
    Told,
    fill,
    make_batches,
    make_linear_model,
    make_schedule,
    same_weights,
    train_on,
    train_until,
)

from accrete.config.schedule import StageSchedule
from accrete.errors import OutOfMemoryError
from accrete.training.loop import TrainState, train
from accrete.training.optimizer import make_optimizer, momentum_of
from accrete.training.step import OptimizerStep

pytestmark = pytest.mark.usefixtures("one_thread")

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 is small"


class Limited(nn.Module):
    """A device that has memory for so many images; passes them on as they are."""

    def __init__(self, max_images: int) -> None:
        super().__init__()
        self.max_images = max_images
        self.num_passes = 1 << 30  # until memory ends whatever the size

    def forward(self, images: Tensor) -> Tensor:
        self.num_passes -= 1
        if len(images) > self.max_images or self.num_passes < 0:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return images


def make_limited_model(max_images: int) -> nn.Sequential:
    """Return a network whose batch norm has seen a batch when memory ends."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        Limited(max_images),
        nn.Flatten(),
        nn.Linear(256, NUM_CLASSES),
    )
    fill(model)
    return model.to(memory_format=torch.channels_last)


def make_plain_model() -> nn.Sequential:
    """Return a convolutional network without batch norm."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, NUM_CLASSES)
    )
    fill(model)
    return model


def gradients(
    model: nn.Module, schedule: StageSchedule, num_parts: int, num_images: int
) -> tuple[dict[str, Tensor], float]:
    """Return the gradients and the loss of one step."""
    images, labels = next(make_batches(schedule).starting_at(0, 0))
    step = OptimizerStep(
        model.train(), make_optimizer(model, schedule), schedule, num_parts=num_parts
    )
    loss = step((images[:num_images], labels[:num_images]), lr=0.1)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, float(loss)


@pytest.mark.parametrize("num_images", [16, 15, 10, 5])
@pytest.mark.parametrize("num_parts", [2, 4])
def test_batch_in_parts_has_the_whole_batch_s_gradients_and_loss(
    num_parts: int, num_images: int
) -> None:
    schedule = make_schedule(10, label_smoothing=0.1)
    whole, loss = gradients(make_plain_model(), schedule, 1, num_images)
    model = make_plain_model()
    parts, loss_of_parts = gradients(model, schedule, num_parts, num_images)
    assert whole.keys() == parts.keys() == dict(model.named_parameters()).keys()
    for name in whole:
        assert torch.allclose(parts[name], whole[name], rtol=0, atol=1e-6)
    assert loss_of_parts == pytest.approx(loss, abs=1e-6)


def test_step_leaves_no_gradient_of_the_step_before() -> None:
    schedule = make_schedule(10, momentum=0.0, nesterov=False, weight_decay=0.0)
    batch = next(make_batches(schedule).starting_at(0, 0))
    model, fresh = make_linear_model(), make_linear_model()
    step = OptimizerStep(model, make_optimizer(model, schedule), schedule)
    step(batch, lr=0.1)
    fresh.load_state_dict(model.state_dict())
    step(batch, lr=0.1)
    OptimizerStep(fresh, make_optimizer(fresh, schedule), schedule)(batch, lr=0.1)
    assert same_weights(model, fresh)


@pytest.mark.parametrize("num_passes", [0, 1, 3])
def test_step_that_runs_out_of_memory_in_any_part_changes_nothing(num_passes: int) -> None:
    schedule = make_schedule(10)
    batch = next(make_batches(schedule).starting_at(0, 0))
    model = make_limited_model(4).train()
    optimizer = make_optimizer(model, schedule)
    step = OptimizerStep(model, optimizer, schedule, num_parts=4)
    step(batch, lr=0.1)
    before = copy.deepcopy(model), copy.deepcopy(momentum_of(model, optimizer))
    model[2].num_passes = num_passes
    with pytest.raises(torch.OutOfMemoryError):
        step(batch, lr=0.1)
    assert same_weights(model, before[0])
    assert all(parameter.grad is None for parameter in model.parameters())
    momentum = momentum_of(model, optimizer)
    assert all(torch.equal(momentum[name], buffer) for name, buffer in before[1].items())


def trained(model: nn.Module, num_parts: int, watcher: Told) -> TrainState:
    """Train ten steps of 16 images from some number of parts on; return the state at the end."""
    schedule = make_schedule(10)
    state = TrainState(num_parts=num_parts)
    optimizer = make_optimizer(model, schedule)
    train(model, make_batches(schedule), schedule, optimizer, state=state, watcher=watcher)
    return state


def test_training_goes_on_in_smaller_parts_where_memory_ends() -> None:
    told, model = Told(), make_limited_model(4)
    state = trained(model, 1, told)
    assert (state.position, state.num_parts) == (10, 4)
    assert told.notices == [
        "out of memory (CUDA out of memory): each batch of 16 images is computed in "
        f"{num_parts} parts from here on"
        for num_parts in (2, 4)
    ]


def test_steps_that_ran_out_of_memory_are_not_counted_twice() -> None:
    told, model, expected = Told(), make_limited_model(4), make_limited_model(4)
    state, expected_state = trained(model, 1, Told()), trained(expected, 4, told)
    assert told.notices == []
    assert model[1].num_batches_tracked == 4 * 10
    assert same_weights(model, expected)
    assert state.history == expected_state.history


def test_stage_that_goes_on_keeps_its_number_of_parts() -> None:
    schedule = make_schedule(10)
    whole, part, again = (make_limited_model(4) for _ in range(3))
    trained(whole, 1, Told())
    optimizer, state = train_until(6, part, make_batches(schedule), schedule)
    assert state.num_parts == 4
    again.load_state_dict(part.state_dict())
    told = Told()
    momentum = momentum_of(part, optimizer)
    state = train_on(again, momentum, make_batches(schedule), schedule, state=state, watcher=told)
    assert told.notices == []
    assert state.num_parts == 4
    assert same_weights(again, whole)


def test_batch_that_never_fits_is_refused_with_its_images_and_parts() -> None:
    told = Told()
    match = (
        r"a step of 16 images, in 16 parts, does not fit the device \(CUDA out of memory\): "
        "lower --batch-size or --image-size"
    )
    with pytest.raises(OutOfMemoryError, match=match):
        trained(make_limited_model(0), 1, told)
    assert len(told.notices) == 4


@pytest.fixture
def one_peer() -> Iterator[None]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_peer")
def test_gradients_among_peers_are_exchanged_for_whole_batches() -> None:
    schedule = make_schedule(10)
    whole, loss = gradients(make_plain_model(), schedule, 1, 16)
    network = DistributedDataParallel(make_plain_model())
    exchanged: list[int] = []

    def count(_: None, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:
        exchanged.append(bucket.index())
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    network.register_comm_hook(None, count)
    parts, loss_of_parts = gradients(network, schedule, 4, 16)
    for name in whole:
        assert torch.allclose(parts[f"module.{name}"], whole[name], rtol=0, atol=1e-6)
    assert loss_of_parts == pytest.approx(loss, abs=1e-6)
    assert exchanged == [0]


@pytest.mark.usefixtures("one_peer")
def test_peer_does_not_change_its_parts_alone() -> None:
    network = DistributedDataParallel(make_limited_model(4))
    with pytest.raises(OutOfMemoryError, match="16 images, whole, does not fit the device"):
        trained(network, 1, Told())


def loss_of(replay: float, num_old_classes: int, shift: torch.Tensor | None = None) -> float:
    """Return the loss of a step on one batch, of a model whose logits may be shifted."""
    schedule = make_schedule(10, replay=replay)
    model = make_linear_model()
    if shift is not None:
        with torch.no_grad():
            model[1].bias += shift
    step = OptimizerStep(
        model, make_optimizer(model, schedule), schedule, num_old_classes=num_old_classes
    )
    return float(step(next(make_batches(schedule).starting_at(0, 0)), 0.1))


@pytest.mark.parametrize("replay", [0.5, 0.1])
def test_old_classes_that_are_replayed_in_part_count_as_rarer_while_training(replay: float) -> None:
    shift = torch.zeros(NUM_CLASSES)
    shift[:3] = math.log(replay)
    adjusted = loss_of(replay, 3)
    assert adjusted == pytest.approx(loss_of(1.0, 3, shift), rel=1e-6)
    assert adjusted != pytest.approx(loss_of(1.0, 3), rel=1e-3)


@pytest.mark.parametrize(("replay", "num_old_classes"), [(1.0, 3), (0.0, 3), (0.5, 0)])
def test_loss_is_plain_where_all_or_none_is_replayed(replay: float, num_old_classes: int) -> None:
    assert loss_of(replay, num_old_classes) == loss_of(1.0, 0)
