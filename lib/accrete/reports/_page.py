"""What every HTML page is made with: templates that escape, and how they show figures."""

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from accrete.core.units import MISSING, format_count, format_percent, format_seconds, pluralize
from accrete.errors import InputError


def check_rendered_format(document: str, found: int, rendered: int) -> None:
    """Raise InputError if a document has another format than the one that is rendered."""
    if found != rendered:
        raise InputError(
            f"the {document} has format {found}, but this version of accrete renders"
            f" format {rendered}: use the version that wrote it"
        )


def render_page(template: str, **values: Any) -> str:
    """Return a template's page; every text in the values is escaped, whatever it holds."""
    return _environment().get_template(template).render(**values)


def inline(figures: Mapping[str, str]) -> dict[str, Markup]:
    """Return drawn figures as what a page includes unescaped; the drawing escapes its own texts."""
    return {name: Markup(svg) for name, svg in figures.items()}  # noqa: S704  escaped SVG


def unbroken(text: str) -> str:
    """Return a figure that no line ends within."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def format_decimals(number: float | None, num_digits: int) -> str:
    """Return a number with a fixed count of digits after the point."""
    return MISSING if number is None else f"{number:,.{num_digits}f}"


def format_short(number: float | None) -> str:
    """Return 7.0 as `7` and 7.25 as `7.25`."""
    return MISSING if number is None else f"{number:,.6g}"


def format_points(share: float | None) -> str:
    """Return a difference of two shares, 0.0123 as `+1.23`, in percentage points."""
    return MISSING if share is None else f"{100 * share:+.2f}".replace("-", "\N{MINUS SIGN}")


def format_chance(chance: float | None) -> str:
    """Return 0.01234 as `0.0123`, and what would be 0.0000 as `< 0.0001`."""
    return "< 0.0001" if chance is not None and chance < 1e-4 else format_decimals(chance, 4)


def format_ratio(ratio: float | None) -> str:
    """Return 1.1184 as `1.12×`."""
    return MISSING if ratio is None else f"{ratio:,.2f}×"


def _format_time(created_at: str) -> str:
    """Return `2026-11-23T11:00:00Z` as `2026-11-23 11:00:00 UTC`."""
    return created_at.replace("T", " ").replace("Z", " UTC").replace("+00:00", " UTC")


def _pretty_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("accrete.reports"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(
        percent=lambda share: unbroken(format_percent(share)),
        whole=format_count,
        decimals=format_decimals,
        short=format_short,
        ratio=format_ratio,
        points=format_points,
        chance=format_chance,
        noun=pluralize,
        seconds=lambda seconds: unbroken(format_seconds(seconds)),
        time=_format_time,
        pretty_json=_pretty_json,
    )
    return environment
