"""How a trained model is trained on when classes arrive: what differs from a new model's recipe.

Pure. `benchmarks/extending.py` measures each part with and without; docs/lifecycle.md has the
table.
"""

from typing import Any

from accrete.config.recipe import Recipe
from accrete.config.schedule import MIN_ROUND_STEPS

REPLAY = 0.5
"""Share of the old classes' images in an epoch: they are known, the new ones are not."""

ROUNDS_EPOCHS = 45.0
"""Of all rounds, where validation accuracy does not end an extension: 3, 6, 12 and 24."""

FIRST_ROUND_SHARE = 1 / 15
"""Of the bound, so that there are four rounds, where there are enough steps."""

ROUND_GROWTH = 2
"""Each round is twice as long as the one before: what it gains is then well above the noise of a
few hundred validation images, and all but the last cost as much as the last alone."""

_EPOCHS = 2.0
_LEAST_STEPS = 120
_LEAST_ROUNDS_STEPS = 7 * MIN_ROUND_STEPS

_WHOLE_RATE_EPOCHS = 4.0
"""Budget at which a model that grows is trained at a new one's peak rate."""

_PLAIN_DECAY_EPOCHS = 16.0
"""Budget up to which a model that grows is trained with a new one's weight decay."""


def extension_epochs(batch_size: int, num_images: int) -> float:
    """Return the default budget for extending a trained model, in epochs over old and new images.

    Args:
        batch_size: images per optimizer step.
        num_images: old and new ones; few of them get 120 steps.
    """
    return max(_EPOCHS, _LEAST_STEPS * batch_size / num_images)


def extension_rate(lr: float, epochs: float) -> float:
    """Return the peak rate for extending a trained model.

    In a short budget a high rate undoes what the model knows and leaves no time to mend it; in a
    long one a low rate ends in a model that generalizes worse than one trained anew (Ash and Adams,
    2020, *On Warm-Starting Neural Network Training*). From four epochs on it is a new model's.

    Args:
        lr: of a new model.
        epochs: the budget, over old and new images, in all rounds of it.
    """
    return lr * min(max(epochs / _WHOLE_RATE_EPOCHS, 0.25), 1.0)


def extension_weight_decay(weight_decay: float, epochs: float) -> float:
    """Return the weight decay for extending a trained model: up to twice that of a new one.

    The old classes' images are trained on again at every arrival: in a long budget a model that
    knows them fits them closer still. Up to 16 epochs it makes no difference.

    Args:
        weight_decay: of a new model.
        epochs: the budget, over old and new images, in all rounds of it.
    """
    return weight_decay * min(max(epochs / _PLAIN_DECAY_EPOCHS, 1.0), 2.0)


def extension_values(epochs: float) -> dict[str, Any]:
    """Return what the recipe `fast` has otherwise where a trained model is extended.

    Args:
        epochs: the budget, over old and new images.
    """
    return {
        "budget_epochs": epochs,
        "lr": extension_rate(Recipe().lr, epochs),
        "weight_decay": extension_weight_decay(Recipe().weight_decay, epochs),
        "replay": REPLAY,
        "head_init": "means",
    }


def round_values(
    until: str, batch_size: int, num_images: int, bound: float | None = None
) -> dict[str, Any]:
    """Return the same for an extension in rounds that validation accuracy ends.

    Args:
        until: as `Recipe` has it.
        batch_size: images per optimizer step.
        num_images: old and new ones; few of them get more epochs, so that there are three rounds.
        bound: epochs of all rounds at most; None: 45.
    """
    if bound is None:
        bound = max(ROUNDS_EPOCHS, _LEAST_ROUNDS_STEPS * batch_size / num_images)
    rounds = {"round_epochs": bound * FIRST_ROUND_SHARE, "round_growth": ROUND_GROWTH}
    return extension_values(bound) | rounds | {"until": until}
