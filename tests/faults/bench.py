"""Tries scenarios, many times each, and tells what was lost and what was wrong.

    python tests/faults/bench.py --tries 50
    python tests/faults/bench.py --tries 50 --only "kill in push,clock jumps"

Results go to a file of JSON lines as they come; a rerun does the seeds that are missing. A try in
which what was to happen did not come about (a kill at the third snapshot of a stage that took two)
is not counted: further seeds are tried instead, as many again at most.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scenarios import SCENARIOS, Scenario, Workshop

from accrete.store.embedded import embedded_store

DEFAULT_RESULTS = Path(__file__).parents[2] / "build" / "faults"


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tries", type=int, default=50, help="of each scenario")
    parser.add_argument("--only", default="", help="names of scenarios, with commas")
    parser.add_argument("--results", type=Path, default=DEFAULT_RESULTS, help="a folder")
    options = parser.parse_args()
    names = [name.strip() for name in options.only.split(",") if name.strip()]
    unknown = set(names) - {scenario.name for scenario in SCENARIOS}
    if unknown or options.tries < 1:
        known = ", ".join(scenario.name for scenario in SCENARIOS)
        parser.error(f"no such scenario, or no try: {sorted(unknown)}; there are {known}")
    options.chosen = [s for s in SCENARIOS if not names or s.name in names]
    return options


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the tries so far; a line that a kill left unfinished does not count."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def missing_seeds(scenario: Scenario, tries: int, results: list[dict[str, Any]]) -> Iterable[int]:
    """Yield seeds until enough tries count; results may grow meanwhile."""
    for seed in range(2 * tries):
        own = {result["seed"]: result for result in results if result["scenario"] == scenario.name}
        if sum(result["struck"] for result in own.values()) >= tries:
            return
        if seed not in own:
            yield seed


def run(options: argparse.Namespace, path: Path) -> list[dict[str, Any]]:
    """Do the tries that are missing; return all."""
    results = read_results(path)
    with (
        tempfile.TemporaryDirectory(prefix="accrete-faults-") as home,
        embedded_store(Path(home)) as settings,
        Workshop(settings, options.results / "work") as workshop,
    ):
        for scenario in options.chosen:
            if reason := scenario.why_not():
                print(f"{scenario.name}: SKIPPED, {reason}", file=sys.stderr, flush=True)
                continue
            for seed in missing_seeds(scenario, options.tries, results):
                verdict, seconds = workshop.attempt(scenario, seed)
                result = {"scenario": scenario.name, "seed": seed, "seconds": round(seconds, 2)}
                result |= dataclasses.asdict(verdict)
                results.append(result)
                with path.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                for line in (*verdict.lost, *verdict.wrong):
                    print(f"{scenario.name}, seed {seed}: {line}", file=sys.stderr, flush=True)
    return results


def as_table(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table, a line for each scenario."""
    lines = ["scenario", "tries", "lost", "wrong", "ended with an error first", "median s"]
    rows = [lines, ["---", *["--:"] * (len(lines) - 1)]]
    for scenario in SCENARIOS:
        own = [r for r in results if r["scenario"] == scenario.name and r["struck"]]
        if own:
            seconds = sorted(result["seconds"] for result in own)
            counts = [sum(bool(r[name]) for r in own) for name in ("lost", "wrong", "errors")]
            rows.append(
                [scenario.name, str(len(own)), *map(str, counts), f"{seconds[len(own) // 2]:.1f}"]
            )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Do the tries, print the table; exit 1 where anything was lost or wrong."""
    options = parse_options()
    options.results.mkdir(parents=True, exist_ok=True)
    results = run(options, options.results / "results.jsonl")
    print(as_table(results))
    sys.exit(any(result["lost"] or result["wrong"] for result in results))


if __name__ == "__main__":
    main()
