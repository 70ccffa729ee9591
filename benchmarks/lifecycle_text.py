"""The tables of `lifecycle.py` in Markdown: contestants by schedules, and each arrival."""

from collections.abc import Mapping, Sequence
from typing import Any

from record import table

from accrete.core.units import MISSING, format_count, format_percent
from accrete.reports._lifecycle_figures import shown_budget
from accrete.reports._lifecycle_page import shown_spread

NOT_REACHED = "not reached"


def lifecycle_text(written: Mapping[str, Any]) -> str:
    """Return the tables of one recorded lifecycle.

    Args:
        written: as `lifecycle.py` recorded it.
    """
    report, machine = written["results"], written["machine"]
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores"
    seeds = ", ".join(map(str, report["seeds"]))
    lines = [
        f"On: {where}; {'; '.join(report['devices'])}. Model {report['config']['model']['name']}, "
        f"{format_count(report['dataset']['num_train_images'])} training images of "
        f"{report['dataset']['num_classes']} classes, seeds {seeds}.\n",
        _totals(report["schedules"]),
    ]
    scratch = {row["num_classes"]: row for row in report["scratch"]}
    for schedule in report["schedules"]:
        lines += [f"Arrivals `{schedule['schedule']}`:\n", _arrivals(schedule, scratch)]
    ended = [
        str(row["num_classes"])
        for row in report["scratch"]
        if row["tuned"] is not None and row["tuned"]["ended_at_largest"]
    ]
    if ended:
        lines.append(
            f"From scratch, the search ended at its largest budget at {', '.join(ended)} classes.\n"
        )
    return "\n".join(lines)


def _totals(schedules: Sequence[Mapping[str, Any]]) -> str:
    """Return contestants by schedules: from scratch's cost over theirs."""
    names = [each["name"] for each in schedules[0]["contestants"]]
    rows = []
    for name in names:
        row = [f"`{name}`"]
        for schedule in schedules:
            each = next(other for other in schedule["contestants"] if other["name"] == name)
            row += [_ratio(each["needed"]["images"]), _ratio(each["needed"]["seconds"])]
            row.append(MISSING if each["is_adaptive"] else _whole(each["one_budget"]["images"]))
        rows.append(row)
    heads = ["contestant"]
    for schedule in schedules:
        heads += [f"`{schedule['schedule']}`: images", "seconds", "images, one budget"]
    return table(heads, rows)


def _ratio(total: Mapping[str, Any] | None) -> str:
    if total is None:
        return NOT_REACHED
    return f"{total['ratio']:.2f}×{shown_spread(total, '–')}"


def _whole(total: Mapping[str, Any] | None) -> str:
    return NOT_REACHED if total is None else f"{_ratio(total)}, {total['budget']:g} epochs"


def _arrivals(schedule: Mapping[str, Any], scratch: Mapping[int, Any]) -> str:
    """Return each arrival of a schedule: accuracy and images, from scratch and of each one."""
    contestants = schedule["contestants"]
    heads = ["classes", "from scratch", "images"]
    for each in contestants:
        most = "up to " * each["is_adaptive"]
        heads += [f"`{each['name']}`, {most}{shown_budget(each):g} epochs", "needs"]
    rows = []
    for place, number in enumerate(schedule["num_classes"]):
        tuned = scratch[number]["tuned"]
        row = [str(number)]
        row += [
            format_percent(tuned and tuned["top1"], 1),
            format_count(tuned and tuned["images"]),
        ]
        for each in contestants:
            row += _first(each["first"]) if place == 0 else _arrival(each, place)
        rows.append(row)
    return table(heads, rows)


def _first(first: Mapping[str, Any]) -> list[str]:
    return [format_percent(first["top1"], 1), format_count(first["images"])]


def _arrival(each: Mapping[str, Any], place: int) -> list[str]:
    arrival = each["arrivals"][place - 1]
    budget = shown_budget(each)
    at = next(row for row in arrival["budgets"] if row["budget_epochs"] == budget)
    found = arrival["needed"]["images"]
    bound = "≤ " if found is not None and found["is_bound"] else ""
    needs = NOT_REACHED if found is None else f"{bound}{format_count(found['cost'])}"
    lost = "" if at["lost"] is None else f" ({-100 * at['lost']:+.1f})"
    return [f"{format_percent(at['top1'], 1)}{lost}", needs]
