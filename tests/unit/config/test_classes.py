"""Class orders: seeded ones, and files of them."""

import pytest

from accrete.config.classes import check_order, parse_order, seeded_order
from accrete.errors import PlanError

NAMES = [f"class {number}" for number in range(40)]


def test_seeded_order_is_a_permutation() -> None:
    order = seeded_order(NAMES, 0)
    assert sorted(order) == sorted(NAMES)
    assert list(order) != NAMES


def test_seeded_order_is_fixed_by_its_seed_and_not_by_the_order_of_names() -> None:
    assert seeded_order(reversed(NAMES), 3) == seeded_order(NAMES, 3)
    assert len({seeded_order(NAMES, seed) for seed in range(20)}) == 20


def test_seeded_order_is_the_same_on_every_machine() -> None:
    # `printf '0\0d' | sha256sum` begins with 4aef; c with 50f6, e with 543e, a 5f1a, b a8d4.
    assert seeded_order(["a", "b", "c", "d", "e"], 0) == ("d", "c", "e", "a", "b")


def test_seeded_order_keeps_the_others_when_a_class_is_added() -> None:
    longer = seeded_order([*NAMES, "late"], 7)
    assert [name for name in longer if name != "late"] == list(seeded_order(NAMES, 7))


def test_seeded_orders_put_every_class_everywhere() -> None:
    firsts = {seeded_order(["a", "b", "c"], seed)[0] for seed in range(40)}
    assert firsts == {"a", "b", "c"}


def test_order_file_has_one_class_a_line_and_blank_lines_do_not_count() -> None:
    text = "  cat \n\nred fox\r\n\t\nα-ray"
    assert parse_order(text, "order.txt") == ("cat", "red fox", "α-ray")


@pytest.mark.parametrize("text", ["", "\n \n\t\n"])
def test_order_file_without_a_class_is_refused_by_name(text: str) -> None:
    with pytest.raises(PlanError, match=r"order\.txt names no class"):
        parse_order(text, "order.txt")


def test_order_file_that_names_a_class_twice_is_refused() -> None:
    with pytest.raises(PlanError, match=r"order\.txt names class 'cat' twice"):
        parse_order("cat\ndog\ncat\n", "order.txt")


def test_order_of_every_class_is_accepted() -> None:
    check_order(("b", "a"), ["a", "b"], "order.txt")


def test_order_with_an_unknown_class_is_refused_by_name() -> None:
    with pytest.raises(PlanError, match=r"order\.txt names class 'fox', which the data set does"):
        check_order(("a", "fox"), ["a", "b"], "order.txt")


def test_order_that_leaves_out_classes_says_how_many_and_the_first() -> None:
    with pytest.raises(PlanError, match="leaves out 2 classes, the first is 'b'"):
        check_order(("a",), ["d", "b", "a"], "order.txt")
