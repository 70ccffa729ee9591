"""The tables of `gpu.py`, from the results of its pieces."""

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpu_chains import PAPER_TOP1, shown_change
from gpu_rates import MODES
from record import shown, table

from accrete.core.units import format_percent
from accrete.reports.statistics import Trial, cost_at, mean_curve, speed_up

NOT_MEASURED = "not measured"
PHASES = ("pull_s", "grow_s", "train_s", "evaluate_s", "push_s")


def report(pieces: Mapping[str, Any]) -> str:
    """Return all tables in Markdown; what no piece measured is said to be so.

    Args:
        pieces: as `pieces.read_pieces` returns them.
    """
    results = {name: piece["result"] for name, piece in pieces.items()}
    gpus = sorted({piece["machine"]["gpu"] or "no GPU" for piece in pieces.values()})
    reported = [r for name, r in results.items() if name.startswith(("staged, ", "scratch, "))]
    searched = [r for name, r in results.items() if name.startswith("search, ")]
    return "\n".join(
        [
            f"On {', '.join(gpus) or NOT_MEASURED}.\n",
            _ceilings(results.get("ceilings")),
            _rates(results),
            _search(searched),
            _accuracy(reported),
            _headline(reported),
            _arrival(results),
            _extended(results.values()),
            _life(results.values()),
            _phases(reported, results.get("start")),
        ]
    )


