"""A lifecycle as one HTML page, and what it came to in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from accrete.core.units import format_count, format_counted, format_percent, format_seconds
from accrete.reports import _lifecycle_figures as figures
from accrete.reports._page import check_rendered_format, inline, render_page

LIFECYCLE_FORMAT = 1


def lifecycle_lines(data: Mapping[str, Any]) -> list[str]:
    """Return what each contestant came to over each schedule, a line each.

    Args:
        data: from `lifecycle_figures`.
    """
    lines = []
    for schedule in data["schedules"]:
        for each in schedule["contestants"]:
            lines.append(f"{schedule['schedule']}  {each['name']}: {_outcome(schedule, each)}")
    return [*lines, *_remarks(data)]


def _outcome(schedule: Mapping[str, Any], each: Mapping[str, Any]) -> str:
    total = each["needed"]["images"]
    if schedule["scratch"]["images"] is None:
        return "no test or validation images: nothing to compare"
    if total is None:
        short = [
            format_count(schedule["num_classes"][arrival["place"]])
            for arrival in each["arrivals"]
            if arrival["needed"]["images"] is None
        ]
        arrivals = format_counted(len(each["arrivals"]), "arrival")
        return (
            f"not as good as from scratch at {len(short)} of {arrivals} with the budgets tried "
            f"(at {', '.join(short)} classes)"
        )
    seconds = each["needed"]["seconds"]
    text = f"as good at every arrival; from scratch takes {_times(total)} the images"
    if seconds is not None:
        text += f", {_times(seconds)} the seconds"
    whole = each["one_budget"]["images"]
    if each["is_adaptive"]:
        return text
    if whole is None:
        return f"{text}; none of the budgets tried served the whole life"
    return f"{text}; with one budget of {whole['budget']:g} epochs {_times(whole)}"


def _times(total: Mapping[str, Any]) -> str:
    return f"{total['ratio']:.2f}×{shown_spread(total, ' to ')}"


def shown_spread(total: Mapping[str, Any], between: str) -> str:
    """Return the interval of a ratio in brackets, and in how many of the draws it is reached.

    Args:
        total: as `lifecycle_figures` has it.
        between: its ends.
    """
    drawn = total["drawn"]
    if drawn is None:
        return ""
    low, high = drawn["interval"]
    some = "" if total["interval"] else f" in {format_percent(drawn['share'], 0)} of draws"
    return f" ({low:.2f}{between}{high:.2f}{some})"


def _remarks(data: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know of the search from scratch, and of first stages."""
    ended = [
        format_count(row["num_classes"])
        for row in data["scratch"]
        if row["tuned"] is not None and row["tuned"]["ended_at_largest"]
    ]
    remarks = []
    if ended:
        remarks.append(
            f"from scratch: the search ended at its largest budget at {', '.join(ended)} classes: "
            "a larger one might be better still"
        )
    for schedule in data["schedules"]:
        first = schedule["contestants"][0]["first"]
        behind = first["behind"]
        if behind is not None and behind > data["margin"]:
            remarks.append(
                f"{schedule['schedule']}: the first stage is {100 * behind:.2f} points behind "
                "from scratch: its life begins with a worse model"
            )
    return remarks


def render_lifecycle(data: Mapping[str, Any]) -> str:
    """Return a lifecycle as one self-contained HTML page; the same data gives the same text.

    Args:
        data: the content of its report.json. Its texts may hold anything: all are escaped.

    Raises:
        InputError: it has another format.
    """
    check_rendered_format("lifecycle", data["format"], LIFECYCLE_FORMAT)
    scratch = {row["num_classes"]: row for row in data["scratch"]}
    lives = [
        (schedule["schedule"], figures.life_lines(schedule, scratch))
        for schedule in data["schedules"]
    ]
    can_draw = all(None not in line.top1 for _, lines in lives for line in lines)
    return render_page(
        "lifecycle.html.j2",
        data=data,
        scratch=scratch,
        headline=_headline(data),
        remarks=_remarks(data),
        shown_budget=figures.shown_budget,
        cost=_cost,
        figures=inline(
            {
                "top1_over_arrivals": figures.top1_over_arrivals(lives),
                "images_over_arrivals": figures.images_over_arrivals(lives),
            }
            if can_draw
            else {}
        ),
    )


def _headline(data: Mapping[str, Any]) -> str:
    """Return what the best contestant came to over the first schedule."""
    schedule = data["schedules"][0]
    known = [each for each in schedule["contestants"] if each["needed"]["images"] is not None]
    best = (
        max(known, key=lambda each: each["needed"]["images"]["ratio"])
        if known
        else schedule["contestants"][-1]
    )
    seeds: Sequence[int] = data["seeds"]
    alone = " One seed: no interval is known." if len(seeds) == 1 else ""
    return (
        f"As classes arrive {schedule['schedule']}, {best['name']} is {_outcome(schedule, best)}."
        f"{alone}"
    )


def _cost(value: Mapping[str, Any] | None, measure: str) -> str:
    """Return what is needed, with its interval, for a cell of a table."""
    if value is None:
        return "not reached"
    show = format_count if measure == "images" else format_seconds
    bound = "≤ " if value["is_bound"] else ""
    interval = value["interval"]
    spread = "" if interval is None else f" ({show(interval[0])} to {show(interval[1])})"
    return f"{bound}{show(value['cost'])}{spread}"
