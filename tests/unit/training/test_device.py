"""How a device is set up for training."""

import torch

from accrete.training.device import seed_draws


def test_draws_are_seeded_as_torch_itself_seeds_them() -> None:
    drawn = []
    for seed in (5, 2**62 + 1):
        torch.manual_seed(seed)
        expected = torch.nn.functional.dropout(torch.ones(64), 0.5)
        torch.rand(3)
        seed_draws(seed, torch.device("cpu"))
        found = torch.nn.functional.dropout(torch.ones(64), 0.5)
        assert torch.equal(found, expected)
        drawn.append(found)
    assert not torch.equal(*drawn)
