"""Lists the licence of each of the image's locked packages: `make licences`.

It is read from what is installed. One that is unknown, or not on the list, fails.
"""

import argparse
import importlib.metadata
import re
import sys
from importlib.metadata import PackageMetadata
from pathlib import Path

from packaging.markers import Marker

LOCK = Path(__file__).with_name("requirements.lock")
ENTRY = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)(?: *; *([^\\\n]+))?", re.MULTILINE)

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib",
    "MPL-2.0",  # its files may be passed on beside ours as they are
    # CUDA's libraries, as torch brings them: read NVIDIA's terms before you publish an image.
    "LicenseRef-NVIDIA-Proprietary",
}  # fmt: skip
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages without an SPDX expression call these."""
SAID_ELSEWHERE = {"cuda-toolkit": "LicenseRef-NVIDIA-Proprietary"}
"""Packages that do not say theirs: this one is a list of NVIDIA's others."""


def licence_of(name: str, metadata: PackageMetadata) -> str | None:
    """Return a package's licence as an SPDX expression, None where it does not say."""
    if name in SAID_ELSEWHERE:
        return SAID_ELSEWHERE[name]
    if metadata.get("License-Expression"):
        return str(metadata["License-Expression"])
    classes = [c for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    stated = [c.rpartition(" :: ")[2] for c in classes]
    first_line = str(metadata.get("License") or "").strip().partition("\n")[0].strip()
    stated = [s for s in stated if s != "OSI Approved"] or ([first_line] if first_line else [])
    return " AND ".join(NAMES.get(each, each) for each in stated) or None


def is_allowed(expression: str) -> bool:
    """Return whether all that an expression asks for at once is on the list."""
    parts = expression.replace("(", "").replace(")", "").split(" AND ")
    return all(any(each.strip() in ALLOWED for each in part.split(" OR ")) for part in parts)


def problem_of(licence: str | None) -> str | None:
    """Return what is wrong with a licence, None where nothing is."""
    if licence is None:
        return "says no licence: look it up, and enter it in SAID_ELSEWHERE"
    if not is_allowed(licence):
        return f"licence {licence!r} is not on the list: decide, and enter it in ALLOWED or NAMES"
    return None


def main() -> int:
    """List as the command line says; return 1 where a licence is unknown or not on the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, default=LOCK, help="file whose packages to list")
    problems = []
    entries = ENTRY.findall(parser.parse_args().lock.read_text())
    for name, version, marker in entries:
        if marker and not Marker(marker.strip()).evaluate():
            print(f"{name} {version}  (not for this platform)")
            continue
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed: make setup")
            continue
        licence = licence_of(name, metadata)
        print(f"{name} {version}  {licence or '?'}")
        problem = problem_of(licence)
        if problem:
            problems.append(f"{name} {problem}")
    if not entries:
        problems.append("the lock names no package")
    for problem in problems:
        print(f"licences: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
