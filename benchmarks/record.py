"""What every benchmark leaves: a Markdown table, and a JSON file with raw numbers and machine.

A benchmark hands its raw values to `summarize`, prints a `table` of them, and stores all of it:

    rates = summarize(images_per_s)
    print(table(["loop", "images/s"], [["ours", shown(rates, "{:,.0f}")]]))
    write_results("throughput", options=vars(options), results={"ours": rates})
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from accrete.core.processes import available_cpus

RESULTS = Path(__file__).parent / "results"
"""Folder of the recorded results."""


def summarize(values: Iterable[float]) -> dict[str, Any]:
    """Return the values with their number, median, quartiles, least and greatest.

    Quartiles are interpolated between the values, both ends included; of one value they are it.

    Raises:
        ValueError: there is no value.
    """
    raw = list(values)
    if not raw:
        raise ValueError("no value to summarize: the benchmark measured nothing")
    lower, _, upper = statistics.quantiles(raw, n=4, method="inclusive") if raw[1:] else raw * 3
    return {
        "n": len(raw),
        "median": statistics.median(raw),
        "q1": lower,
        "q3": upper,
        "min": min(raw),
        "max": max(raw),
        "values": raw,
    }


def shown(summary: Mapping[str, Any], form: str = "{:.2f}") -> str:
    """Return a summary for a table's cell: the median and, of several values, the quartiles.

    Args:
        summary: from `summarize`.
        form: format of each number, such as `{:,.0f}`.
    """
    median, lower, upper = (form.format(summary[key]) for key in ("median", "q1", "q3"))
    return median if summary["n"] == 1 else f"{median} ({lower}–{upper})"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, an empty line after it."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_results(
    name: str, *, options: Mapping[str, Any], results: Any, folder: Path = RESULTS
) -> Path:
    """Write `NAME.json` and return its path.

    Args:
        name: the benchmark's.
        options: the command line's; those that are a `Path` are left out, being this machine's.
        results: what was measured, as JSON holds it.
        folder: made where it does not exist.
    """
    document = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": package_versions(),
        "options": {key: value for key, value in options.items() if not isinstance(value, Path)},
        "results": results,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def machine() -> dict[str, Any]:
    """Return CPU model, cores that this process may use, memory in GiB, and the GPU or None."""
    import torch

    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": available_cpus(),
        "memory_gib": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def package_versions() -> dict[str, str | None]:
    """Return the versions that a result was made with; None where a package is not installed."""
    packages = ("accrete", "torch", "torchvision", "avalanche-lib")
    found = {package: _version(package) for package in packages}
    return found | {"Python": platform.python_version(), "commit": commit()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the checkout's commit, `-dirty` where files differ from it; None outside one.

    BENCHMARK_COMMIT names it where the files travelled without their history.
    """
    if named := os.environ.get("BENCHMARK_COMMIT"):
        return named
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _field(path: str, name: str) -> str:
    """Return the first value of a field in one of the kernel's `name: value` files, or nothing."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
