"""Plans: which classes each stage adds, by growth ratio, by a fixed increment, or by a list.

Pure: needs class counts and nothing else. The paper's letters: c_i classes, d_j the images that
stage j adds, D_j all images after stage j, N_j all classes after it, alpha_j = |d_j| / |D_{j-1}|.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from accrete.errors import CountsMismatchError, PlanError

MAX_PIPELINE_STEPS = 30
"""Training tasks in one DAG where nobody says otherwise: Argo keeps the whole workflow in one
object of at most 1 MiB, and 56 tasks have outgrown it in the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStage:
    """One stage of a plan; counts are of training images."""

    index: int
    """j, from 1."""
    num_new_classes: int
    """n_j."""
    num_classes: int
    """N_j, the new ones included."""
    num_new_images: int
    """|d_j|."""
    num_images: int
    """|D_j|."""

    @property
    def num_old_classes(self) -> int:
        """N_{j-1}."""
        return self.num_classes - self.num_new_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Classes in class order and how many of them each stage adds.

    A plan may end before the last class: the data set then has classes that no stage uses.
    """

    rule: str
    """How the stages were chosen, for people: `alpha = 1 from 10 classes`."""
    class_order: tuple[str, ...]
    """Class names; a class's label is its position here."""
    class_images: tuple[int, ...]
    """Training images of each class, in class order, each at least 1."""
    stage_sizes: tuple[int, ...]
    """n_j for j = 1..T, each at least 1; 0 too where a model is given, for more images alone."""
    num_given: int = 0
    """Classes, the first in class order, that a given model has already: N_0."""

    def __post_init__(self) -> None:
        if len(set(self.class_order)) != len(self.class_order):
            twice = next(c for c in self.class_order if self.class_order.count(c) > 1)
            raise PlanError(f"class {twice!r} is in the class order twice: name each class once")
        if len(self.class_images) != len(self.class_order):
            raise PlanError(
                f"{len(self.class_order)} classes but {len(self.class_images)} image counts"
            )
        check_counts(self.class_images, self.class_order)
        check_stage_sizes(self.stage_sizes, least=0 if self.num_given else 1)
        if self.num_given < 0:
            raise PlanError(f"the plan has {self.num_given} given classes: give none or more")
        if self.num_classes > len(self.class_order):
            raise PlanError(
                f"the stages add {sum(self.stage_sizes)} classes but there are "
                f"{len(self.class_order) - self.num_given}"
            )

    @property
    def num_classes(self) -> int:
        """N_T: classes after the last stage."""
        return self.num_given + sum(self.stage_sizes)

    @property
    def stages(self) -> tuple[PlanStage, ...]:
        """The stages in order, with their counts."""
        stages = []
        num_classes = self.num_given
        num_images = sum(self.class_images[:num_classes])
        for index, size in enumerate(self.stage_sizes, start=1):
            new_images = sum(self.class_images[num_classes : num_classes + size])
            num_classes += size
            num_images += new_images
            stages.append(
                PlanStage(
                    index=index,
                    num_new_classes=size,
                    num_classes=num_classes,
                    num_new_images=new_images,
                    num_images=num_images,
                )
            )
        return tuple(stages)

    @property
    def images_per_epoch(self) -> int:
        """Images seen when every stage trains one epoch: the sum of |D_j|."""
        return sum(stage.num_images for stage in self.stages)

    @property
    def scratch_images_per_epoch(self) -> int:
        """Images seen when from scratch trains as many epochs: T times |D_T|."""
        return len(self.stage_sizes) * self.stages[-1].num_images


def parse_alpha(text: str | float | int | Fraction) -> Fraction:
    """Return the growth ratio as an exact fraction: `1`, `0.5`, `1/3`.

    Raises:
        PlanError: not a number, or outside 0.000001..1000000.
    """
    advice = "give a number above 0, such as 1 (doubles the images each stage), 0.5 or 1/3"
    word = str(text).strip()
    if len(word) > 40:
        raise PlanError(f"alpha is {word[:40]}…: {advice}")
    try:
        # Fraction("1e999999999") would never return: a word without / shows its size as a float.
        size = 1.0 if "/" in word else float(word)
        alpha = Fraction(word) if 1e-7 < size < 1e7 else Fraction(0)
    except (ValueError, ZeroDivisionError):
        raise PlanError(f"alpha is {word!r}: {advice}") from None
    if math.isnan(size):
        raise PlanError(f"alpha is {word!r}: {advice}")
    if not Fraction(1, 10**6) <= alpha <= 10**6:
        raise PlanError(f"alpha is {word}: {advice}")
    return alpha


def check_counts(class_images: Sequence[int], names: Sequence[str] | None = None) -> None:
    """Refuse a class without training images.

    Raises:
        PlanError: no class at all, or a count below 1.
    """
    if not class_images:
        raise PlanError("there are no classes to plan: give at least one")
    for position, count in enumerate(class_images):
        if count < 1:
            name = repr(names[position]) if names else f"number {position + 1}"
            raise PlanError(
                f"class {name} has {count} training images: each class needs at least one"
            )


def check_counts_match(plan: Plan, counts: Mapping[str, int]) -> None:
    """Refuse images of other classes or counts than a plan was made from.

    Args:
        plan: the plan.
        counts: training images of each class that is there.

    Raises:
        CountsMismatchError: names the first class that differs.
    """
    planned = dict(zip(plan.class_order, plan.class_images, strict=True))
    for name in sorted(planned.keys() | counts.keys()):
        if planned.get(name, 0) != counts.get(name, 0):
            raise CountsMismatchError(
                f"class {name!r} has {counts.get(name, 0)} training images, but the plan was made "
                f"for {planned.get(name, 0)}: plan again from these images"
            )


