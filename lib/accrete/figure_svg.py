"""The figures' common look, and how one becomes inline SVG text.

The text is set by the browser and every colour is a CSS variable with a fallback
(`--plot-ink`, `--plot-blue`, …), so that one drawing serves light, dark and print.
"""

import io
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

P = ParamSpec("P")

# Okabe and Ito's colours: they stay apart under the common kinds of colour blindness.
COLOURS = {
    "ink": "#5b6470",
    "grid": "#dfe3e8",
    "text": "#1c2128",
    "blue": "#0072b2",
    "orange": "#d55e00",
    "sky": "#56b4e9",
    "pink": "#cc79a7",
    "amber": "#e69f00",
    "green": "#009e73",
}

# In proportion to their place on the page, so that all texts come out at one size.
HALF_IN, FULL_IN = (4.9, 3.1), (9.6, 3.6)

STYLE: Any = {
    "svg.fonttype": "none",
    "image.composite_image": False,  # else a confusion matrix is resampled instead of embedded
    "text.parse_math": False,  # a class may be named "$x_1"
    "font.size": 9.5,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["ink"],
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.fontsize": "medium",
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "hatch.color": COLOURS["ink"],
    "hatch.linewidth": 0.6,
}


def as_svg(
    label: str, size_in: tuple[float, float]
) -> Callable[[Callable[Concatenate[Figure, P], None]], Callable[P, str]]:
    """Turn a function that draws into a figure into one that returns an <svg> element.

    Args:
        label: what the figure shows, for a reader who cannot see it; HTML-safe.
        size_in: width and height at 72 units to the inch; the page scales the drawing.

    Returns:
        A decorator; the drawing function loses its first parameter, the figure.
    """

    def decorate(draw: Callable[Concatenate[Figure, P], None]) -> Callable[P, str]:
        def render(*args: P.args, **kwargs: P.kwargs) -> str:
            # The salt names the figure: ids stay the same between runs and differ on one page.
            with mpl.rc_context({**STYLE, "svg.hashsalt": draw.__name__}), _any_script():
                figure = Figure(figsize=size_in, layout="constrained", facecolor="none")
                draw(figure, *args, **kwargs)
                return _inline_svg(figure, label)

        render.__name__, render.__doc__ = draw.__name__, draw.__doc__
        return render

    return decorate


def _any_script() -> AbstractContextManager[None]:
    """Silence warnings on glyphs that the layout's font lacks: the browser sets the text."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def _inline_svg(figure: Figure, label: str) -> str:
    """Return the figure as one <svg> element that neither styles nor names others on its page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=no_metadata)
    text = re.sub(r"<style.*?</style>", "", buffer.getvalue(), count=1, flags=re.DOTALL)
    _, view_box, body = re.split(r'<svg [^>]*viewBox="([^"]+)"[^>]*>', text, maxsplit=1)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    for name, colour in COLOURS.items():
        body = re.sub(rf"(fill|stroke): {colour}", rf"\1: var(--plot-{name}, {colour})", body)
    opening = f'<svg role="img" aria-label="{label}" viewBox="{view_box}" stroke-linejoin="round">'
    return opening + body.strip()
