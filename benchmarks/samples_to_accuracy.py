"""Training images to reach an accuracy: in stages, and from scratch with the same recipe.

    make bench NAME=samples_to_accuracy ARGS="--data CIFAR100"

Every cell (plan, budget, seed) is a chain of stages through the stage code that the pipeline runs,
on an embedded store, which keeps finished stages: started again, the benchmark goes on where it was
ended. The from-scratch side is the same recipe with a plan of one stage: its learning rate, too, is
shaped over its own budget.

The ratio at a staged budget is how many images the from-scratch side needs for the accuracy that
the staged side reached, over the images that the staged side saw; accrete.reports.statistics has
the method, and the spread by seeds. Accuracy is top-1 on the test images of all classes, after the
last step.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, table, write_results
from torch.utils.flop_counter import FlopCounterMode

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import DatasetManifest, StageManifest
from accrete.config.classes import seeded_order
from accrete.config.plan import Plan, default_initial, parse_alpha, sizes_by_alpha
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.core.processes import available_cpus
from accrete.core.settings import home_path
from accrete.core.units import format_percent
from accrete.data.prepare import prepare_dataset
from accrete.data.sources.opening import open_source
from accrete.data.splits import training_counts
from accrete.models.networks import build_model
from accrete.reports.statistics import Trial, speed_up
from accrete.stages.run import StageContext, run_stage
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.embedded import embedded_store
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri
from accrete.training.augmentation import scaled_size
from accrete.training.device import compute_device
from accrete.training.distributed import Peers
from accrete.training.image_source import DataMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """What one run of a plan came to."""

    plan: str
    """`staged` or `scratch`."""
    budget_epochs: float
    """Images of the whole plan, in epochs over all classes."""
    seed: int
    """Of class order, weights, sample order and augmentation."""
    images: int
    """Training images seen."""
    gflop: float
    """Computed, forward and backward (three times the forward pass)."""
    top1: float
    """Share of test images classified right, of all classes."""
    train_s: float
    """Seconds in the training loop; of no use where the machine had other work."""


class AccuracyBench:
    """Runs cells on one data set."""

    def __init__(
        self,
        options: argparse.Namespace,
        catalog: Catalog,
        *,
        snapshot_interval_s: float = 1e5,
    ) -> None:
        """Prepare the data set, or find it prepared.

        Args:
            options: `source`, `data` and `model`; for staged plans `alpha`, `initial` and
                `image_sides`.
            catalog: where all of it goes.
            snapshot_interval_s: what a stage that was ended may lose; by default it begins anew.
        """
        self._options = options
        self._source = SourceConfig(kind=options.source, location=options.data)
        self._counts = training_counts(open_source(self._source).counts(), self._source)
        cache = NodeCache(home_path() / "cache", catalog.store)
        self._dataset = prepare_dataset(
            self._source,
            self._plan("scratch", 0),
            catalog,
            cache.work_path,
            lambda _: lambda _: None,
        ).manifest
        self._context = StageContext(
            catalog=catalog,
            cache=cache,
            memory=DataMemory(num_bytes=4 << 30, num_workers=available_cpus()),
            peers=Peers(compute_device()),
            snapshot_interval_s=snapshot_interval_s,
        )

    @property
    def num_classes(self) -> int:
        """All of the data set's."""
        return len(self._counts)

    @property
    def num_images(self) -> int:
        """Training images of all classes."""
        return sum(self._counts.values())

    def _plan(self, kind: str, seed: int) -> Plan:
        order = seeded_order(self._counts, seed)
        images = tuple(self._counts[name] for name in order)
        sizes: tuple[int, ...] = (len(images),)
        if kind == "staged":
            initial = self._options.initial or default_initial(len(images))
            sizes = sizes_by_alpha(images, initial, parse_alpha(self._options.alpha))
        return Plan(rule=kind, class_order=order, class_images=images, stage_sizes=sizes)

    def _config(self, kind: str, budget: float, seed: int, **changes: Any) -> RunConfig:
        recipe = Recipe(**{"budget_epochs": budget} | changes)
        if self._source.kind == "digits":
            recipe = replace(recipe, flip="none")
        if kind == "staged" and self._options.image_sides:
            sides = tuple(int(side) for side in self._options.image_sides.split(","))
            recipe = replace(recipe, image_sides=sides)
        model = ModelConfig(name=self._options.model)
        plan = self._plan(kind, seed)
        return RunConfig(source=self._source, plan=plan, model=model, recipe=recipe, seed=seed)

    def stages(self, kind: str, budget: float, seed: int, **changes: Any) -> list[StageManifest]:
        """Run a plan, or what is left of it.

        Args:
            kind: `staged` or `scratch`.
            budget: images of the whole plan, in epochs over all classes.
            seed: of class order, weights, sample order and augmentation.
            changes: to the recipe `fast`.
        """
        return self._trained(self._config(kind, budget, seed, **changes))

    def chain(
        self,
        sizes: Sequence[int],
        recipe: Recipe,
        seed: int,
        at_arrival: Mapping[str, Any] | None = None,
    ) -> list[StageManifest]:
        """Run a plan of any stages over the first classes of a seed's order, or what is left of it.

        Args:
            sizes: classes that each stage adds.
            recipe: how to train.
            seed: of class order, weights, sample order and augmentation.
            at_arrival: changes to the recipe in all stages but the first.
        """
        if self._source.kind == "digits":
            recipe = replace(recipe, flip="none")
        plan = replace(self._plan("scratch", seed), rule="stages", stage_sizes=tuple(sizes))
        model = ModelConfig(name=self._options.model)
        config = RunConfig(source=self._source, plan=plan, model=model, recipe=recipe, seed=seed)
        if not at_arrival:
            return self._trained(config)
        changed = replace(config, recipe=replace(recipe, **at_arrival))
        chain = list(stage_chain(config, self._dataset)[:1])
        for spec in stage_chain(changed, self._dataset)[1:]:
            # No run mixes recipes like this: an extension is a run of its own there. Its identity
            # is that of both parents here.
            identity = sha256_of_json([spec.digest, chain[-1].digest])
            chain.append(replace(spec, parent=chain[-1].digest, digest=identity))
        return [run_stage(spec, self._dataset, self._context).manifest for spec in chain]

    def discard(self, manifests: Sequence[StageManifest]) -> None:
        """Remove stages, last first, with their checkpoints here and in the store; keep shards."""
        catalog = self._context.catalog
        for manifest in reversed(manifests):
            checkpoint = manifest.checkpoint
            here = self._context.cache.fetch([checkpoint]).paths[checkpoint.sha256]
            catalog.store.delete(keys.stage_key(manifest.digest))
            catalog.store.delete(keys.object_key(checkpoint.sha256))
            here.unlink()

    def _trained(self, config: RunConfig) -> list[StageManifest]:
        chain = stage_chain(config, self._dataset)
        return [run_stage(spec, self._dataset, self._context).manifest for spec in chain]

    def cell(self, kind: str, budget: float, seed: int) -> CellResult:
        """Run a plan, or what is left of it, and count what it took."""
        manifests = self.stages(kind, budget, seed)
        top1 = manifests[-1].result.top1
        assert top1 is not None
        return CellResult(
            plan=kind,
            budget_epochs=budget,
            seed=seed,
            images=sum(manifest.result.images_seen for manifest in manifests),
            gflop=sum(gflop_of(manifest, self._dataset) for manifest in manifests),
            top1=top1,
            train_s=sum(manifest.times.train_s for manifest in manifests),
        )


