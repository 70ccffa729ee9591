"""Benchmarks in pieces at miniature size, as on the machine that they are for: without kfp."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import HANGS_S, ROOT

RUN_WITHOUT_KFP = """
import runpy, sys
sys.modules["kfp"] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_miniature(
    name: str, results: Path, home: Path, *options: str
) -> tuple[dict[str, Any], str]:
    """Run a benchmark; return the pieces that its file has then, and what it printed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    done = subprocess.run(
        [
            *(sys.executable, "-c", RUN_WITHOUT_KFP, str(ROOT / "benchmarks" / f"{name}.py")),
            *("--miniature", "--results", str(results), *options),
        ],
        env=kept | {"ACCRETE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((results / f"{name}_miniature.json").read_text())
    assert str(results) not in json.dumps(written)  # nothing of this machine's folders
    pieces: dict[str, Any] = written["pieces"]
    return pieces, done.stdout
