"""Whether a stage's trunk is compiled: as the recipe says, and never by itself on a CPU."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from training_sample import make_linear_model, make_schedule

from accrete.config.run import ModelConfig
from accrete.models.networks import build_model
from accrete.training.compilation import compile_trunk, compiling_pays


@pytest.mark.parametrize(("choice", "expected"), [("always", True), ("never", False)])
def test_recipe_decides_without_a_step(choice: str, expected: bool) -> None:
    schedule = make_schedule(1_000_000, compile=choice)
    assert compiling_pays(make_linear_model(), no_batches(), schedule) is expected


def test_cpu_does_not_compile_by_itself_however_long_a_stage() -> None:
    schedule = make_schedule(1_000_000, compile="auto")
    assert compiling_pays(make_linear_model(), no_batches(), schedule) is False


def test_the_trunk_is_compiled_and_keeps_its_weights_names() -> None:
    from torch._dynamo.utils import counters  # seconds, in one worker

    model = build_model(ModelConfig(name="small"), channels=3, num_classes=4, seed=0)
    names = list(model.state_dict())
    torch._dynamo.reset()
    counters.clear()
    compile_trunk(model.trunk, backend="eager")
    model(torch.zeros(2, 3, 16, 16))
    assert counters["stats"]["unique_graphs"] == 1
    assert list(model.state_dict()) == names


def no_batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield no batch; fail where one is asked for."""
    raise AssertionError("a batch was asked for")
    yield