def gflop_of(manifest: StageManifest, dataset: DatasetManifest) -> float:
    """Return what a stage computed, in 10^9 floating-point operations."""
    image = dataset.image
    num_classes = len(manifest.class_names)
    model = build_model(
        manifest.model, channels=image.channels, num_classes=num_classes, seed=0
    ).eval()
    size = scaled_size(image.height, image.width, manifest.schedule.image_side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, image.channels, *size))
    return 3 * float(counter.get_total_flops()) * manifest.result.images_seen / 1e9


def as_trials(cells: Sequence[CellResult], measure: str) -> list[Trial]:
    """Return cells with one of their costs."""
    return [
        Trial(budget=c.budget_epochs, seed=c.seed, cost=getattr(c, measure), top1=c.top1)
        for c in cells
    ]


def compare_budgets(cells: Sequence[CellResult]) -> list[dict[str, Any]]:
    """Return a row for each staged budget: its accuracy, and the ratios of images and FLOPs."""
    scratch = [cell for cell in cells if cell.plan == "scratch"]
    rows = []
    for budget in sorted({cell.budget_epochs for cell in cells if cell.plan == "staged"}):
        staged = [c for c in cells if c.plan == "staged" and c.budget_epochs == budget]
        ratios = {
            measure: asdict(speed_up(as_trials(staged, measure), as_trials(scratch, measure)))
            for measure in ("images", "gflop")
        }
        rows.append(
            {
                "budget_epochs": budget,
                "images": staged[0].images,
                "top1": statistics.mean(cell.top1 for cell in staged),
                "num_seeds": len(staged),
                "images_ratio": ratios["images"],
                "gflop_ratio": ratios["gflop"],
            }
        )
    return rows


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", default="parquet", help="kind of source, as `accrete run` has")
    parser.add_argument("--data", default=os.environ.get("ACCRETE_TEST_CIFAR100"))
    parser.add_argument("--model", default="small")
    parser.add_argument("--alpha", default="1")
    parser.add_argument("--initial", type=int, help="classes of the first stage")
    parser.add_argument("--image-sides", help="px of each stage of the staged plan")
    parser.add_argument("--staged", default="5,7,10", help="budgets of the staged plan, in epochs")
    parser.add_argument("--scratch", default="5,7,10,14", help="budgets from scratch, in epochs")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--store", default="s3://accrete/bench-samples", help="keeps the stages")
    parser.add_argument("--name", default="samples_to_accuracy", help="of the results file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="its folder")
    return parser.parse_args(arguments)


def all_cells(options: argparse.Namespace, catalog: Catalog) -> list[CellResult]:
    """Run every cell, seed by seed, so that what is done at any moment is complete in itself."""
    bench = AccuracyBench(options, catalog)
    cells = []
    for seed in range(options.seeds):
        for kind in ("scratch", "staged"):
            for budget in map(float, getattr(options, kind).split(",")):
                cells.append(bench.cell(kind, budget, seed))
                print(cells[-1], flush=True)
    return cells


def shown_ratio(found: dict[str, float | None]) -> str:
    """Return a ratio with its spread, or that there is none."""
    if found["ratio"] is None:
        return "outside the curve"
    spread = "" if found["low"] is None else f" ({found['low']:.2f}–{found['high']:.2f})"
    return f"{found['ratio']:.2f}×{spread}"


def main() -> None:
    """Run what is missing, print the tables and write the results."""
    options = parse_options(sys.argv[1:])
    with embedded_store(home_path()) as settings:
        store = ObjectStore(settings, parse_store_uri(options.store))
        store.check()
        cells = all_cells(options, Catalog(store))
    rows = compare_budgets(cells)
    budgets = sorted({(cell.plan, cell.budget_epochs) for cell in cells})
    lines = []
    for plan, budget in budgets:
        group = [c for c in cells if (c.plan, c.budget_epochs) == (plan, budget)]
        top1s = sorted(c.top1 for c in group)
        spread = f"{format_percent(top1s[0])} – {format_percent(top1s[-1])}"
        mean = format_percent(statistics.mean(top1s))
        lines.append([plan, f"{budget:g}", f"{group[0].images:,}", mean, spread, str(len(group))])
    print(table(["plan", "epochs", "images", "top-1, mean", "least – most", "seeds"], lines))
    print(
        table(
            ["staged, images", "top-1", "images from scratch over images", "FLOPs over FLOPs"],
            [
                [
                    f"{row['images']:,}",
                    format_percent(row["top1"]),
                    shown_ratio(row["images_ratio"]),
                    shown_ratio(row["gflop_ratio"]),
                ]
                for row in rows
            ],
        )
    )
    results = {"cells": [asdict(cell) for cell in cells], "comparison": rows}
    said = {key: value for key, value in vars(options).items() if key != "data"}
    write_results(options.name, options=said, results=results, folder=options.results)


if __name__ == "__main__":
    main()