def check_sizes(stage_sizes: Sequence[int], num_classes: int) -> None:
    """Refuse stage sizes that do not cover each class exactly once.

    Raises:
        PlanError: a size below 1, or a sum other than the number of classes.
    """
    check_stage_sizes(stage_sizes)
    if sum(stage_sizes) != num_classes:
        listed = ",".join(map(str, stage_sizes[:40])) + (",…" if len(stage_sizes) > 40 else "")
        raise PlanError(
            f"the stages add {sum(stage_sizes)} classes but there are {num_classes}: "
            f"change the list {listed} so that it adds up"
        )


def check_stage_sizes(stage_sizes: Sequence[int], least: int = 1) -> None:
    """Refuse a plan of no stage, and stages that add too few classes.

    Raises:
        PlanError: there is no stage, or a size is below the least.
    """
    if not stage_sizes:
        raise PlanError("the plan has no stage: give at least one")
    for index, size in enumerate(stage_sizes, start=1):
        if size < least:
            raise PlanError(f"stage {index} adds {size} classes: each stage adds at least {least}")


def _check_initial(initial: int, num_classes: int) -> None:
    if not 1 <= initial <= num_classes:
        raise PlanError(
            f"initial classes are {initial}: give a number from 1 to {num_classes}, "
            "the number of classes"
        )


def sizes_by_alpha(class_images: Sequence[int], initial: int, alpha: Fraction) -> tuple[int, ...]:
    """Return stage sizes by the growth-ratio rule: |d_j| as near alpha·|D_{j-1}| as classes allow.

    Args:
        class_images: training images per class, in class order.
        initial: classes of the first stage, 1..N.
        alpha: above 0.

    Returns:
        Sizes of the stages. A stage takes classes in order, at least one, while that brings its
        images nearer to the target; a tie takes fewer; the last stage takes what is left.
    """
    check_counts(class_images)
    _check_initial(initial, len(class_images))
    sizes = [initial]
    position = initial
    seen_images = sum(class_images[:initial])
    while position < len(class_images):
        size, new_images = _one_step(class_images, position, alpha * seen_images)
        sizes.append(size)
        position += size
        seen_images += new_images
    return tuple(sizes)


def _one_step(class_images: Sequence[int], start: int, target: Fraction) -> tuple[int, int]:
    """Return (classes, images) of the stage that begins at a class and aims at target images."""
    size, images = 1, class_images[start]
    for count in class_images[start + 1 :]:
        if abs(images + count - target) >= abs(images - target):
            break
        size += 1
        images += count
    return size, images


def sizes_by_increment(num_classes: int, initial: int, increment: int) -> tuple[int, ...]:
    """Return stage sizes that add `increment` classes at a time; the last takes the rest.

    Raises:
        PlanError: initial outside 1..num_classes, or increment below 1.
    """
    _check_initial(initial, num_classes)
    if increment < 1:
        raise PlanError(f"classes per stage are {increment}: give at least 1")
    full, rest = divmod(num_classes - initial, increment)
    return (initial, *[increment] * full, *([rest] if rest else []))


def pack_steps(stage_images: Sequence[int], max_steps: int = MAX_PIPELINE_STEPS) -> list[range]:
    """Return the stage indices (from 1) of each pipeline step, consecutive small ones together.

    Args:
        stage_images: |D_j| of each stage, what an epoch of it costs.
        max_steps: steps at most, at least 1.

    Returns:
        One stage a step where they fit; else the fullest step is as small as it can be.
    """
    num_stages = len(stage_images)
    if num_stages <= max_steps:
        return [range(j, j + 1) for j in range(1, num_stages + 1)]
    low, high = max(stage_images), sum(stage_images)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(stage_images, middle)) <= max_steps:
            high = middle
        else:
            low = middle + 1
    return _fill(stage_images, low)


def _fill(stage_images: Sequence[int], capacity: int) -> list[range]:
    """Return consecutive groups, each filled up to a capacity."""
    groups: list[range] = []
    start, load = 1, 0
    for index, images in enumerate(stage_images, start=1):
        if load and load + images > capacity:
            groups.append(range(start, index))
            start, load = index, 0
        load += images
    return [*groups, range(start, len(stage_images) + 1)]


def even_counts(num_classes: int, images_per_class: int = 500) -> tuple[int, ...]:
    """Return equal counts, for a plan about a number of classes alone (500: CIFAR-100's).

    Raises:
        PlanError: num_classes or images_per_class below 1, or over a million classes.
    """
    if num_classes > 1_000_000:
        raise PlanError(f"{num_classes} classes: plan for at most 1,000,000")
    if num_classes < 1 or images_per_class < 1:
        raise PlanError(
            f"{num_classes} classes of {images_per_class} images: both must be at least 1"
        )
    return (images_per_class,) * num_classes


def parse_sizes(text: str) -> tuple[int, ...]:
    """Return stage sizes from text such as `10,10,20,40,20`.

    Raises:
        PlanError: an entry is not a whole number.
    """
    return tuple(_parse_size(part) for part in text.split(","))


def _parse_size(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise PlanError(
            f"stage size {text.strip()!r} is not a whole number: give a list such as 10,10,20,40,20"
        ) from None


def default_initial(num_classes: int) -> int:
    """Return the classes of the first stage where the user names none: a tenth, at least two.

    The paper starts its 100 classes from 10; a classifier of one class learns nothing.
    """
    return min(num_classes, max(2, num_classes // 10))


def describe_alpha(alpha: Fraction) -> str:
    """Return alpha as a person writes it: `1`, `0.5`, `1/3`."""
    decimal = f"{float(alpha):.12g}"
    return decimal if Fraction(decimal) == alpha else str(alpha)
