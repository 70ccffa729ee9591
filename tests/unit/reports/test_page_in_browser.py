"""Comparisons and studies in a real browser, wide and narrow."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from comparison_sample import make_comparison
from conftest import HANGS_S
from life_sample import make_life
from PIL import Image
from study_sample import make_study

from accrete.reports._comparison_page import render_comparison
from accrete.reports._lifecycle_page import render_lifecycle
from accrete.reports._study_page import render_study

MARGIN_PX = 20
"""Less than the page leaves free at its right, at any width."""
QUICK = [("comparison", 700), ("increments", 1200)]
PAGES = {
    "comparison": lambda: render_comparison(
        make_comparison(sizes=[10] + [2] * 20, staged=[3, 5, 7, 10], seeds=[0])
    ),
    "convergence": lambda: render_study(
        make_study(
            "convergence",
            rows=[0, 5, 10, 20, 40, 80],
            columns=[1, 2, 5, 10, 20, 30, 50, 90],
            seeds=[0, 1],
        )
    ),
    "increments": lambda: render_study(make_study("increments", rows=[10], columns=[1])),
    "lifecycle": lambda: render_lifecycle(
        make_life(
            schedules=[(20,) * 5, (50, *(10,) * 5)],
            contestants=["head", "naive", "extend", "improved"],
        )
    ),
}


@pytest.mark.parametrize(
    ("name", "width"),
    [
        pytest.param(name, width, marks=() if (name, width) in QUICK else pytest.mark.slow)
        for name in PAGES
        for width in (1200, 700)
    ],
)
def test_page_fills_a_window_and_nothing_sticks_out_of_it(
    name: str, width: int, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    page, image = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(PAGES[name]())
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'chromium'}",
    ]
    subprocess.run(
        [chromium, *flags, f"--window-size={width},4000", f"--screenshot={image}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=HANGS_S,
    )
    colours = np.asarray(Image.open(image).convert("RGB")) @ np.array([1 << 16, 1 << 8, 1])
    assert colours.shape == (4000, width)
    assert len(np.unique(colours)) > 50  # text and curves, not a blank page
    for edge in (colours[:, :MARGIN_PX], colours[:, -MARGIN_PX:]):
        assert len(np.unique(edge)) == 1
