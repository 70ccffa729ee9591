"""Head rows by class means: a new class is found from the start, old logits stay."""

import torch
from torch import nn

from accrete.models.head_rows import set_rows_by_means


def make_head(num_old: int, num_new: int) -> nn.Linear:
    """Return a head of random rows."""
    torch.manual_seed(0)
    return nn.Linear(16, num_old + num_new)


def test_old_rows_stay_as_they_are() -> None:
    head = make_head(3, 2)
    before = head.weight.detach().clone(), head.bias.detach().clone()
    set_rows_by_means(head, torch.randn(2, 16), torch.randn(16))
    assert torch.equal(head.weight[:3], before[0][:3])
    assert torch.equal(head.bias[:3], before[1][:3])
    assert not torch.equal(head.weight[3:], before[0][3:])


def test_features_near_a_new_class_s_mean_are_taken_for_it() -> None:
    head = make_head(4, 3)
    means_KF = 5 * torch.eye(16)[:3]
    set_rows_by_means(head, means_KF, torch.zeros(16))
    features = means_KF + 0.1 * torch.randn(3, 16)
    assert head(features).argmax(1).tolist() == [4, 5, 6]


def test_new_rows_are_as_long_as_old_ones_and_answer_like_them_to_the_mean() -> None:
    head = make_head(4, 3)
    mean_F = torch.randn(16)
    set_rows_by_means(head, torch.randn(3, 16), mean_F)
    lengths = (head.weight[4:] - head.weight[:4].mean(0)).norm(dim=1)
    assert torch.allclose(lengths, head.weight[:4].norm(dim=1).mean().expand(3), rtol=1e-5)
    logits = head(mean_F)
    assert torch.allclose(logits[4:], logits[:4].mean().expand(3), atol=1e-5)


def test_class_whose_mean_is_that_of_all_gets_the_mean_row() -> None:
    head, mean_F = make_head(4, 1), torch.ones(16)
    set_rows_by_means(head, mean_F[None], mean_F)
    assert torch.allclose(head.weight[4], head.weight[:4].mean(0), atol=1e-6)
