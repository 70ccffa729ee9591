"""SGD as the schedule has it, momentum by name, and the smoothed gradient's norm."""

import copy
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import training_sample
from torch import nn
from training_sample import (
    NUM_CLASSES,
    make_batches,
    make_linear_model,
    make_model,
    make_schedule,
    run,
    same_weights,
)

from accrete.config.run import ModelConfig
from accrete.config.schedule import lr_at
from accrete.models.networks import build_model
from accrete.training.optimizer import gradient_norm, load_momentum, make_optimizer, momentum_of

pytestmark = pytest.mark.usefixtures("one_thread")


def test_one_step_is_sgd_with_nesterov_momentum_and_weight_decay() -> None:
    schedule = make_schedule(3, label_smoothing=0.2, weight_decay=0.01)
    model = make_linear_model()
    weight = model[1].weight.detach().double().numpy().T
    bias = model[1].bias.detach().double().numpy()
    velocity_w, velocity_b = np.zeros_like(weight), np.zeros_like(bias)
    coming = itertools.islice(make_batches(schedule).starting_at(0, 0), 3)
    run(model, schedule)
    for step, (images, labels) in enumerate(coming):
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


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("channels_last", [True, False])
def test_steps_are_those_of_torch_s_own_sgd_to_the_bit(
    momentum: float, *, channels_last: bool
) -> None:
    schedule = make_schedule(4, momentum=momentum, nesterov=momentum > 0, weight_decay=0.01)
    ours = build_model(ModelConfig(name="small"), channels=3, num_classes=7, seed=0)
    if channels_last:
        ours = ours.to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    optimizer = make_optimizer(ours, schedule)
    reference = torch.optim.SGD(
        theirs.parameters(),
        momentum=momentum,
        nesterov=momentum > 0,
        weight_decay=0.01,
        fused=True,
    )
    generator = torch.Generator().manual_seed(0)
    for step in range(4):
        optimizer.lr = reference.param_groups[0]["lr"] = 0.1 / (1 + step)
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        for parameter, other in pairs:
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
            other.grad = parameter.grad.clone()
        optimizer.step()
        reference.step()
    assert same_weights(ours, theirs)
    if momentum:
        found = momentum_of(ours, optimizer)
        for (name, _), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert torch.equal(found[name], reference.state[other]["momentum_buffer"])


def test_a_parameter_whose_first_gradient_comes_late_begins_as_any_other_does() -> None:
    schedule = make_schedule(4)
    late = nn.ParameterList([nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))])
    soon = nn.ParameterList([nn.Parameter(torch.ones(3))])
    first, second = make_optimizer(late, schedule), make_optimizer(soon, schedule)
    late[0].grad = torch.ones(3)
    first.step()
    for optimizer, parameter in ((first, late[1]), (second, soon[0])):
        for _ in range(2):
            parameter.grad = torch.tensor([1.0, -2.0, 3.0])
            optimizer.step()
    assert torch.equal(late[1], soon[0])


def test_making_and_using_an_optimizer_imports_no_compiler() -> None:
    code = (
        "import sys, torch; from torch import nn\n"
        "from training_sample import make_schedule\n"
        "from accrete.training.optimizer import make_optimizer\n"
        "model = nn.Linear(2, 2); optimizer = make_optimizer(model, make_schedule(1))\n"
        "model(torch.ones(1, 2)).sum().backward(); optimizer.step(); optimizer.zero_grad()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(training_sample.__file__).parent)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


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


def norm_of(tensors: list[torch.Tensor]) -> float:
    """Return the norm of all tensors' numbers together, in double precision."""
    numbers = [tensor.detach().double().numpy().ravel() for tensor in tensors]
    return float(np.sqrt(np.square(np.concatenate(numbers)).sum()))


@pytest.mark.parametrize("momentum", [0.9, 0.5])
def test_gradient_norm_is_that_of_the_momentum_scaled_to_one_gradient(momentum: float) -> None:
    schedule = make_schedule(5, momentum=momentum)
    model: nn.Module = make_model()
    optimizer = make_optimizer(model, schedule)
    run(model, schedule, optimizer)
    weights = sum(momentum**age for age in range(5))
    expected = norm_of(list(momentum_of(model, optimizer).values())) / weights
    assert expected > 0.01
    assert gradient_norm(optimizer, schedule, 5) == pytest.approx(expected, rel=1e-5)


def test_gradient_norm_without_momentum_is_that_of_the_last_gradient() -> None:
    schedule = make_schedule(5, momentum=0.0, nesterov=False)
    model = make_linear_model()
    optimizer = make_optimizer(model, schedule)
    run(model, schedule, optimizer)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradient_norm(optimizer, schedule, 5) == pytest.approx(norm_of(gradients), rel=1e-5)


def test_gradient_that_stays_the_same_has_its_own_norm() -> None:
    schedule = make_schedule(2, momentum=0.9, weight_decay=0.0)
    parameter = nn.Parameter(torch.zeros(2))
    model = nn.ParameterList([parameter])
    optimizer = make_optimizer(model, schedule)
    for num_steps in range(1, 200):  # from the very first step, which momentum has seen alone
        parameter.grad = torch.tensor([3.0, 4.0])
        optimizer.step()
        assert gradient_norm(optimizer, schedule, num_steps) == pytest.approx(5, rel=1e-4)
