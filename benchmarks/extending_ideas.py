"""Ideas for training an arrival of classes: the product's, and those that did not pay."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from extending_data import NORMALIZATION, Life
from torch import Tensor, nn
from torch.nn import functional

from accrete.config.extension import extension_rate, extension_weight_decay
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig
from accrete.config.schedule import StageSchedule, lr_at, resolve
from accrete.models.networks import Classifier, build_model, grow_head
from accrete.stages._new_rows import set_new_rows
from accrete.stages.inputs import Split
from accrete.training.augmentation import Augmentation
from accrete.training.batches import TrainingBatches
from accrete.training.optimizer import Sgd, make_optimizer
from accrete.training.order import Replay
from accrete.training.step import OptimizerStep

MODEL = ModelConfig(name="small")

_WEIGHT_DECAY = 1e-3
"""Of a new model."""


def budget_rate(epochs: float) -> float:
    """Return the peak rate that `accrete extend` takes for a budget."""
    return extension_rate(Recipe().lr, epochs)


def budget_decay(epochs: float) -> float:
    """Return the weight decay that `accrete extend` takes for a budget."""
    return extension_weight_decay(_WEIGHT_DECAY, epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idea:
    """A way to train an arrival."""

    name: str
    """One word or two."""
    title: str
    """For the table."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What its recipe has otherwise."""
    rate: Callable[[float], float] = budget_rate
    """Peak learning rate by the budget in epochs."""
    weight_decay: Callable[[float], float] = budget_decay
    """Likewise, in effect from 16 epochs on."""
    begin: Callable[[Classifier, int], None] | None = None
    """Changes the grown model, in place; also told a seed."""
    loss: str = "adjusted"
    """Where old classes are replayed in part: `adjusted` logits, `plain`, or `weighted`."""
    ema: float | None = None
    """Decay of averaged weights, which are the ones that are kept; the rate does not decay then."""
    frozen: int = 0
    """Layers of the trunk that are not trained in the first half."""
    distilled: float = 0.0
    """Weight of the divergence from the model before, over the old classes."""


def _shrink(share: float, noise: float) -> Callable[[Classifier, int], None]:
    """Return shrink-and-perturb: weights scaled down, and some of a fresh network's added."""

    @torch.no_grad()
    def begin(model: Classifier, seed: int) -> None:
        fresh = build_model(MODEL, channels=3, num_classes=model.head.out_features, seed=seed)
        for weight, other in zip(model.parameters(), fresh.parameters(), strict=True):
            weight.mul_(share).add_(other, alpha=noise)

    return begin


@torch.no_grad()
def _zero_rows(model: Classifier, _: int) -> None:
    """Set the rows that grow_head drew to zero: those that are not in the checkpoint."""
    new = model.head.out_features - _ARRIVING
    model.head.weight[new:] = 0
    model.head.bias[new:] = model.head.bias[:new].mean()


_ARRIVING = 5
_OURS = {"replay": 0.5, "head_init": "means"}

IDEAS = (
    Idea(
        name="before",
        title="as before: rate 0.1, all old images, random rows",
        rate=lambda _: 0.1,
        weight_decay=lambda _: _WEIGHT_DECAY,
    ),
    Idea(name="rate", title="rate by the budget: 0.05 times its epochs, up to 0.2"),
    Idea(name="rows", title="and new rows at class means", recipe={"head_init": "means"}),
    Idea(
        name="replay",
        title="and half of the old images, adjusted: **what `extend` does**",
        recipe=_OURS,
    ),
    Idea(name="third", title="a third of the old images", recipe=_OURS | {"replay": 1 / 3}),
    Idea(name="tenth", title="a tenth of the old images", recipe=_OURS | {"replay": 0.1}),
    Idea(name="plain", title="half, not adjusted", recipe=_OURS, loss="plain"),
    Idea(name="weighted", title="half, with twice the weight", recipe=_OURS, loss="weighted"),
    Idea(name="double", title="twice the rate", recipe=_OURS, rate=lambda e: 2 * budget_rate(e)),
    Idea(name="half", title="half the rate", recipe=_OURS, rate=lambda e: budget_rate(e) / 2),
    Idea(
        name="falling",
        title="a rate that falls from the first step",
        recipe=_OURS | {"warmup_fraction": 0.0, "decay_fraction": 1.0},
    ),
    Idea(name="zero", title="new rows of zero", recipe={"replay": 0.5}, begin=_zero_rows),
    Idea(
        name="shrunk", title="shrink and perturb (0.7, 0.1)", recipe=_OURS, begin=_shrink(0.7, 0.1)
    ),
    Idea(
        name="averaged",
        title="averaged weights (0.99), no decay",
        recipe=_OURS | {"decay_fraction": 0.0},
        ema=0.99,
    ),
    Idea(
        name="frozen",
        title="first three blocks frozen for half of the steps",
        recipe=_OURS,
        frozen=11,
    ),
    Idea(name="distilled", title="distilled from the model before", recipe=_OURS, distilled=1.0),
)
"""The first is what the others are held against."""

_BEFORE, _EXTEND = IDEAS[0], IDEAS[3]

LONG_IDEAS = (
    _BEFORE,
    replace(
        _EXTEND,
        name="steady",
        title="what `extend` does, with a new model's weight decay",
        weight_decay=lambda _: _WEIGHT_DECAY,
    ),
    replace(_EXTEND, title="and with up to twice of it: **what `extend` does**"),
    replace(_EXTEND, name="shrunk", title="shrink and perturb (0.7, 0.1)", begin=_shrink(0.7, 0.1)),
)
"""Those that a long budget may tell apart."""


