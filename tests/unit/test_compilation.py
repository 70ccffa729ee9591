"""Whether a stage's trunk is compiled: as the recipe says, and never by itself on a CPU."""

from collections.abc import Iterator

import pytest
from torch import Tensor
from training_sample import make_linear_model, make_schedule

from accrete.compilation import compiling_pays


@pytest.mark.parametrize(("choice", "expected"), [("always", True), ("never", False)])
def test_recipe_decides_without_a_step(choice: str, expected: bool) -> None:
    schedule = make_schedule(1_000_000, compile=choice)
    assert compiling_pays(make_linear_model(), no_batches(), schedule) is expected


def test_cpu_does_not_compile_by_itself_however_long_a_stage() -> None:
    schedule = make_schedule(1_000_000, compile="auto")
    assert compiling_pays(make_linear_model(), no_batches(), schedule) is False


def no_batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield no batch; fail where one is asked for."""
    raise AssertionError("a batch was asked for")
    yield
