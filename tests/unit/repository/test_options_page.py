"""docs/options.md has all options and variables that there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import accrete
from accrete.core import environment

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "options.md"


def test_the_page_is_what_is_declared(request: pytest.FixtureRequest) -> None:
    written = subprocess.run(
        [sys.executable, ROOT / "tools" / "options_page.py"],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("ACCRETE_")},
    ).stdout
    if request.config.getoption("--golden"):
        PAGE.write_text(written)
    assert PAGE.read_text() == written


def test_every_variable_that_a_module_names_is_declared() -> None:
    declared = {variable.name for variable in environment.VARIABLES}
    named = {value for name, value in vars(environment).items() if name.startswith("ENV_")}
    assert named - declared == {"KUBERNETES_SERVICE_HOST"}


def test_no_module_names_a_variable_by_itself() -> None:
    folder = Path(accrete.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name not in ("environment.py",):
            assert '"ACCRETE_' not in path.read_text(), path


def test_every_variable_of_manifests_and_image_is_declared() -> None:
    declared = {variable.name for variable in environment.VARIABLES}
    paths = [*(ROOT / "manifests").rglob("*.yaml"), ROOT / "images" / "Dockerfile"]
    named = {name for path in paths for name in re.findall(r"ACCRETE_[A-Z0-9_]+", path.read_text())}
    assert {"ACCRETE_S3_ENDPOINT", "ACCRETE_CACHE"} <= named <= declared
