"""Head rows of new classes from the mean features of their images: weight imprinting.

A row that points where its class's features lie classifies from the first step, where random ones
first have to be found by training that disturbs the trunk (Qi et al., 2018, *Low-Shot Learning
with Imprinted Weights*).

Shape suffixes: F features, K new classes.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def set_rows_by_means(head: nn.Linear, means_KF: Tensor, mean_F: Tensor) -> None:
    """Set the last K rows of a head, in place.

    A row is the old rows' mean plus the direction from the features' mean to the class's, as long
    as an old row is on average; its bias makes it answer to the features' mean as old rows do.

    Args:
        head: with at least one row more than there are new classes.
        means_KF: mean features of each new class, float32.
        mean_F: of all classes' images, float32.
    """
    num_old = head.out_features - len(means_KF)
    old_rows, old_biases = head.weight[:num_old].float(), head.bias[:num_old].float()
    towards_KF = means_KF - mean_F
    lengths = towards_KF.norm(dim=1, keepdim=True).clamp_min(1e-12)
    towards_KF = towards_KF / lengths * old_rows.norm(dim=1).mean()
    head.weight[num_old:] = (towards_KF + old_rows.mean(0)).to(head.weight)
    head.bias[num_old:] = (old_biases.mean() - towards_KF @ mean_F).to(head.bias)
