"""Which size images of several sizes get, and which are said to be far from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.data.sizes import MAX_DEFAULT_SIDE, Size, SizeCounts, is_far, size_notes

SIZES = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), min_size=1, max_size=30)


def counted(*sizes: Size) -> SizeCounts:
    """Return the counts of some images, named by their number."""
    counts = SizeCounts()
    for number, (height, width) in enumerate(sizes):
        counts.add(height, width, f"{number}.png")
    return counts


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([(48, 64)], (48, 64)),
        ([(48, 64)] * 8 + [(9, 728)], (48, 64)),
        ([(48, 64)] * 8 + [(1, 1)], (48, 64)),
        ([(48, 64), (48, 64), (1, 1), (2, 2)], (48, 64)),  # just half
        ([(48, 64), (50, 60), (1, 1)], (48, 48)),
        ([(32, 32), (48, 64)], (48, 64)),  # half each
        ([(64, 48), (48, 64)], (64, 48)),
        ([(600, 800)] * 9 + [(48, 64)], (224, 224)),
        ([(224, 900)] * 9 + [(48, 64)], (224, 900)),
        ([(10, 30), (20, 30), (30, 40), (40, 50)], (20, 20)),  # the lower median
        ([(900, 300), (1, 1), (500, 400)], (224, 224)),
        ([(12 + n, 12 + n) for n in range(8)], (15, 15)),
        ([], (224, 224)),
    ],
)
def test_the_commonest_size_or_the_median_is_chosen(sizes: list[Size], chosen: Size) -> None:
    assert counted(*sizes).chosen() == chosen


@given(sizes=SIZES, seed=st.randoms())
def test_the_choice_does_not_depend_on_the_order(sizes: list[Size], seed: object) -> None:
    shuffled = list(sizes)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    assert counted(*shuffled).chosen() == counted(*sizes).chosen()


@given(sizes=SIZES)
def test_at_least_half_of_the_images_reach_the_chosen_shorter_side(sizes: list[Size]) -> None:
    side = min(counted(*sizes).chosen())
    assert side <= MAX_DEFAULT_SIDE
    assert 2 * sum(min(size) >= side for size in sizes) >= len(sizes)


@given(sizes=st.lists(st.tuples(st.integers(30, 99), st.integers(30, 99)), min_size=3), odd=SIZES)
def test_one_image_moves_the_size_to_another_image_s_at_most(
    sizes: list[Size], odd: list[Size]
) -> None:
    assert 30 <= min(counted(*sizes, odd[0]).chosen()) <= 99


@given(sizes=SIZES, to=st.tuples(st.integers(1, 400), st.integers(1, 400)))
def test_an_image_is_scaled_down_or_up_or_not_at_all(sizes: list[Size], to: Size) -> None:
    counts = counted(*sizes)
    scales = [max(to[0] / height, to[1] / width) for height, width in sizes]
    assert counts.num_scaled_down(to) == sum(scale < 1 for scale in scales)
    assert counts.num_scaled_up(to) == sum(scale > 1 for scale in scales)


@pytest.mark.parametrize(
    ("own", "size", "far"),
    [
        ((24, 24), (48, 64), False),
        ((23, 90), (48, 64), True),
        ((1, 1), (48, 64), True),
        ((100, 300), (32, 32), False),
        ((100, 301), (32, 32), True),
        ((301, 100), (32, 32), True),
        ((9, 728), (48, 64), True),
        ((4000, 6000), (32, 32), False),
        ((64, 48), (48, 64), False),
    ],
)
def test_far_is_under_half_the_shorter_side_or_three_times_the_shape(
    own: Size, size: Size, *, far: bool
) -> None:
    assert is_far(own, size) is far


def test_the_first_that_are_far_are_named_in_their_order() -> None:
    counts = counted((48, 64), (9, 728), (1, 1), (48, 64), (1, 1), (9, 728))
    far = counts.far_from((48, 64))
    assert far.count == 4
    assert far.first == (("1.png", (9, 728)), ("2.png", (1, 1)), ("4.png", (1, 1)))


def test_notes_tell_sizes_shares_and_what_is_far() -> None:
    assert size_notes(counted(*[(48, 64)] * 8, (9, 728)), (48, 64)) == (
        "training images of 64x48 to 728x9 px are scaled to cover 64x48 px (0.00 % of them down, "
        "11.11 % up) and cropped to its centre",
        "1 of 9 training images is far from that size, mostly cropped away or blown up: "
        "8.png (728x9)",
    )
    (only,) = size_notes(counted((48, 64), (48, 64)), (24, 24))
    assert only.startswith("training images of 64x48 px are scaled to cover 24x24 px (100.00 % of")
    lines = size_notes(counted(*[(1, 1)] * 4), (8, 8))
    assert lines[1].startswith("4 of 4 training images are far ")
    assert lines[1].endswith("0.png (1x1), 1.png (1x1), 2.png (1x1), …")


def test_there_are_no_notes_where_nothing_changes() -> None:
    assert size_notes(counted((48, 64), (48, 64)), (48, 64)) == ()
    assert size_notes(SizeCounts(), (48, 64)) == ()
