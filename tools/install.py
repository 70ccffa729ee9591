"""Installs the locked development environment into the Python that runs this: `make setup`.

uv does it; it is in the lock itself, and pip fetches it first. Where uv cannot be had or fails, pip
does the same from the same file. Needs the standard library and pip only.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-dev.lock"
ENTRY = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\\n]+).*(?:\n +--hash.*)*\n", re.MULTILINE)
OF_TORCH = re.compile(r"torch|torchvision|triton|nvidia-.*|cuda-.*")
"""What another torch build replaces or does without; as in images/Dockerfile."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
UV = (str(Path(sys.executable).with_name("uv")), "pip")
UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "cert": ("SSL_CERT_FILE",),
    "default-timeout": ("UV_HTTP_TIMEOUT",),
    "timeout": ("UV_HTTP_TIMEOUT",),
}
"""pip's settings, and by which variables uv knows them; the first is set where none is."""


class InstallError(Exception):
    """Something could not be installed; the tool itself has said what."""


def say(text: str) -> None:
    """Print a line of our own among those of pip and uv."""
    print(f"setup: {text}", flush=True)


def run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a tool that speaks for itself.

    Raises:
        InstallError: it failed, or is not there.
    """
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    except OSError as error:
        raise InstallError(str(error)) from error
    if done.returncode:
        raise InstallError(f"{' '.join(command[:4])} … ended with {done.returncode}")


def pip_settings(listing: str) -> dict[str, str]:
    """Return what `pip config list` printed as setting and value: variables before files."""
    places = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        place, _, name = key.rpartition(".")
        if place in places and places[place] >= found.get(name, (0, ""))[0]:
            found[name] = (places[place], str(ast.literal_eval(value)))
    return {name: value for name, (_, value) in found.items()}


def for_uv(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which uv asks pip's index, unless it is given one of its own."""
    result = dict(environment)
    for name, variables in UV_VARIABLES.items():
        values = settings.get(name, "").split()
        if values and not any(environment.get(variable) for variable in variables):
            result[variables[0]] = ("," if name == "find-links" else " ").join(values)
    if settings.get("extra-index-url"):
        # As pip does; of uv's own accord only the first index that has a package would count. Every
        # file's hash is checked, so that none can put in another.
        result.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return result


def entries(lock: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and whole text of each package of a lock."""
    for match in ENTRY.finditer(lock):
        yield match[1], match[2], match[0]


def without_torch(lock: str) -> tuple[str, list[str]]:
    """Return a lock without torch and CUDA's packages, and torch's by version alone."""
    kept, torch = [], []
    for name, version, text in entries(lock):
        if not OF_TORCH.fullmatch(name):
            kept.append(text)
        elif name.startswith("torch"):
            torch.append(f"{name}=={version}")
    return "".join(kept), torch


def steps(lock: str, folder: Path, *, with_uv: bool) -> list[list[str]]:
    """Return the arguments with which pip or uv installs a lock and this package.

    Args:
        lock: text of the lock.
        folder: where a file that they name may be written.
        with_uv: whether uv itself is among the packages.
    """
    path = folder / "requirements.txt"
    path.write_text("".join(text for name, _, text in entries(lock) if with_uv or name != "uv"))
    return [
        ["--no-deps", "--require-hashes", "--requirement", str(path)],
        # The build back end is in the lock: this needs no network.
        ["--no-deps", "--no-build-isolation", "--editable", "."],
    ]


def extra_steps(lock: str, folder: Path, extra: str) -> list[list[str]]:
    """Return the arguments with which pip or uv adds an extra, in the lock's versions."""
    path = folder / "constraints.txt"
    path.write_text("".join(f"{name}=={version}\n" for name, version, _ in entries(lock)))
    return [["--constraint", str(path), "--editable", f".[{extra}]"]]


def fetch_uv(lock: str, folder: Path) -> None:
    """Install the lock's uv with pip, if it is not there.

    Raises:
        InstallError: it cannot be had.
    """
    path = folder / "uv.txt"
    path.write_text("".join(text for name, _, text in entries(lock) if name == "uv"))
    run([*PIP, "install", "--no-deps", "--require-hashes", "--requirement", str(path)])


def install(lock: str, folder: Path, extra: str | None, torch_index: str) -> None:
    """Install the lock and this package, or an extra of it over both.

    Raises:
        InstallError: neither uv nor pip could.
    """
    listing = subprocess.run(
        [*PIP, "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    settings = pip_settings(listing)

    def steps_with(*, uv: bool) -> list[list[str]]:
        if extra:
            return extra_steps(lock, folder, extra)
        return steps(lock, folder, with_uv=uv)

    if torch_index and not extra:
        # By pip, whose settings are those that the user has: uv could prefer an index of its own.
        lock, torch = without_torch(lock)
        run([*PIP, "install", "--no-deps", "--index-url", torch_index, *torch])
    has_uv = False
    try:
        fetch_uv(lock, folder)
        has_uv = True
        options = ["--python", sys.executable]
        options += ["--no-index"] if settings.get("no-index") in {"1", "true", "yes", "on"} else []
        # Compiling all that is installed takes four times what the first run takes to compile what
        # it imports; but where Python may write no bytecode, each start would compile that anew.
        options += ["--compile-bytecode"] if os.environ.get("PYTHONDONTWRITEBYTECODE") else []
        for arguments in steps_with(uv=True):
            run([*UV, "install", *options, *arguments], for_uv(settings, os.environ))
    except InstallError as error:
        say(f"uv could not do it ({error}): pip does, which takes minutes longer")
        for arguments in steps_with(uv=has_uv):
            run([*PIP, "install", *arguments])


def main() -> int:
    """Install as the command line says; return 1 where it could not be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", metavar="NAME", help="add an extra to what is installed")
    extra = parser.parse_args().extra
    torch_index = os.environ.get("TORCH_INDEX_URL", "")
    lock = LOCK.read_text()
    started = time.monotonic()
    source = f"torch from {torch_index}" if torch_index else "3 GB, where none of it is cached"
    say(f"installing {f'the extra {extra}' if extra else f'{LOCK.name} ({source})'}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            install(lock, Path(folder), extra, torch_index)
    except InstallError as error:
        say(f"failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    say(f"done in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
