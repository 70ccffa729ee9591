"""Chains of stages for `gpu.py`: a search for a better recipe, and what the chosen one reaches."""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from inputs import DATA_VARIABLE
from pieces import Piece
from samples_to_accuracy import Bench

from accrete.catalog import Catalog
from accrete.embedded import embedded_store
from accrete.manifests import StageManifest
from accrete.recipe import Recipe
from accrete.settings import home_path, parse_store_uri
from accrete.store import ObjectStore

PAPER_TOP1 = 0.7083
"""Of the paper's staged model with 100 classes; it saw 5.6 million images."""

CHOSEN: dict[str, Any] = {}
"""Changes to the recipe `fast` that `accuracy` trains with: what the search found, put here by
hand. Empty as long as no search has run."""

CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 0.1},
    {"lr": 0.4},
    {"batch_size": 256, "lr": 0.3},
    {"batch_size": 512, "lr": 0.4},
    {"batch_size": 1024, "lr": 0.6},
    {"early_share": 0.15},
    {"early_share": 0.4},
    {"image_sides": (16, 16, 24, 32, 32)},
    {"image_sides": (24, 24, 24, 24, 32)},
    {"weight_decay": 2e-4},
    {"weight_decay": 1e-3},
    {"label_smoothing": 0.0},
    {"label_smoothing": 0.2},
    {"flip": "alternating"},
    {"warmup_fraction": 0.2},
    {"decay_fraction": 0.5},
    {"carry_momentum": False},
)
"""What the search tries, one change of the recipe at a time."""

SEARCH_SEEDS, REPORTED_SEEDS = (100, 101, 102), (0, 1, 2, 3, 4)
SEARCH_EPOCHS = 16.0
BUDGETS = {"staged": (8.0, 12.0, 16.0, 24.0), "scratch": (8.0, 12.0, 16.0, 24.0, 36.0)}
"""Of the whole plan, in epochs over all classes: 16 are 0.8 million images of CIFAR-100."""

ASSUMED_IMAGES_PER_S = 40_000.0
"""Until a chain has run: what is said of VGG-19 at small batches."""
STAGE_OVERHEAD_S = 5.0


class Chains:
    """The pieces that train chains of stages."""

    def __init__(self, bench: Bench, known: Mapping[str, Any], *, miniature: bool) -> None:
        """Use a bench.

        Args:
            bench: of the data set.
            known: finished pieces, for what others will take.
            miniature: a few changes, budgets and seeds instead of all.
        """
        self._bench, self._miniature = bench, miniature
        self._rate = images_per_s(known.values())

    def search(self) -> Iterator[Piece]:
        """Yield each change at each of the search's seeds, seed by seed."""
        changes, seeds, epochs = CHANGES, SEARCH_SEEDS, SEARCH_EPOCHS
        if self._miniature:
            changes, seeds, epochs = CHANGES[:2], SEARCH_SEEDS[:1], 2.0
        for seed in seeds:
            for change in changes:
                yield self._piece("search, staged", "staged", epochs, seed, change)

    def accuracy(self) -> Iterator[Piece]:
        """Yield both plans at each budget, seed by seed."""
        seeds, budgets = REPORTED_SEEDS, BUDGETS
        if self._miniature:
            seeds, budgets = (0,), {"staged": (2.0,), "scratch": (1.0, 3.0)}
        for seed in seeds:
            for kind in ("staged", "scratch"):
                for epochs in budgets[kind]:
                    yield self._piece(kind, kind, epochs, seed, CHOSEN)

    def _piece(
        self, title: str, kind: str, epochs: float, seed: int, change: Mapping[str, Any]
    ) -> Piece:
        name = f"{title}, {shown_change(change)}, {epochs:g} epochs, seed {seed}"
        num_images = epochs * self._bench.num_images
        expected_s = num_images / self._rate + STAGE_OVERHEAD_S * (5 if kind == "staged" else 1)

        def measure() -> dict[str, Any]:
            fits = dict(change)
            if kind == "scratch":  # its only stage is the plan's last one
                sides = fits.pop("image_sides", None)
                fits |= {"image_sides": sides[-1:]} if sides else {}
            replace(Recipe(), **fits)  # a wrong change is refused before anything is trained
            manifests = self._bench.stages(kind, epochs, seed, **fits)
            return chain_result(manifests) | {
                "plan": kind, "epochs": epochs, "seed": seed, "change": dict(change),
            }  # fmt: skip

        return Piece(name, expected_s, measure)


def shown_change(change: Mapping[str, Any]) -> str:
    """Return changes as `lr=0.1 flip=alternating`, none as `fast`."""
    return " ".join(f"{name}={value}" for name, value in change.items()) or "fast"


def chain_result(manifests: Sequence[StageManifest]) -> dict[str, Any]:
    """Return accuracy, images and seconds of a chain and of each of its stages."""
    stages = []
    for manifest in manifests:
        times = manifest.times
        stages.append(
            {
                "classes": len(manifest.class_names),
                "top1": manifest.result.top1,
                "images": manifest.result.images_seen,
                "pull_s": times.pull_s,
                "grow_s": times.grow_s,
                "train_s": times.train_s,
                "evaluate_s": times.evaluate_s,
                "push_s": times.push_s,
            }
        )
    return {
        "top1": stages[-1]["top1"],
        "images": sum(stage["images"] for stage in stages),
        "train_s": sum(stage["train_s"] for stage in stages),
        "stages": stages,
    }


def images_per_s(pieces: Any) -> float:
    """Return the training rate of the chains that have run, an assumed one where none has."""
    results = [piece["result"] for piece in pieces]
    rates = [r["images"] / r["train_s"] for r in results if isinstance(r, dict) and "train_s" in r]
    return statistics.median(rates) if rates else ASSUMED_IMAGES_PER_S


@contextmanager
def opened_chains(options: argparse.Namespace, known: Mapping[str, Any]) -> Iterator[Chains]:
    """Give the chains of the command line's data set, prepared in an embedded store.

    Raises:
        SystemExit: CIFAR-100 is asked for and no folder is named.
    """
    tiny = options.miniature
    if not tiny and options.data is None:
        raise SystemExit(f"CIFAR-100 is nowhere: give --data FOLDER or set {DATA_VARIABLE}")
    wanted = argparse.Namespace(
        source="digits" if tiny else "parquet",
        data="" if tiny else str(options.data),
        model="small" if tiny else "vgg19",
        alpha="1",
        initial=None if tiny else 10,
        image_sides=None,
    )
    with embedded_store(home_path()) as settings:
        store = ObjectStore(settings, parse_store_uri("s3://accrete/bench-gpu"))
        yield Chains(Bench(wanted, Catalog(store)), known, miniature=tiny)