def train_whole(life: Life, num_classes: int, epochs: float, seed: int) -> Classifier:
    """Return a model that was trained from scratch."""
    recipe = Recipe(budget_epochs=epochs, weight_decay=_WEIGHT_DECAY)
    (schedule,) = _schedules(life, (num_classes,), recipe)
    model = build_model(MODEL, channels=3, num_classes=num_classes, seed=seed)
    _train(life, model.to(memory_format=torch.channels_last), schedule, seed=seed, index=1)
    return model


def train_arrival(
    life: Life,
    idea: Idea,
    before: Classifier,
    num_classes: int,
    epochs: float,
    *,
    seed: int,
    index: int,
) -> Classifier:
    """Return a model that was grown to more classes; the one before stays as it is."""
    num_old = before.head.out_features
    values = {"lr": idea.rate(epochs), "weight_decay": idea.weight_decay(epochs)}
    recipe = Recipe(**values | {"lr_scope": "stage"} | dict(idea.recipe))
    sizes = (num_old, num_classes - num_old)
    _, schedule = _schedules(life, sizes, replace(recipe, epochs=(1.0, epochs)))
    model = copy.deepcopy(before)
    model.head = grow_head(model.head, num_classes, torch.Generator().manual_seed(seed + index))
    if schedule.head_init == "means":
        part = life.train.up_to(num_classes)
        set_new_rows(model, Split(part.source, part.labels_N), num_old, NORMALIZATION)
    if idea.begin is not None:
        idea.begin(model, seed + index)
    model = model.to(memory_format=torch.channels_last)
    return _train(life, model, schedule, seed=seed, index=index, idea=idea, before=before)


def _schedules(life: Life, sizes: tuple[int, ...], recipe: Recipe) -> tuple[StageSchedule, ...]:
    labels_N = life.train.labels_N[life.train.labels_N < sum(sizes)]
    counts = torch.bincount(labels_N).tolist()
    plan = Plan(
        rule="",
        class_order=tuple(map(str, range(len(counts)))),
        class_images=tuple(counts),
        stage_sizes=sizes,
    )
    recipe = replace(recipe, precision="bf16")
    return resolve(recipe, plan, life.train.images_NHWC.shape[1])


class _Step(OptimizerStep):
    """A step with an idea's loss."""

    def __init__(
        self,
        model: Classifier,
        optimizer: Sgd,
        schedule: StageSchedule,
        idea: Idea | None,
        before: Classifier | None,
    ) -> None:
        num_old = before.head.out_features if before else 0
        if idea is not None and idea.loss != "adjusted":
            schedule = replace(schedule, replay=1.0)
        super().__init__(model, optimizer, schedule, num_old_classes=num_old)
        self._idea, self._before, self._num_old = idea, before, num_old

    def loss_of(self, logits_BK: Tensor, labels_B: Tensor, images_BCHW: Tensor) -> Tensor:
        """Return the loss of a batch."""
        idea, smoothing = self._idea, self._schedule.label_smoothing
        if idea is not None and idea.loss == "weighted":
            losses_B = functional.cross_entropy(
                logits_BK, labels_B, label_smoothing=smoothing, reduction="none"
            )
            weights_B = 1 + (labels_B < self._num_old).float() * (1 / idea.recipe["replay"] - 1)
            return (losses_B * weights_B).sum() / weights_B.sum()
        loss = functional.cross_entropy(
            self._adjusted(logits_BK), labels_B, label_smoothing=smoothing
        )
        if idea is None or not idea.distilled or self._before is None:
            return loss
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            taught = self._before.eval()(images_BCHW).float().softmax(1)
        learnt = logits_BK[:, : self._num_old].log_softmax(1)
        return loss + idea.distilled * functional.kl_div(learnt, taught, reduction="batchmean")

    def _gradients(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self._optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits_BK = self._model(batch[0])
        loss = self.loss_of(logits_BK.float(), batch[1], batch[0])
        torch.autograd.backward(loss)
        return loss.detach()


def _train(
    life: Life,
    model: Classifier,
    schedule: StageSchedule,
    *,
    seed: int,
    index: int,
    idea: Idea | None = None,
    before: Classifier | None = None,
) -> Classifier:
    """Train a model, in place; return it, or the average of its weights."""
    part = life.train.up_to(model.head.out_features)
    num_old = before.head.out_features if before else 0
    batches = TrainingBatches(
        part.source,
        part.labels_N,
        batch_size=schedule.batch_size,
        seed=seed,
        stage=index,
        normalization=NORMALIZATION,
        augmentation=Augmentation(flip=schedule.flip, crop_padding=schedule.crop_padding),
        replay=Replay(num_old_images=int((part.labels_N < num_old).sum()), share=schedule.replay),
    ).starting_at(0, schedule.first_step)
    optimizer = make_optimizer(model, schedule)
    step = _Step(model.train(), optimizer, schedule, idea, before)
    average = copy.deepcopy(model) if idea and idea.ema else None
    layers = list(model.trunk.children())[: idea.frozen if idea else 0]
    for position in range(schedule.num_steps):
        is_free = 2 * position >= schedule.num_steps
        for layer in layers:
            layer.requires_grad_(is_free)
        step(next(batches), lr_at(schedule, schedule.first_step + position))
        if average is not None:
            assert idea is not None
            assert idea.ema is not None
            _average(average, model, min(idea.ema, (1 + position) / (10 + position)))
    return average or model


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)
