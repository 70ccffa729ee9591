"""The image's lock: tested versions, each with a hash, and all that the package needs."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENTRY = re.compile(
    r"^([A-Za-z0-9_.-]+)==([^ ;]+)[^\n]*((?:\n    --hash=sha256:[0-9a-f]{64}[^\n]*)*)", re.M
)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, tuple[str, int]]:
    """Return version and number of hashes of each locked package."""
    text = (ROOT / "images" / "requirements.lock").read_text()
    entries = ENTRY.findall(text)
    assert "".join(text.split()) == "".join(
        "".join(match[0].split()) for match in re.finditer(f"({ENTRY.pattern})", text, re.M)
    ), "the lock holds something else than packages and hashes"
    return {
        normalized(name): (version, hashes.count("sha256:")) for name, version, hashes in entries
    }


def test_every_locked_package_has_a_hash() -> None:
    assert len(locked()) > 50
    assert [name for name, (_, hashes) in locked().items() if hashes == 0] == []


def test_the_lock_has_the_versions_that_are_tested() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    tested = {normalized(name): version for name, version in pins.items()}
    found = {name: version for name, (version, _) in locked().items() if name in tested}
    assert found == {name: tested[name] for name in found}, "run `make lock`"


def test_the_lock_has_what_the_package_and_its_build_need() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*config["project"]["dependencies"], *config["build-system"]["requires"]]
    names = {normalized(re.split(r"[<>=!\[; ]", line)[0]) for line in needed}
    assert names <= set(locked()), "run `make lock`"
