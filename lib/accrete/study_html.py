"""A study over classes started from and classes added, as one HTML page."""

from collections.abc import Mapping, Sequence
from typing import Any

from accrete import study_figures as figures
from accrete.errors import InputError
from accrete.page import check_format, inline, render_page
from accrete.study_headline import convergence_headline, increments_headline
from accrete.study_means import Combination, combine

STUDY_FORMAT = 1
PURPOSES = ("convergence", "increments")


def render_study(data: Mapping[str, Any]) -> str:
    """Return a study as one self-contained HTML page; the same data gives the same text.

    Args:
        data: the content of study.json, format 1: of purpose `convergence`, images until a stage
            converged (the paper's Table I), or of purpose `increments`, the error of models that
            grew by steps of one size (its Table II). Its texts may hold anything: all of them are
            escaped.

    Raises:
        InputError: the study has another format or purpose, or no training, or trainings of one
            combination end with different numbers of classes.
    """
    check_format("study", data["format"], STUDY_FORMAT)
    name, purpose = data["sweep"]["name"], data["purpose"]
    if purpose not in PURPOSES:
        raise InputError(
            f"study {name} has the purpose {purpose!r}: only {' and '.join(PURPOSES)} can be shown"
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
