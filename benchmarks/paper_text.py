"""The tables of `paper_tables.py`: the paper's figure beside ours for every cell, run or not."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_cells import (
    FULL,
    RULES,
    SPREADS,
    Scale,
    run_name,
    scratch_name,
    stage_name,
    staged_name,
)
from pieces import read_pieces
from record import table

from accrete.config.cost import TABLE_I
from accrete.reports.statistics import Trial, speed_up

NOT_MEASURED = "not measured"
NOT_GIVEN = "–"

SCRATCH_ERRORS = {90: 26.72, 100: 28.3}
"""Per cent of the test images, by classes, after 300 epochs from scratch (Table II)."""

STAGED_ERROR = 100 - 70.83
"""Per cent, after 5.6 million images (section IV)."""

TABLE_II = {
    (10, 1): (28.07, 28.63),
    (30, 1): (27.56, 28.81),
    (50, 1): (27.13, 28.78),
    (80, 1): (26.87, 27.51),
    (10, 2): (28.20, 28.24),
    (10, 5): (27.93, 28.58),
    (10, 10): (26.66, 28.20),
    (10, 45): (None, 30.04),
    (10, 90): (None, 30.67),
}
"""Error in per cent at 90 and at 100 classes, by (n1, Δn)."""

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""What the pieces of each cell measured, one a seed."""


def by_cell(pieces: Mapping[str, Any]) -> Results:
    """Return the results of pieces by the cell's name.

    Args:
        pieces: as `pieces.read_pieces` returns them.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for piece in pieces.values():
        found.setdefault(piece["result"]["cell"], []).append(piece["result"])
    return found


def report(
    pieces: Mapping[str, Any], scale: Scale, stop_gradient: float, *, whole: bool = True
) -> str:
    """Return the tables in Markdown; what no piece measured is said to be so.

    Args:
        pieces: as `pieces.read_pieces` returns them.
        scale: what was run.
        stop_gradient: of Table I.
        whole: whether tables of which nothing was measured are among them.
    """
    results = by_cell(pieces)
    machines = {piece["machine"]["gpu"] or piece["machine"]["cpu"] for piece in pieces.values()}
    seeds = sorted({result["seed"] for group in results.values() for result in group})
    tables = {
        "scratch, ": [_scratch(results, scale)],
        "staged, ": [_staged(results, scale), _figure2(results, scale)],
        **{f"rate by {spread}": [_table2(results, scale, spread)] for spread in SPREADS},
        "table 1, ": [_table1(results, scale, stop_gradient)],
    }
    return "\n".join(
        [
            f"On: {', '.join(sorted(machines)) or NOT_MEASURED}. "
            f"Seeds: {', '.join(map(str, seeds)) or NOT_MEASURED}; of several, the median.\n",
            *(
                text
                for part, texts in tables.items()
                if whole or any(part in cell for cell in results)
                for text in texts
            ),
        ]
    )


def recorded_figures(folder: Path, stop_gradient: float) -> str:
    """Return the tables of all that was recorded, and all of the recipe's own precision."""
    kinds = {"fp32": read_pieces("paper_tables", folder)}
    kinds["bf16"] = read_pieces("paper_tables_bf16", folder)
    return "\n".join(
        f"### Computed in {precision}\n\n"
        + report(pieces, FULL, stop_gradient, whole=precision == "fp32")
        for precision, pieces in kinds.items()
        if pieces or precision == "fp32"
    )


def with_figures(document: str, figures: str) -> str:
    """Return a document with its part between the marks exchanged.

    Raises:
        ValueError: it lacks a mark.
    """
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks {BEGIN} or {END}")
    return f"{head}{BEGIN}\n\n{figures}\n{END}{tail}"


def _scratch(results: Results, scale: Scale) -> str:
    rows = []
    budgets = [(scale.num_classes, epochs) for epochs in (scale.epochs, *scale.other_epochs)]
    for num_classes, epochs in (*budgets, (scale.fewer_classes, scale.epochs)):
        group = results.get(scratch_name(num_classes, epochs), ())
        theirs = SCRATCH_ERRORS.get(num_classes) if epochs == FULL.epochs else None
        ours = _error(group)
        shown = [_images(group), _percent(theirs), _ours(ours), _difference(ours, theirs)]
        rows.append([str(num_classes), f"{epochs:g}", *shown])
    headers = ["from scratch, classes", "epochs", "images", "paper, error", "ours", "difference"]
    return table(headers, rows)


