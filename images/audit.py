"""Looks up the image's locked packages in a list of known vulnerabilities: `make audit`.

A look-up that did not happen must not pass for a good one: pip-audit itself says "No known
vulnerabilities found" where an index knows none of the packages. So a release that is known to be
vulnerable is asked about first, and a package that was skipped counts as not looked up.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).with_name("requirements.lock")
KNOWN_BAD = "jinja2==2.4.1"
"""CVE-2014-0012 and later ones."""
FOUND = 1
DID_NOT_RUN = os.EX_TEMPFAIL
TIMEOUT_S = 900


class AuditError(Exception):
    """The audit did not run."""


def looked_up(requirements: Path, options: list[str]) -> list[dict[str, Any]]:
    """Return what pip-audit found of each package of a file.

    Raises:
        AuditError: it came to no end.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps"]
    command += ["--disable-pip", "--progress-spinner", "off", "--format", "json", *options]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired as error:
        raise AuditError(f"it took over {TIMEOUT_S} s") from error
    except (ValueError, LookupError) as error:
        lines = done.stderr.strip().splitlines()
        raise AuditError(lines[-1] if lines else "pip-audit said nothing") from error
    return found


def check_source(options: list[str]) -> None:
    """Make sure that the list of vulnerabilities answers, and is one.

    Raises:
        AuditError: it does not know a release that is known to be vulnerable.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text(f"{KNOWN_BAD}\n")
        (found,) = looked_up(path, options)
    if not found.get("vulns"):
        raise AuditError(
            found.get("skip_reason")
            or f"the index answers, but knows nothing against {KNOWN_BAD}: it has no advisories"
        )


def audit(lock: Path, options: list[str]) -> int:
    """Look up every package of a lock; print what was found.

    Returns:
        0 where nothing is known against any, or `FOUND`.

    Raises:
        AuditError: some could not be looked up, and nothing is known against the others.
    """
    check_source(options)
    found = looked_up(lock, options)
    skipped = [each for each in found if "skip_reason" in each]
    bad = [each for each in found if each.get("vulns")]
    for each in bad:
        for flaw in each["vulns"]:
            fixed = ", ".join(flaw["fix_versions"]) or "no release yet"
            print(f"{each['name']} {each['version']}: {flaw['id']}, fixed in {fixed}")
    for each in skipped:
        print(f"{each['name']}: not looked up ({each['skip_reason']})")
    print(f"{len(found) - len(skipped)} packages looked up, {len(bad)} with known vulnerabilities")
    if bad:
        return FOUND
    if skipped or not found:
        raise AuditError(f"{len(skipped)} of {len(found)} packages could not be looked up")
    return 0


def main() -> int:
    """Audit as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Other options go to pip-audit.")
    parser.add_argument("--lock", type=Path, default=LOCK, help="file to audit")
    given, options = parser.parse_known_args()
    try:
        return audit(given.lock, options)
    except AuditError as error:
        print(f"\n*** THE AUDIT DID NOT RUN: {error}\n*** This says nothing of the packages.\n",
              file=sys.stderr)  # fmt: skip
        return DID_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
