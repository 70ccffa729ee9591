"""The order of a stage's images: every image once an epoch, at a position that alone decides."""

import pytest
import torch

from accrete.training.order import SampleOrder, epoch_order

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
def test_each_image_of_a_batch_knows_its_epoch(num_images: int) -> None:
    order = make_order(num_images, 8)
    epochs = [epoch for position in range(9) for epoch in order.epochs(position).tolist()]
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
