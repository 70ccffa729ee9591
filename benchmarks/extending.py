"""What helps a trained model to learn new classes: each idea with and without, on a short life.

    make bench NAME=extending ARGS="--data CIFAR100"

A model of 20 of CIFAR-100's classes, trained from scratch, gets five more four times; each idea
trains every arrival at each budget, and goes on from its own model of the arrival before. What is
shown is the mean accuracy after the arrivals, on images that are held back from training; the
data's test images are not read. The ideas that paid are in the product, and are its own code here;
the others are only here (`extending_ideas.py`).

    make bench NAME=extending ARGS="--data CIFAR100 --part long"
    make bench NAME=extending ARGS="--document docs/lifecycle.md"
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from extending_data import Life, life_of
from extending_ideas import IDEAS, LONG_IDEAS, Idea, train_arrival, train_whole
from inputs import add_data_option, source_of
from paper_text import with_figures
from record import RESULTS, table, write_results
from torch import nn

from accrete.core.units import format_percent

SIZES = (20, 25, 30, 35, 40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some ideas at some budgets."""

    ideas: tuple[Idea, ...]
    budgets: tuple[float, ...]
    """In epochs of an arrival."""
    scratch: float
    """Epochs from scratch, of the first model too."""


PARTS = {
    "short": Part(ideas=IDEAS, budgets=(2, 8), scratch=40),
    "long": Part(ideas=LONG_IDEAS, budgets=(32,), scratch=160),
}
FILES = {"short": "extending", "long": "extending_long"}
"""What each part is recorded as."""


def main() -> None:
    """Run what is asked for, or write the table of what was recorded into a document."""
    options = parse_options(sys.argv[1:])
    if options.document is not None:
        found = [options.results / f"{name}.json" for name in FILES.values()]
        texts = [extending_text(json.loads(path.read_text())) for path in found if path.exists()]
        text = with_figures(options.document.read_text(), "\n".join(texts), "ideas")
        options.document.write_text(text)
        return
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        life = life_of(source_of(options), seed, per_class=options.per_class, side=options.side)
        rows += _rows(life, options, seed)
    path = write_results(
        FILES[options.part], options=vars(options), results={"rows": rows}, folder=options.results
    )
    print(extending_text(json.loads(path.read_text())))


def _rows(life: Life, options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Return the accuracies of one seed, from scratch first."""
    rows, part = [], PARTS[options.part]
    for size in SIZES:
        model = train_whole(life, size, part.scratch, seed)
        rows.append(_row("from scratch", part.scratch, seed, [life.top1(model, size)], [size]))
        print(rows[-1], flush=True)
        if size == SIZES[0]:
            first = model
    for idea in part.ideas:
        for budget in part.budgets:
            rows.append(_row(idea.name, budget, seed, *_lived(life, idea, first, budget, seed)))
            print(rows[-1], flush=True)
    return rows


def _lived(
    life: Life, idea: Idea, first: nn.Module, budget: float, seed: int
) -> tuple[list[float], list[int]]:
    """Return the accuracy after each arrival, and how many classes there were."""
    model, top1s = first, []
    for index, size in enumerate(SIZES[1:], start=2):
        model = train_arrival(life, idea, model, size, budget, seed=seed, index=index)
        top1s.append(life.top1(model, size))
    return top1s, list(SIZES[1:])


def _row(
    name: str, budget: float, seed: int, top1s: Sequence[float], sizes: Sequence[int]
) -> dict[str, Any]:
    return {"name": name, "budget": budget, "seed": seed, "sizes": sizes, "top1s": top1s}


def extending_text(written: Mapping[str, Any]) -> str:
    """Return the recorded accuracies as a table: an idea a row, a budget a column.

    Args:
        written: as `extending.py` recorded it.
    """
    rows, options = written["results"]["rows"], written["options"]
    part = PARTS[options.get("part", "short")]
    before = part.ideas[0]
    budgets = sorted({row["budget"] for row in rows if row["name"] != "from scratch"})
    seeds = sorted({row["seed"] for row in rows})
    plain = {
        (row["budget"], row["seed"]): statistics.mean(row["top1s"])
        for row in rows
        if row["name"] == before.name
    }
    lines = []
    for idea in part.ideas:
        cells = [idea.title]
        for budget in budgets:
            mine = {
                row["seed"]: statistics.mean(row["top1s"])
                for row in rows
                if (row["name"], row["budget"]) == (idea.name, budget)
            }
            against = {} if idea is before else {seed: plain[budget, seed] for seed in mine}
            cells.append(_cell(mine, against))
        lines.append(cells)
    scratch = [
        row["top1s"][0]
        for row in rows
        if row["name"] == "from scratch" and row["sizes"][0] != SIZES[0]
    ]
    machine = written["machine"]
    return (
        table(["arrivals trained with", *(f"{budget:g} epochs" for budget in budgets)], lines)
        + f"\nFrom scratch at each arrival, {part.scratch:g} epochs: "
        f"{format_percent(statistics.mean(scratch))}. `small`, {options['per_class']} images a "
        f"class scaled to {options['side']} px, bf16, {len(seeds)} seeds, each with classes of its "
        "own; "
        f"{machine['cpu']}, {machine['cores']} cores.\n"
    )


def _cell(mine: Mapping[int, float], plain: Mapping[int, float]) -> str:
    shown = format_percent(statistics.mean(mine.values()))
    if not plain:
        return shown
    gains = [100 * (mine[seed] - plain[seed]) for seed in mine]
    return f"{shown} ({min(gains):+.1f} … {max(gains):+.1f})"


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_data_option(parser)
    parser.add_argument("--per-class", type=int, default=100, help="training images")
    parser.add_argument("--side", type=int, default=16, help="px that images are scaled to")
    parser.add_argument("--part", choices=PARTS, default="short", help="which ideas and budgets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=100, help="of seeds no other table uses")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--document", type=Path, help="write the recorded table into this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
