"""The tables of `paper_tables.py`: the paper's figure beside ours for every cell, run or not."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from paper_cells import FULL, RULES, SPREADS, PaperCell, Scale, cells_of
from pieces import read_pieces
from record import table

from accrete.config.cost import TABLE_I
from accrete.config.recipe import PAPER
from accrete.core.units import MISSING, format_count, format_percent
from accrete.reports.statistics import Spread, Trial, speed_up, spread

NOT_MEASURED = "not measured"

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


def by_label(pieces: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the results of pieces, as `pieces.read_pieces` returns them, by the cell's label."""
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
    tables = _Tables(by_label(pieces), scale, stop_gradient)
    machines = {piece["machine"]["gpu"] or piece["machine"]["cpu"] for piece in pieces.values()}
    seeds = sorted({piece["result"]["seed"] for piece in pieces.values()})
    parts = {
        "scratch, ": [tables.scratch()],
        "staged, ": [tables.staged(), tables.figure2()],
        "rate by stage": [tables.table2("stage")],
        "rate by plan": [tables.table2("plan")],
        "table 1, ": [tables.table1(stop_gradient)],
    }
    said = [text for part, texts in parts.items() if whole or tables.has(part) for text in texts]
    head = (
        f"On: {', '.join(sorted(machines)) or NOT_MEASURED}. "
        f"Seeds: {', '.join(map(str, seeds)) or NOT_MEASURED}; of several, the mean.\n"
    )
    return "\n".join([head, *said])


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


def with_figures(document: str, figures: str, part: str = "figures") -> str:
    """Return a document with its part between two marks, `<!-- PART: begin -->`, exchanged.

    Raises:
        ValueError: it lacks a mark.
    """
    first, last = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    head, begin, rest = document.partition(first)
    _, end, tail = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the document lacks {first} or {last}")
    return f"{head}{first}\n\n{figures}\n{last}{tail}"


