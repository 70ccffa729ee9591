"""The order of a stage's images: every image once an epoch, at a position that alone decides."""

import pytest
import torch

from accrete.training.order import Replay, SampleOrder, epoch_order

CPU = torch.device("cpu")


def make_order(num_images: int, batch_size: int, *, seed: int = 0, stage: int = 1) -> SampleOrder:
    """Return a stage's order."""
    return SampleOrder(num_images, batch_size, seed=seed, stage=stage, device=CPU)


def first_indices(order: SampleOrder, num_batches: int) -> list[int]:
    """Return the images of the first batches, one after the other."""
    return [i for position in range(num_batches) for i in order.indices(position).tolist()]


@pytest.mark.parametrize(
    ("num_images", "batch_size"), [(10, 4), (10, 5), (10, 10), (7, 3), (3, 8), (1, 4), (13, 40)]
)
def test_every_image_comes_exactly_once_an_epoch(num_images: int, batch_size: int) -> None:
    indices = first_indices(make_order(num_images, batch_size), 4 * num_images)
    assert len(indices) == 4 * num_images * batch_size
    epochs = [indices[i : i + num_images] for i in range(0, len(indices), num_images)]
    assert len(epochs) == 4 * batch_size
    assert all(sorted(epoch) == list(range(num_images)) for epoch in epochs)


def test_epochs_follow_their_own_orders_across_batch_borders() -> None:
    indices = first_indices(make_order(10, 4, seed=3, stage=2), 10)
    orders = [epoch_order(10, seed=3, stage=2, epoch=epoch).tolist() for epoch in range(4)]
    assert indices == [index for order in orders for index in order]
    assert len(set(map(tuple, orders))) == 4


@pytest.mark.parametrize("num_images", [23, 3])
def test_batch_is_a_function_of_its_position_alone(num_images: int) -> None:
    in_order = make_order(num_images, 8)
    expected = {position: in_order.indices(position) for position in range(12)}
    order = make_order(num_images, 8)
    for position in (11, 0, 7, 7, 1, 10, 2, 0, 5):
        assert torch.equal(order.indices(position), expected[position])


@pytest.mark.parametrize("num_images", [23, 8, 3])
def test_each_image_of_a_batch_knows_how_often_it_came_before(num_images: int) -> None:
    order = make_order(num_images, 8)
    epochs = [epoch for position in range(9) for epoch in order.passes(position).tolist()]
    assert epochs == [place // num_images for place in range(72)]


def test_every_batch_is_full_where_there_are_fewer_images_than_a_batch() -> None:
    indices = make_order(3, 8).indices(0).tolist()
    assert len(indices) == 8
    assert sorted(indices[:3]) == sorted(indices[3:6]) == [0, 1, 2]


def test_order_is_a_function_of_seed_stage_and_epoch() -> None:
    def order(**changes: int) -> list[int]:
        return epoch_order(50, **{"seed": 0, "stage": 1, "epoch": 0} | changes).tolist()

    assert order() == order()
    assert sorted(order()) == list(range(50))
    different = [order(), order(seed=1), order(stage=2), order(epoch=1)]
    assert len(set(map(tuple, different))) == 4


def test_order_does_not_depend_on_the_global_generator() -> None:
    first = epoch_order(50, seed=0, stage=1, epoch=0)
    torch.manual_seed(123)
    torch.rand(7)
    assert torch.equal(epoch_order(50, seed=0, stage=1, epoch=0), first)


def replayed_order(share: float, *, batch_size: int = 4) -> SampleOrder:
    """Return the order of ten old and five new images."""
    replay = Replay(num_old_images=10, share=share)
    return SampleOrder(15, batch_size, seed=0, stage=2, device=CPU, replay=replay)


def replayed_epochs(share: float, num_epochs: int) -> list[list[int]]:
    """Return the images of the first epochs."""
    order = replayed_order(share)
    indices = first_indices(order, num_epochs * order.epoch_length)
    length = order.epoch_length
    return [indices[i * length : (i + 1) * length] for i in range(num_epochs)]


@pytest.mark.parametrize(("share", "num_old"), [(0.3, 3), (0.5, 5), (0.75, 8), (0.01, 1), (0, 0)])
def test_epoch_has_every_new_image_and_a_share_of_the_old_ones(share: float, num_old: int) -> None:
    for epoch in replayed_epochs(share, 6):
        assert sorted(index for index in epoch if index >= 10) == [10, 11, 12, 13, 14]
        assert len([index for index in epoch if index < 10]) == num_old
        assert len(epoch) == num_old + 5


def test_old_images_take_turns() -> None:
    old = [[i for i in epoch if i < 10] for epoch in replayed_epochs(0.5, 8)]
    for first, second in zip(old[::2], old[1::2], strict=True):
        assert sorted(first + second) == list(range(10))
    assert len({tuple(sorted(first)) for first in old[::2]}) > 1


def test_replaying_all_is_the_order_without_replay() -> None:
    plain = SampleOrder(15, 4, seed=0, stage=2, device=CPU)
    assert first_indices(replayed_order(1.0), 20) == first_indices(plain, 20)


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_batch_with_replay_is_a_function_of_its_position_alone(share: float) -> None:
    in_order = replayed_order(share)
    expected = {p: (in_order.indices(p), in_order.passes(p)) for p in range(12)}
    order = replayed_order(share)
    for position in (11, 0, 7, 7, 1, 10, 2):
        assert torch.equal(order.passes(position), expected[position][1])
        assert torch.equal(order.indices(position), expected[position][0])


def test_a_replayed_image_s_passes_count_how_often_it_came() -> None:
    order = replayed_order(0.5)
    seen = [0] * 15
    for position in range(40):
        pairs = zip(order.indices(position).tolist(), order.passes(position).tolist(), strict=True)
        for index, number in pairs:
            assert number == seen[index]
            seen[index] += 1
