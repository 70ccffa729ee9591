"""Chains of stages for `gpu.py`: a search for a better recipe, and what the chosen one reaches."""

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from inputs import DATA_VARIABLE
from pieces import Piece
from samples_to_accuracy import AccuracyBench

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import StageManifest
from accrete.config.recipe import Recipe
from accrete.core.settings import home_path
from accrete.store.embedded import embedded_store
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri

PAPER_TOP1 = 0.7083
"""Of the paper's staged model with 100 classes; it saw 5.6 million images."""

ROUNDS: tuple[tuple[dict[str, Any], ...], ...] = (
    ({}, {"lr": 0.1}, {"lr": 0.05}),
    ({"weight_decay": 1e-3},),
    ({"batch_size": 256},),
    ({"flip": "alternating"},),
    ({"label_smoothing": 0.2},),
)
"""Changes of the recipe `fast` that the search tries; a round's are on top of the best before."""

SEARCH_SEEDS, REPORTED_SEEDS = (100,), (0, 1, 2, 3, 4)
SEARCH_EPOCHS = 16.0
"""Of the whole plan, over all classes: 0.8 million images of CIFAR-100."""
BUDGETS = (16.0, 24.0, 12.0, 36.0)
"""Likewise, in the order in which they are run."""

NUM_OLD = 80
"""Classes of the model that is extended to all of them."""
EXTENSION_BUDGETS = (2.0, 4.0, 1.0, 8.0, 12.0)
"""Epochs of its extension, over all classes."""

ARRIVAL_ROUNDS: tuple[tuple[dict[str, Any], ...], ...] = (
    ({}, {"lr": 0.1}, {"lr": 0.025}),
    (
        {"warmup_fraction": 0.0, "decay_fraction": 1.0},
        {"warmup_fraction": 0.3, "decay_fraction": 0.7},
    ),
    ({"weight_decay": 2e-3},),
)
"""As `ROUNDS`, of the stages that extend a model alone."""
ARRIVAL_SEED, ARRIVAL_SEARCH_EPOCHS = 100, 4.0

LIFE = (50, 10, 10, 10, 10, 10)
"""Classes that arrive one after the other."""
ARRIVAL_EPOCHS = (3.0, 6.0)
"""Of each extension, over all classes so far."""

ASSUMED_IMAGES_PER_S = 50_000.0
"""Until a chain has run."""
STAGE_OVERHEAD_S = 2.0


