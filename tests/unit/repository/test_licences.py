"""The licences of the image's packages: each known, and decided on."""

import importlib.util
import subprocess
import sys
from email.message import Message
from pathlib import Path
from types import ModuleType

import pytest
from conftest import HANGS_S

SCRIPT = Path(__file__).parents[3] / "images" / "licences.py"


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        capture_output=True, text=True, timeout=HANGS_S, check=False,
    )  # fmt: skip


def test_every_package_of_the_lock_has_a_licence_that_was_decided_on() -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 50
    assert any(line.startswith("torch ") and "BSD-3-Clause" in line for line in lines)


def test_a_package_that_is_not_installed_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("no-such-package==1.0\nclick==8.5.1\n")
    done = run("--lock", str(tmp_path / "lock"))
    assert done.returncode == 1
    assert done.stderr == "licences: no-such-package is not installed: make setup\n"


def test_a_lock_of_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    assert run("--lock", str(tmp_path / "lock")).returncode == 1


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("(MIT AND BSD-3-Clause)", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception AND ISC", True),
        ("AGPL-3.0-or-later OR LicenseRef-Commercial", False),
    ],
)
def test_all_that_an_expression_asks_for_at_once_must_be_on_the_list(
    licences: ModuleType, expression: str, allowed: bool
) -> None:
    assert licences.is_allowed(expression) == allowed
    assert (licences.problem_of(expression) is None) == allowed


def test_a_package_that_says_no_licence_is_a_problem(licences: ModuleType) -> None:
    assert licences.licence_of("p", Message()) is None
    assert "says no licence" in licences.problem_of(None)


def test_a_licence_is_read_from_classifiers_where_there_is_no_expression(
    licences: ModuleType,
) -> None:
    message = Message()
    message["Classifier"] = "License :: OSI Approved :: MIT License"
    message["License"] = "see the file"
    assert licences.licence_of("p", message) == "MIT"
    text = Message()
    text["License"] = "Apache 2.0\nmore text"
    assert licences.licence_of("p", text) == "Apache-2.0"