def _ceilings(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return f"Ceilings: {NOT_MEASURED}.\n"
    return (
        f"Ceilings: {shown(found['bf16_tflop_per_s'], '{:,.0f}')} TFLOP/s in bf16 products of "
        f"{found['size']:,}², copies of {shown(found['copy_gb_per_s'], '{:,.0f}')} GB/s.\n"
    )


def _rates(results: Mapping[str, Any]) -> str:
    """Return images per second by batch size and how the trunk is run."""
    found = {
        tuple(name.removeprefix("rate, ").split(", batch ")): result
        for name, result in results.items()
        if name.startswith("rate, ")
    }
    rows = [
        [size, *(_rate(found.get((how, size))) for how in MODES)]
        for size in sorted({size for _, size in found}, key=int)
    ]
    return table(["batch", *(f"{how}, images/s" for how in MODES)], rows or [[NOT_MEASURED] * 4])


def _rate(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return NOT_MEASURED
    if "failed" in result:
        return f"failed: {result['failed']}"
    return shown(result["images_per_s"], "{:,.0f}")


def _grouped(
    results: Iterable[Mapping[str, Any]], *keys: str
) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for result in results:
        known = result | {"change": shown_change(result["change"])}
        groups.setdefault(tuple(known[key] for key in keys), []).append(result)
    return groups


def _search(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean accuracy of each change, the best first."""
    rows = [
        [change, f"{group[0]['images']:,}", *_spread(r["top1"] for r in group), str(len(group))]
        for (change,), group in _grouped(results, "change").items()
    ]
    rows.sort(key=lambda row: -float(row[2].split()[0]))
    headers = ["change, from scratch", "images", "top-1, mean", "least – most", "seeds"]
    return table(headers, rows or [[NOT_MEASURED] * 5])


def _accuracy(results: Sequence[Mapping[str, Any]]) -> str:
    """Return accuracy and seconds by plan and budget."""
    rows = []
    for (plan, _), group in sorted(_grouped(results, "plan", "epochs").items()):
        seconds = [sum(map(_stage_s, result["stages"])) for result in group]
        rows.append(
            [
                plan,
                f"{group[0]['images']:,}",
                *_spread(result["top1"] for result in group),
                f"{statistics.median(result['train_s'] for result in group):.1f}",
                f"{statistics.median(seconds):.1f}",
                str(len(group)),
            ]
        )
    headers = ["plan", "images", "top-1, mean", "least – most", "training, s", "stages, s", "seeds"]
    return table(headers, rows or [[NOT_MEASURED] * 7])


def _headline(results: Sequence[Mapping[str, Any]]) -> str:
    """Return images to the paper's accuracy, and the ratios at equal accuracy."""
    trials = {plan: _trials(_of_plan(results, plan)) for plan in ("staged", "scratch")}
    lines = []
    for plan, found in trials.items():
        cost = cost_at(PAPER_TOP1, mean_curve(found)) if found else None
        told = NOT_MEASURED if not found else "outside what was run" if cost is None else ""
        lines.append(f"Images to {format_percent(PAPER_TOP1)}, {plan}: {told or f'{cost:,.0f}'}.")
    for budget in sorted({trial.budget for trial in trials["staged"]}):
        point = [trial for trial in trials["staged"] if trial.budget == budget]
        top1 = statistics.mean(trial.top1 for trial in point)
        ratio = _ratio(point, trials["scratch"])
        lines.append(
            f"{budget:g} epochs staged, {format_percent(top1)}; images from scratch over these: "
            f"{ratio}."
        )
    return "\n".join(lines) + "\n"


def _arrival(results: Mapping[str, Any]) -> str:
    """Return the accuracy of each change of the stage that extends, the best first."""
    found = [result for name, result in results.items() if name.startswith("arrival, ")]
    rows = [
        [_at_arrival(result), f"{result['stages'][-1]['images']:,}", format_percent(result["top1"])]
        for result in sorted(found, key=lambda result: -result["top1"])
    ]
    return table(["change at arrival", "images seen", "top-1"], rows or [[NOT_MEASURED] * 3])


def _at_arrival(result: Mapping[str, Any]) -> str:
    return shown_change(result.get("at_arrival", {}), "none")


def _extended(results: Iterable[Any]) -> str:
    """Return what extending a finished model costs, beside training anew for the same accuracy."""
    measured = [result for result in results if isinstance(result, Mapping) and "plan" in result]
    scratch = _trials(result for result in measured if result["plan"] == "scratch")
    rows = []
    for result in sorted(_of_plan(measured, "extended"), key=lambda result: result["epochs"]):
        old, whole = result["stages"]
        trial = replace(_trials([result])[0], cost=whole["images"])
        rows.append(
            [
                f"{old['classes']} to {whole['classes']}",
                f"{result['epochs']:g}",
                _at_arrival(result),
                f"{whole['images']:,}",
                format_percent(whole["top1"]),
                _ratio([trial], scratch),
            ]
        )
    headers = ["classes", "epochs", "change", "images seen", "top-1", "images anew over seen"]
    return table(headers, rows or [[NOT_MEASURED] * 6])


def _life(results: Iterable[Any]) -> str:
    """Return, at each arrival, the extended models beside one trained anew."""
    measured = [result for result in results if isinstance(result, Mapping) and "plan" in result]
    anew = {result["stages"][0]["classes"]: result for result in _of_plan(measured, "anew")}
    lives = [
        (f"{life['epochs']:g} epochs, {_at_arrival(life)}", life["stages"])
        for life in _of_plan(measured, "life")
    ]
    if lives:
        lives.append(("anew", [anew[s["classes"]]["stages"][0] for s in lives[0][1]
                               if s["classes"] in anew]))  # fmt: skip
    rows = []
    for told, stages in lives:
        images = list(itertools.accumulate(stage["images"] for stage in stages))
        rows += [
            [told, str(stage["classes"]), format_percent(stage["top1"]), f"{so_far:,}"]
            for stage, so_far in zip(stages, images, strict=True)
        ]
    headers = ["at each arrival", "classes", "top-1", "images so far"]
    return table(headers, rows or [[NOT_MEASURED] * 4])


def _of_plan(results: Iterable[Mapping[str, Any]], plan: str) -> list[Mapping[str, Any]]:
    return [result for result in results if result["plan"] == plan]


def _trials(results: Iterable[Mapping[str, Any]]) -> list[Trial]:
    return [
        Trial(budget=r["epochs"], seed=r["seed"], cost=r["images"], top1=r["top1"]) for r in results
    ]


def _ratio(points: Sequence[Trial], scratch: Sequence[Trial]) -> str:
    """Return how many times the images from scratch needs for the points' accuracy."""
    if not scratch:
        return NOT_MEASURED
    found = speed_up(points, scratch)
    if found.ratio is None:
        return "outside what was run"
    if found.low is None or found.high is None or len({trial.seed for trial in points}) == 1:
        return f"{found.ratio:.2f}×"
    return f"{found.ratio:.2f}× ({found.low:.2f} – {found.high:.2f})"


def _phases(results: Sequence[Mapping[str, Any]], start: Mapping[str, Any] | None) -> str:
    """Return the median seconds of each phase of a staged chain's stages."""
    stages = [stage for r in results if r["plan"] == "staged" for stage in r["stages"]]
    rows = []
    for classes in sorted({stage["classes"] for stage in stages}):
        group = [stage for stage in stages if stage["classes"] == classes]
        medians = [statistics.median(stage[phase] for stage in group) for phase in PHASES]
        rows.append([str(classes), *(f"{seconds:.2f}" for seconds in medians)])
    headers = ["classes", *(f"{phase.removesuffix('_s')}, s" for phase in PHASES)]
    begun = "\n".join(
        f"Start of a process, until it has the {name.removeprefix('and the ')}: {shown(seconds)} s."
        for name, seconds in (start or {}).items()
    )
    return table(headers, rows or [[NOT_MEASURED] * 6]) + "\n" + begun


def _stage_s(stage: Mapping[str, Any]) -> float:
    return sum(float(stage[phase]) for phase in PHASES)


def _spread(shares: Iterable[float]) -> tuple[str, str]:
    """Return the mean of shares, and the least and the greatest, in per cent."""
    found = sorted(100 * share for share in shares)
    return f"{statistics.mean(found):.2f} %", f"{found[0]:.2f} – {found[-1]:.2f}"
