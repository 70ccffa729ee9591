"""The map in ARCHITECTURE.md and CONTRIBUTING.md leads to files that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLACES = (ROOT, ROOT / "lib" / "accrete", ROOT / "lib" / "accrete" / "reports", ROOT / "pipelines")


def paths_named_in(page: str) -> list[str]:
    """Return the files that a page names; one without a folder lies beside the one before it."""
    found: list[str] = []
    for name in re.findall(r"`([a-z_/]+\.(?:py|j2|html\.j2))`", (ROOT / page).read_text()):
        folder = found[-1].rpartition("/")[0] if found and "/" not in name else ""
        beside = f"{folder}/{name}".lstrip("/")
        found.append(beside if any((place / beside).exists() for place in PLACES) else name)
    return found


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_that_the_map_names_is_there(page: str) -> None:
    named = paths_named_in(page)
    assert len(named) > 5
    named = [name for name in named if name != "_name.py"]  # what private modules are like
    missing = [name for name in named if not any((place / name).exists() for place in PLACES)]
    assert missing == []
