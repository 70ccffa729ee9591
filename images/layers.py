"""Splits the image's lock into what its layers hold: used by Dockerfile, which has no other Python.

A package is in one layer only, and a layer is made anew only when a package of it changes:

    python3 layers.py requirements.lock /parts [--without-cuda]

writes cuda.txt (NVIDIA's libraries), torch.txt (torch, torchvision, triton) and rest.txt.
"""

import re
import sys
from pathlib import Path

CUDA = re.compile(r"(nvidia|cuda)-")
TORCH = re.compile(r"(torch|torchvision|triton)==")
NO_HASHES = re.compile(r"(torch|torchvision)==[^ ;\n]+")


def split(lock: str, *, without_cuda: bool) -> dict[str, str]:
    """Return requirements by the name of their layer.

    Args:
        lock: entries of a name, a version, a marker and hashes.
        without_cuda: torch and torchvision come from another index, whose wheels have other hashes
            and none of the CUDA packages: by version alone.
    """
    parts: dict[str, list[str]] = {"cuda": [], "torch": [], "rest": []}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", lock.strip()):
        name = "cuda" if CUDA.match(entry) else "torch" if TORCH.match(entry) else "rest"
        by_version = NO_HASHES.match(entry)
        if name == "rest" or not without_cuda:
            parts[name].append(entry)
        elif by_version:
            parts[name].append(by_version.group())
    return {name: "".join(f"{entry}\n" for entry in entries) for name, entries in parts.items()}


def main() -> None:
    """Split as the command line says."""
    lock, folder, *options = sys.argv[1:]
    into = Path(folder)
    into.mkdir(parents=True, exist_ok=True)
    parts = split(Path(lock).read_text(), without_cuda="--without-cuda" in options)
    for name, text in parts.items():
        (into / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    main()
