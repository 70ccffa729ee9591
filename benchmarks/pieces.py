"""Long work in pieces: each is stored when it is done, and a run ends in time between two of them.

For machines that are lent for minutes. Started again, a benchmark goes on with the first piece that
its results file lacks, also on another machine: the file is all that it needs.

    pieces = [Piece("batch 512", 20, lambda: rate(512)), ...]
    done = run_pieces("gpu", pieces, minutes=9, folder=RESULTS)
"""

import argparse
import json
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from record import RESULTS, machine, package_versions


@dataclass(frozen=True, slots=True)
class Piece:
    """Something to measure that is complete in itself."""

    name: str
    """Unlike any other piece's; names what is measured, with all that it depends on."""
    expected_s: float
    """About how long it takes; what cannot end within the time left is not begun."""
    measure: Callable[[], Any]
    """Does it; returns what JSON can hold."""


class PiecesFailedError(Exception):
    """Some pieces could not be measured; their tracebacks were printed."""


def parse_piece_options(
    parser: argparse.ArgumentParser, arguments: Sequence[str], parts: Sequence[str]
) -> argparse.Namespace:
    """Parse a command line with the options that all benchmarks in pieces have; `parts` is a list.

    Args:
        parser: with the benchmark's own options.
        arguments: the command line.
        parts: that its pieces belong to, in order.

    Raises:
        SystemExit: a wrong option, or an unknown part.
    """
    parser.add_argument("--parts", default=",".join(parts), help="some of them [default: all]")
    parser.add_argument("--minutes", type=float, default=9, help="that this run may take")
    parser.add_argument("--miniature", action="store_true", help="everything, small")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    options.parts = options.parts.split(",")
    if unknown := set(options.parts) - set(parts):
        parser.error(f"--parts has {', '.join(sorted(unknown))}: choose of {', '.join(parts)}")
    return options


def results_path(name: str, folder: Path) -> Path:
    """Return where a benchmark's results lie."""
    return folder / f"{name}.json"


def read_pieces(name: str, folder: Path) -> dict[str, Any]:
    """Return what was measured by the piece's name: `result`, `seconds`, `date`, `machine`,
    `versions`."""
    path = results_path(name, folder)
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())["pieces"]
    return found


def run_pieces(
    name: str, pieces: Iterable[Piece], *, minutes: float, folder: Path, at_least_one: bool = True
) -> dict[str, Any]:
    """Do the pieces that are missing, in order, and return all results as `read_pieces` does.

    Args:
        name: the benchmark's.
        pieces: all that it consists of, made one by one: a later one may depend on what the file
            has by then.
        minutes: how long this run may take.
        folder: of the results file, which is written whole after each piece.
        at_least_one: whether the first piece is begun in any case.

    Raises:
        PiecesFailedError: after all others were done, some could not be.
    """
    started = time.monotonic()
    done = read_pieces(name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    must_begin = at_least_one
    failed: list[str] = []
    for piece in pieces:
        if piece.name in done:
            continue
        remaining_s = 60 * minutes - (time.monotonic() - started)
        if not must_begin and piece.expected_s > remaining_s:
            print(
                f"{piece.name} is next: it takes about {piece.expected_s:.0f} s, and "
                f"{max(0.0, remaining_s):.0f} are left",
                flush=True,
            )
            break
        must_begin = False
        begun = time.monotonic()
        try:
            result = piece.measure()
        except Exception:  # the machine is lent for minutes: what else can be done there is
            traceback.print_exc()
            failed.append(piece.name)
            continue
        done[piece.name] = {
            "result": result,
            "seconds": time.monotonic() - begun,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": package_versions(),
        }
        print(f"{piece.name}: {done[piece.name]['seconds']:.1f} s, {_short(result)}", flush=True)
        path = results_path(name, folder)
        part = path.with_suffix(".part")
        part.write_text(
            json.dumps({"benchmark": name, "pieces": done}, indent=1, ensure_ascii=False) + "\n"
        )
        part.replace(path)
    if failed:
        raise PiecesFailedError(f"{len(failed)} pieces failed: {', '.join(failed)}")
    return done


def _short(result: Any) -> str:
    text = json.dumps(result, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:160]}…"