class _Tables:
    """Each of the tables, from what the cells' pieces measured."""

    def __init__(self, results: Mapping[str, Any], scale: Scale, stop_gradient: float) -> None:
        self._results, self._scale = results, scale
        cells = cells_of(scale, precision=PAPER.precision, stop_gradient=stop_gradient)
        self._staged = [made for made in cells if made.cell.kind == "staged"]
        self._scratch = [made for made in cells if made.cell.kind == "scratch"]
        self._grids = [made for made in cells if made.cell.kind == "cell"]

    def has(self, part: str) -> bool:
        """Return whether a cell was measured whose label has this part."""
        return any(part in label for label in self._results)

    def scratch(self) -> str:
        """Return the error of runs from scratch."""
        rows = []
        whole = [made for made in self._scratch if made.part != "figure2"]
        for made in sorted(whole, key=lambda made: (-made.cell.num_classes, -_epochs(made))):
            classes, epochs = made.cell.num_classes, _epochs(made)
            theirs = SCRATCH_ERRORS.get(classes) if epochs == FULL.epochs else None
            shown = [self._images(made), *_beside(theirs, self._error(made))]
            rows.append([str(classes), f"{epochs:g}", *shown])
        headers = ["from scratch, classes", "epochs", "images", "paper, error", "ours"]
        return table([*headers, "difference"], rows)

    def staged(self) -> str:
        """Return the error of the staged plan by each rule, and what from scratch costs for it."""
        full = [made for made in self._scratch if made.cell.num_classes == self._scale.num_classes]
        curve = [trial for made in full for trial in self._trials(made, _epochs(made))]
        theirs = STAGED_ERROR if self._scale == FULL else None
        rows = []
        for made, (rule, meaning) in zip(self._staged, RULES.items(), strict=True):
            point, ratio = self._trials(made, 0.0), NOT_MEASURED
            if point and curve:
                found = speed_up(point, curve).ratio
                ratio = "outside what was run" if found is None else f"{found:.2f}×"
            shown = [self._images(made), *_beside(theirs, self._error(made)), ratio]
            rows.append([f"{rule}: {meaning}", *shown])
        headers = ["staged, α = 1, a stage ends by", "images", "paper, error", "ours", "difference"]
        return table([*headers, "images from scratch for as much"], rows)

    def figure2(self) -> str:
        """Return the accuracy at each number of classes of the staged plan."""
        scratch = {m.cell.num_classes: m for m in self._scratch if _epochs(m) == self._scale.epochs}
        rows = []
        for num_classes in accumulate(self._staged[0].cell.stage_sizes):
            errors = [self._error(m, num_classes) for m in (*self._staged, scratch[num_classes])]
            shown = [format_percent(1 - e.mean) if e else NOT_MEASURED for e in errors]
            rows.append([str(num_classes), *shown])
        headers = ["Figure 2, classes", *(f"staged, {rule}, top-1" for rule in RULES)]
        return table([*headers, "from scratch, top-1"], rows)

    def table2(self, scope: str) -> str:
        """Return the error of runs by (n1, Δn), where they know fewer classes and all."""
        sides = (self._scale.fewer_classes, self._scale.num_classes)
        made_by = {made.label: made for made in self._grids}
        rows = []
        for number, pair in sorted(self._scale.runs.items()):
            made = made_by[f"table 2, run {number}, rate by {scope}"]
            row = [str(number), *map(str, pair)]
            for num_classes, theirs in zip(sides, TABLE_II.get(pair, (None, None)), strict=True):
                is_passed = num_classes in accumulate(made.cell.stage_sizes)
                missing = NOT_MEASURED if is_passed else MISSING
                row += _beside(theirs, self._error(made, num_classes), missing)
            rows.append(row)
        beside = [[f"paper at {side}", "ours", "difference"] for side in sides]
        headers = ["run", "n1", "Δn", *beside[0], *beside[1]]
        return f"Table II, {SPREADS[scope]}:\n\n{table(headers, rows)}"

    def table1(self, stop_gradient: float) -> str:
        """Return the images that adding classes took until it converged."""
        rows = []
        for made in self._grids:
            if made.part == "table1":
                group, theirs = self._group(made), TABLE_I.get(made.cell.stage_sizes)
                taken = spread(result["stages"][-1]["images"] / 1000 for result in group)
                shown, ratio = NOT_MEASURED, MISSING
                if taken and all(result["converged"][-1] for result in group):
                    shown = format_count(taken.mean)
                    ratio = f"{taken.mean / theirs:.2f}×" if theirs else MISSING
                elif taken:
                    shown = f"over {taken.mean:,.0f}, given up"
                row = [*map(str, made.cell.stage_sizes), format_count(theirs), shown, ratio]
                rows.append(row)
        headers = ["n1", "Δn", "paper, thousand images", "ours", "ours over the paper's"]
        what = f"Table I, until the gradient's norm is below {stop_gradient:g}"
        return f"{what}:\n\n{table(headers, rows)}"

    def _group(self, made: PaperCell) -> Sequence[Mapping[str, Any]]:
        return self._results.get(made.label, ())

    def _images(self, made: PaperCell) -> str:
        images = spread(result["images"] for result in self._group(made))
        return format_count(images.mean) if images else NOT_MEASURED

    def _error(self, made: PaperCell, num_classes: int | None = None) -> Spread | None:
        """Return the share of wrong answers at a run's end, or where it knew so many classes."""
        wanted = num_classes or made.cell.num_classes
        stages = [stage for result in self._group(made) for stage in result["stages"]]
        return spread(1 - stage["top1"] for stage in stages if stage["classes"] == wanted)

    def _trials(self, made: PaperCell, budget: float) -> list[Trial]:
        return [
            Trial(budget=budget, seed=result["seed"], cost=result["images"], top1=result["top1"])
            for result in self._group(made)
        ]


def _epochs(made: PaperCell) -> float:
    assert made.cell.recipe.budget_epochs is not None
    return made.cell.recipe.budget_epochs


def _beside(theirs: float | None, ours: Spread | None, missing: str = NOT_MEASURED) -> list[str]:
    """Return the paper's error, which is in per cent, ours and the difference."""
    return [
        MISSING if theirs is None else f"{theirs:.2f} %",
        format_percent(ours.mean) if ours else missing,
        f"{100 * ours.mean - theirs:+.2f}" if ours and theirs is not None else MISSING,
    ]