def _staged(results: Results, scale: Scale) -> str:
    rows = []
    curve = [
        trial
        for epochs in (scale.epochs, *scale.other_epochs)
        for trial in _trials(results.get(scratch_name(scale.num_classes, epochs), ()), epochs)
    ]
    for rule, meaning in RULES.items():
        group = results.get(staged_name(rule), ())
        ours, theirs = _error(group), STAGED_ERROR if scale == FULL else None
        ratio = _speed_up(_trials(group, 0.0), curve)
        shown = [_images(group), _percent(theirs), _ours(ours), _difference(ours, theirs), ratio]
        rows.append([f"{rule}: {meaning}", *shown])
    headers = ["staged, α = 1, a stage ends by", "images", "paper, error", "ours", "difference"]
    return table([*headers, "images from scratch for as much"], rows)


def _figure2(results: Results, scale: Scale) -> str:
    rows = []
    for num_classes in scale.class_counts:
        scratch = results.get(scratch_name(num_classes, scale.epochs), ())
        shown = [
            _accuracy(_error(results.get(staged_name(rule), ()), num_classes)) for rule in RULES
        ]
        rows.append([str(num_classes), *shown, _accuracy(_error(scratch))])
    headers = ["Figure 2, classes", *(f"staged, {rule}, top-1" for rule in RULES)]
    return table([*headers, "from scratch, top-1"], rows)


def _table2(results: Results, scale: Scale, spread: str) -> str:
    rows = []
    for number, (initial, added) in sorted(scale.runs.items()):
        group = results.get(run_name(number, spread), ())
        cells = [str(number), str(initial), str(added)]
        sides = zip(
            (scale.fewer_classes, scale.num_classes),
            TABLE_II.get((initial, added), (None, None)),
            strict=True,
        )
        for num_classes, theirs in sides:
            is_passed = num_classes >= initial and (num_classes - initial) % added == 0
            ours = _error(group, num_classes)
            shown = _ours(ours) if is_passed or num_classes == scale.num_classes else NOT_GIVEN
            cells += [_percent(theirs), shown, _difference(ours, theirs)]
        rows.append(cells)
    headers = ["run", "n1", "Δn"]
    for num_classes in (scale.fewer_classes, scale.num_classes):
        headers += [f"paper at {num_classes}", "ours", "difference"]
    return f"Table II, {SPREADS[spread]}:\n\n{table(headers, rows)}"


def _table1(results: Results, scale: Scale, stop_gradient: float) -> str:
    rows = []
    for initial, added in scale.stages:
        group = results.get(stage_name(initial, added, stop_gradient), ())
        theirs = TABLE_I.get((initial, added))
        shown, ratio = NOT_MEASURED, NOT_GIVEN
        if group:
            thousands = statistics.median(r["stages"][-1]["images"] for r in group) / 1000
            converged = all(result["converged"][-1] for result in group)
            shown = f"{thousands:,.0f}" if converged else f"over {thousands:,.0f}, given up"
            if theirs is not None and converged:
                ratio = f"{thousands / theirs:.2f}×"
        said = f"{theirs:,}" if theirs is not None else NOT_GIVEN
        rows.append([str(initial), str(added), said, shown, ratio])
    headers = ["n1", "Δn", "paper, thousand images", "ours", "ours over the paper's"]
    return f"Table I, until the gradient's norm is below {stop_gradient:g}:\n\n" + table(
        headers, rows
    )


def _error(group: Sequence[Mapping[str, Any]], num_classes: int | None = None) -> float | None:
    """Return the median error in per cent, after the last stage or that of so many classes."""
    errors = []
    for result in group:
        stages = [s for s in result["stages"] if num_classes in (None, s["classes"])]
        errors += [100 * (1 - stage["top1"]) for stage in stages[-1:]]
    return statistics.median(errors) if errors else None


def _trials(group: Sequence[Mapping[str, Any]], budget: float) -> list[Trial]:
    return [Trial(budget=budget, seed=r["seed"], cost=r["images"], top1=r["top1"]) for r in group]


def _speed_up(point: Sequence[Trial], curve: Sequence[Trial]) -> str:
    if not point or not curve:
        return NOT_MEASURED
    found = speed_up(point, curve)
    return "outside what was run" if found.ratio is None else f"{found.ratio:.2f}×"


def _images(group: Sequence[Mapping[str, Any]]) -> str:
    if not group:
        return NOT_MEASURED
    return f"{statistics.median(result['images'] for result in group):,.0f}"


def _percent(value: float | None) -> str:
    return NOT_GIVEN if value is None else f"{value:.2f} %"


def _ours(error: float | None) -> str:
    return NOT_MEASURED if error is None else f"{error:.2f} %"


def _accuracy(error: float | None) -> str:
    return NOT_MEASURED if error is None else f"{100 - error:.2f} %"


def _difference(ours: float | None, theirs: float | None) -> str:
    return NOT_GIVEN if ours is None or theirs is None else f"{ours - theirs:+.2f}"
