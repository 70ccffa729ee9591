"""What a study says in a sentence or two, with how sure that is."""

from collections.abc import Mapping, Sequence
from typing import Any

from accrete.page import format_count, format_percent
from accrete.study_means import Combination

Combinations = Sequence[Combination]

ONE_SEED = " One seed each: no spread is known."


def convergence_headline(combinations: Combinations) -> str:
    """Return which stage took the fewest and which the most images until it converged.

    Args:
        combinations: at least one.
    """
    converged = [c for c in combinations if not c.is_bound]
    num_trainings = sum(c.num_seeds for c in combinations)
    num_unconverged = sum(c.num_unconverged for c in combinations)
    if num_trainings == num_unconverged == 1:
        return "The training did not converge within its bound: its images are a lower bound."
    if num_unconverged == 0:
        rest = ""
    elif num_unconverged == num_trainings:
        return (
            f"None of the {num_trainings:,} trainings converged within its bound: all figures are"
            " lower bounds."
        )
    else:
        rest = (
            f" {num_unconverged:,} of {num_trainings:,} trainings did not converge within the"
            " bound: what they give is a lower bound."
        )
    rest += _seeds(combinations)
    if not converged:
        return f"No combination converged with every seed.{rest}"
    fewest = min(converged, key=lambda c: c.images_seen.mean)
    most = max(converged, key=lambda c: c.images_seen.mean)
    if fewest is most:
        return f"Until it converged, {_took(fewest)}.{rest}"
    among = "the most of those that converged" if num_unconverged else "the most"
    return f"Until it converged, {_took(fewest)}, the fewest, and {_took(most)}, {among}.{rest}"


def increments_headline(combinations: Combinations, baseline: Mapping[str, Any] | None) -> str:
    """Return the lowest and the highest error, and that from scratch.

    Args:
        combinations: at least one.
        baseline: the study's `baseline`.
    """
    known = [(c.error.mean, c) for c in combinations if c.error is not None]
    if not known:
        return "No accuracy was measured: no error can be stated."
    lowest, best = min(known, key=lambda pair: pair[0])
    highest, worst = max(known, key=lambda pair: pair[0])
    classes = "1 class" if best.num_classes == 1 else f"{best.num_classes:,} classes"
    if best is worst:
        text = f"The error on {classes} is {format_percent(lowest)} {_way(best)}"
    else:
        text = (
            f"The lowest error on {classes} is {format_percent(lowest)} {_way(best)}, the highest"
            f" {format_percent(highest)} {_way(worst)}"
        )
    if baseline is not None and baseline["top1"] is not None:
        text += (
            f"; from scratch it is {format_percent(1 - baseline['top1'])}, after"
            f" {format_count(baseline['images_seen'])} images"
        )
    return f"{text}.{_seeds(combinations)}"


def _took(combination: Combination) -> str:
    """Return what was trained, and how many images it took."""
    added = combination.num_added
    classes = "1 class" if added == 1 else f"{added:,} classes"
    if combination.num_initial:
        what = f"adding {classes} to {combination.num_initial:,}"
    else:
        what = f"a first stage of {classes}"
    return f"{what} took {format_count(combination.images_seen.mean)} images"


def _way(combination: Combination) -> str:
    """Return how a model came about, and after how many images."""
    return (
        f"(from {combination.num_initial:,} classes, adding {combination.num_added:,} at a time,"
        f" after {format_count(combination.images_seen.mean)} images)"
    )


def _seeds(combinations: Combinations) -> str:
    return ONE_SEED if all(c.num_seeds == 1 for c in combinations) else ""