class Chains:
    """The pieces that train chains of stages."""

    def __init__(
        self, bench: AccuracyBench, read: Callable[[], Mapping[str, Any]], *, miniature: bool
    ):
        """Use a bench.

        Args:
            bench: of the data set.
            read: returns the pieces that are done by then.
            miniature: a few changes, budgets and seeds instead of all.
        """
        self.bench, self._read, self._miniature = bench, read, miniature

    def search(self) -> Iterator[Piece]:
        """Yield the changes of round after round, from scratch, seed by seed within a round."""
        rounds = ROUNDS[:1] if self._miniature else ROUNDS
        for changes in rounds:
            best = self.chosen()
            for seed in SEARCH_SEEDS:
                for change in changes:
                    yield self._plan_piece("search", "scratch", self._epochs, seed, best | change)

    def chosen(self, title: str = "search") -> dict[str, Any]:
        """Return the change that a search found to be the best so far; none before it."""
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for name, piece in self._read().items():
            if name.startswith(f"{title}, "):
                found = piece["result"]
                key = "at_arrival" if title == "arrival" else "change"
                groups.setdefault(shown_change(found[key]), []).append(
                    found | {"found": found[key]}
                )
        if not groups:
            return {}
        best = max(groups.values(), key=lambda group: statistics.mean(r["top1"] for r in group))
        return dict(best[0]["found"])

    def accuracy(self) -> Iterator[Piece]:
        """Yield both plans at the first budgets, with the first seed."""
        yield from self._plans(REPORTED_SEEDS[:1], (2.0, 3.0) if self._miniature else BUDGETS[:2])

    def seeds(self) -> Iterator[Piece]:
        """Yield both plans at each budget, seed by seed."""
        if not self._miniature:
            yield from self._plans(REPORTED_SEEDS, BUDGETS)

    def _plans(self, seeds: Sequence[int], budgets: Sequence[float]) -> Iterator[Piece]:
        for seed in seeds:
            for epochs in budgets:
                for kind in ("staged", "scratch"):
                    yield self._plan_piece(kind, kind, epochs, seed, self.chosen())

    def arrival(self) -> Iterator[Piece]:
        """Yield the changes of the stage that extends a finished model, round after round."""
        rounds = ARRIVAL_ROUNDS[:1] if self._miniature else ARRIVAL_ROUNDS
        epochs = 1.0 if self._miniature else ARRIVAL_SEARCH_EPOCHS
        for changes in rounds:
            best = self.chosen("arrival")
            for change in changes:
                yield self._arrivals_piece(
                    "arrival", self._extended, epochs, ARRIVAL_SEED, best | change
                )

    def extension(self) -> Iterator[Piece]:
        """Yield the extension of a finished model by the last classes, at each budget."""
        for epochs in (1.0,) if self._miniature else EXTENSION_BUDGETS:
            for at_arrival in self._ways():
                yield self._arrivals_piece("extended", self._extended, epochs, 0, at_arrival)

    def life(self) -> Iterator[Piece]:
        """Yield a model that is extended at each arrival, and one from scratch at each."""
        sizes = (4, 3, 3) if self._miniature else LIFE
        for epochs in ARRIVAL_EPOCHS[:1] if self._miniature else ARRIVAL_EPOCHS:
            for at_arrival in self._ways():
                yield self._arrivals_piece("life", sizes, epochs, 0, at_arrival)
        for arrival in range(1, len(sizes) + 1):
            num_classes = sum(sizes[:arrival])
            yield self._arrivals_piece("anew", (num_classes,), self._epochs, 0, {})

    def _ways(self) -> tuple[dict[str, Any], ...]:
        """Return the changes at arrival that are reported: none, and what the search found."""
        found = self.chosen("arrival")
        return ({}, found) if found else ({},)

    @property
    def _extended(self) -> tuple[int, int]:
        num_old = 6 if self._miniature else NUM_OLD
        return (num_old, self.bench.num_classes - num_old)

    @property
    def _epochs(self) -> float:
        return 2.0 if self._miniature else SEARCH_EPOCHS

    def _plan_piece(
        self, title: str, kind: str, epochs: float, seed: int, change: Mapping[str, Any]
    ) -> Piece:
        def measure() -> dict[str, Any]:
            manifests = self.bench.stages(kind, epochs, seed, **change)
            return chain_result(manifests) | {
                "plan": kind, "epochs": epochs, "seed": seed, "change": dict(change),
            }  # fmt: skip

        name = f"{title}, {kind}, " if title == "search" else f"{title}, "
        name += f"{shown_change(change)}, {epochs:g} epochs, seed {seed}"
        num_stages = 5 if kind == "staged" else 1
        return Piece(name, self.expected_s(epochs * self.bench.num_images, num_stages), measure)

    def _arrivals_piece(
        self,
        title: str,
        sizes: tuple[int, ...],
        epochs: float,
        seed: int,
        at_arrival: Mapping[str, Any],
    ) -> Piece:
        """Return a model whose first stage has the search's budget and which is finished then;
        each further one, of `epochs`, starts from the finished one before."""
        change = self.chosen()
        budgets = (self._epochs, *(epochs,) * (len(sizes) - 1))
        if len(sizes) == 1:
            budgets = (epochs,)

        def measure() -> dict[str, Any]:
            recipe = Recipe(epochs=budgets, lr_scope="stage", carry_momentum=False, **change)
            manifests = self.bench.chain(sizes, recipe, seed, at_arrival)
            return chain_result(manifests) | {
                "plan": title, "epochs": epochs, "seed": seed, "change": change,
                "sizes": list(sizes), "at_arrival": dict(at_arrival),
            }  # fmt: skip

        shown_sizes = "+".join(map(str, sizes))
        name = f"{title}, {shown_sizes}, {shown_change(change)}, {epochs:g} epochs, seed {seed}"
        if at_arrival or title == "arrival":
            name += f", at arrival {shown_change(at_arrival, 'the same')}"
        images_per_class = self.bench.num_images / self.bench.num_classes
        num_images = sum(
            epochs * images_per_class * sum(sizes[: stage + 1])
            for stage, epochs in enumerate(budgets)
        )
        return Piece(name, self.expected_s(num_images, len(sizes)), measure)

    def expected_s(self, num_images: float, num_stages: int) -> float:
        """Return about how long a chain takes, as fast as those before it."""
        rate = images_per_s(self._read().values())
        return num_images / rate + STAGE_OVERHEAD_S * num_stages


def shown_change(change: Mapping[str, Any], none: str = "fast") -> str:
    """Return changes as `lr=0.1 flip=alternating`."""
    return " ".join(f"{name}={value}" for name, value in change.items()) or none


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
def opened_chains(
    options: argparse.Namespace, read: Callable[[], Mapping[str, Any]]
) -> Iterator[Chains]:
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
        bench = AccuracyBench(wanted, Catalog(store), snapshot_interval_s=60)
        yield Chains(bench, read, miniature=tiny)
