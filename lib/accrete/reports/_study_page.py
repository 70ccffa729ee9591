"""A study over classes started from and classes added, as one HTML page."""

from collections.abc import Mapping, Sequence
from typing import Any

from accrete.core.units import format_count, format_counted, format_percent
from accrete.errors import InputError
from accrete.reports import _study_figures as figures
from accrete.reports._page import check_rendered_format, inline, render_page
from accrete.reports._study_figures import Combination, Combinations, combine

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
    classes = format_counted(best.num_classes, "class", "classes")
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
    classes = format_counted(added, "class", "classes")
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


STUDY_FORMAT = 1
STUDY_PURPOSES = ("convergence", "increments")


def render_study(data: Mapping[str, Any]) -> str:
    """Return a study as one self-contained HTML page; the same data gives the same text.

    Args:
        data: the content of study.json, format 1: of purpose `convergence`, images until a stage
            converged (the paper's Table I), or of purpose `increments`, the error of models that
            grew by one increment (its Table II). Its texts may hold anything: all of them are
            escaped.

    Raises:
        InputError: the study has another format or purpose, or no training, or trainings of one
            combination end with different numbers of classes.
    """
    check_rendered_format("study", data["format"], STUDY_FORMAT)
    name, purpose = data["sweep"]["name"], data["purpose"]
    if purpose not in STUDY_PURPOSES:
        raise InputError(
            f"study {name} has the purpose {purpose!r}: only {' and '.join(STUDY_PURPOSES)} can be"
            " shown"
        )
    if not data["cells"]:
        raise InputError(f"study {name} has no training that is done: wait for one")
    combinations = combine(data["cells"])
    rows = sorted({*data["rows"], *(c.num_initial for c in combinations)})
    columns = sorted({*data["columns"], *(c.num_added for c in combinations)})
    is_convergence = purpose == "convergence"
    return render_page(
        "study.html.j2",
        data=data,
        is_convergence=is_convergence,
        headline=convergence_headline(combinations)
        if is_convergence
        else increments_headline(combinations, data["baseline"]),
        combinations=combinations,
        num_unconverged=sum(c.num_unconverged for c in combinations),
        lowest_error=min((c.error.mean for c in combinations if c.error), default=None),
        rows=rows,
        columns=columns,
        seeds=sorted({cell["seed"] for cell in data["cells"]}),
        figures=inline(
            _convergence_figures(rows, columns, combinations)
            if is_convergence
            else _increments_figures(rows, columns, combinations, data["baseline"])
        ),
    )


def _convergence_figures(
    rows: Sequence[int], columns: Sequence[int], combinations: Sequence[Combination]
) -> dict[str, str]:
    drawn = {"images_map": figures.images_map(rows, columns, combinations)}
    if len({c.num_added for c in combinations}) > 1:  # else there is no line to draw
        drawn["images_over_added"] = figures.images_over_added(rows, columns, combinations)
    return drawn


def _increments_figures(
    rows: Sequence[int],
    columns: Sequence[int],
    combinations: Sequence[Combination],
    baseline: Mapping[str, Any] | None,
) -> dict[str, str]:
    if all(c.error is None for c in combinations):
        return {}
    top1 = None if baseline is None else baseline["top1"]
    error = None if top1 is None else 1 - top1
    return {"error_map": figures.error_map(rows, columns, combinations, error)}
