"""Training images to teach a finished model new classes, against training all classes anew.

    make bench NAME=extend ARGS="--data CIFAR100"

For each seed: a model of the first 80 classes (in that seed's order) is trained and finished; then
the other 20 arrive, as a source of their own, and the model is extended at several budgets, each
time from the same finished model, as `accrete extend --replay 1 --head-init random --lr 0.1` does
it. The other side is the same network with the same recipe trained from random weights on all 100
classes, at several budgets.

The ratio at a budget is how many images the from-scratch side needs for the accuracy that the
extended model reached, over the images seen while extending; accrete.reports.statistics has the
method, and the spread by seeds. What the finished model cost is not counted: it is there. All runs
go through the stage code that the pipeline runs, on an embedded store, which keeps finished stages:
started again, the benchmark goes on where it was ended.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from record import RESULTS, table, write_results
from samples_to_accuracy import CellResult, as_trials, gflop_of, shown_ratio

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.catalog.lookup import base_of_stage
from accrete.catalog.manifests import DatasetManifest, StageManifest
from accrete.config.classes import seeded_order
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.core.processes import available_cpus
from accrete.core.settings import home_path
from accrete.core.units import format_percent
from accrete.data.extension import open_extension
from accrete.data.prepare import prepare_dataset
from accrete.data.sources.opening import open_source
from accrete.data.splits import training_counts
from accrete.reports.statistics import speed_up
from accrete.stages.run import StageContext, run_stage
from accrete.store.cache import NodeCache
from accrete.store.embedded import embedded_store
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri
from accrete.training.device import compute_device
from accrete.training.distributed import Peers
from accrete.training.image_source import DataMemory


class ExtensionBench:
    """Runs cells on one source."""

    def __init__(
        self, options: argparse.Namespace, catalog: Catalog, recorded: Sequence[CellResult]
    ) -> None:
        """Count the source's images; `recorded` are cells from scratch that need not be run."""
        self._options, self._catalog = options, catalog
        self._recorded = {(cell.budget_epochs, cell.seed) for cell in recorded}
        self._source = SourceConfig(kind=options.source, location=options.data)
        self._counts = training_counts(open_source(self._source).counts(), self._source)
        self._cache = NodeCache(home_path() / "cache", catalog.store)
        self._context = StageContext(
            catalog=catalog,
            cache=self._cache,
            memory=DataMemory(num_bytes=4 << 30, num_workers=available_cpus()),
            peers=Peers(compute_device()),
            snapshot_interval_s=1e5,
        )

    def cells(self, seed: int) -> list[CellResult]:
        """Run all cells of a seed, or what is left of them."""
        order = seeded_order(self._counts, seed)
        num_old = len(order) - self._options.new
        finished, old = self._finished(order[:num_old], seed)
        assert finished.result.top1 is not None
        print(
            f"seed {seed}: {format_percent(finished.result.top1)} on {num_old} classes", flush=True
        )
        cells = [
            self._extended(order, finished, old, budget, seed)
            for budget in map(float, self._options.extended.split(","))
        ]
        cells += [
            self._from_scratch(order, budget, seed)
            for budget in map(float, self._options.scratch.split(","))
            if (budget, seed) not in self._recorded
        ]
        return cells

    def _finished(self, names: tuple[str, ...], seed: int) -> tuple[StageManifest, DatasetManifest]:
        config = self._config(names, (len(names),), self._options.parent, seed)
        dataset = self._prepared(config)
        (spec,) = stage_chain(config, dataset)
        return run_stage(spec, dataset, self._context).manifest, dataset

    def _extended(
        self,
        order: tuple[str, ...],
        finished: StageManifest,
        old: DatasetManifest,
        budget: float,
        seed: int,
    ) -> CellResult:
        given = finished.class_names
        base = base_of_stage(finished, f"the model of {len(given)} classes")
        whole = self._config(order, (len(order),), budget, seed)
        names = order[len(given) :]
        config = replace(
            whole,
            source=replace(self._source, only_classes=names),
            plan=replace(whole.plan, stage_sizes=(len(names),), num_given=len(given)),
            recipe=replace(whole.recipe, lr=self._options.lr),
            base=base,
        )
        extension = open_extension(base, given, self._catalog, more_images=False)
        dataset = prepare_dataset(
            config.source,
            config.plan,
            self._catalog,
            self._cache.work_path,
            lambda _: lambda _: None,
            extension=extension,
        ).manifest
        assert [dataset.entry(name) for name in given] == [old.entry(name) for name in given]
        return self._run("extended", config, dataset, budget, seed)

    def _from_scratch(self, order: tuple[str, ...], budget: float, seed: int) -> CellResult:
        config = self._config(order, (len(order),), budget, seed)
        return self._run("scratch", config, self._prepared(config), budget, seed)

    def _run(
        self, kind: str, config: RunConfig, dataset: DatasetManifest, budget: float, seed: int
    ) -> CellResult:
        (spec,) = stage_chain(config, dataset)
        manifest = run_stage(spec, dataset, self._context).manifest
        assert manifest.result.top1 is not None
        cell = CellResult(
            plan=kind,
            budget_epochs=budget,
            seed=seed,
            images=manifest.result.images_seen,
            gflop=gflop_of(manifest, dataset),
            top1=manifest.result.top1,
            train_s=manifest.times.train_s,
        )
        print(cell, flush=True)
        return cell

    def _prepared(self, config: RunConfig) -> DatasetManifest:
        return prepare_dataset(
            config.source,
            config.plan,
            self._catalog,
            self._cache.work_path,
            lambda _: lambda _: None,
        ).manifest

    def _config(
        self, names: tuple[str, ...], sizes: tuple[int, ...], budget: float, seed: int
    ) -> RunConfig:
        recipe = Recipe(budget_epochs=budget)
        if self._source.kind == "digits":
            recipe = replace(recipe, flip="none")
        is_whole = len(names) == len(self._counts)
        return RunConfig(
            source=self._source if is_whole else replace(self._source, only_classes=names),
            plan=Plan(
                rule="all at once",
                class_order=names,
                class_images=tuple(self._counts[name] for name in names),
                stage_sizes=sizes,
            ),
            model=ModelConfig(name=self._options.model),
            recipe=recipe,
            seed=seed,
        )


def recorded_cells(path: Path) -> list[CellResult]:
    """Return the from-scratch cells that samples_to_accuracy recorded with this recipe."""
    rows: Sequence[Mapping[str, Any]] = json.loads(path.read_text())["results"]["cells"]
    return [CellResult(**row) for row in rows if row["plan"] == "scratch"]


def compare_extensions(cells: Sequence[CellResult]) -> list[dict[str, Any]]:
    """Return a row for each budget of the extension: its accuracy, and the ratio of images."""
    scratch = as_trials([cell for cell in cells if cell.plan == "scratch"], "images")
    rows = []
    for budget in sorted({cell.budget_epochs for cell in cells if cell.plan == "extended"}):
        group = [c for c in cells if c.plan == "extended" and c.budget_epochs == budget]
        rows.append(
            {
                "budget_epochs": budget,
                "images": group[0].images,
                "top1": statistics.mean(cell.top1 for cell in group),
                "top1_values": [cell.top1 for cell in group],
                "images_ratio": asdict(speed_up(as_trials(group, "images"), scratch)),
            }
        )
    return rows


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", default="parquet", help="kind of source, as `accrete run` has")
    parser.add_argument("--data", default=os.environ.get("ACCRETE_TEST_CIFAR100"))
    parser.add_argument("--model", default="small")
    parser.add_argument("--new", type=int, default=20, help="classes that arrive later")
    parser.add_argument("--parent", type=float, default=14, help="epochs of the finished model")
    parser.add_argument("--lr", type=float, default=0.1, help="peak rate of the extension")
    parser.add_argument("--extended", default="0.5,1,2,4", help="its budgets, in epochs over all")
    parser.add_argument("--scratch", default="5,7,10,14", help="budgets from scratch, in epochs")
    parser.add_argument("--scratch-from", type=Path, help="results of samples_to_accuracy to use")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--store", default="s3://accrete/bench-extend", help="keeps the stages")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results file")
    return parser.parse_args(arguments)


def main() -> None:
    """Run what is missing, print the tables and write the results."""
    options = parse_options(sys.argv[1:])
    cells = recorded_cells(options.scratch_from) if options.scratch_from else []
    with embedded_store(home_path()) as settings:
        store = ObjectStore(settings, parse_store_uri(options.store))
        store.check()
        bench = ExtensionBench(options, Catalog(store), cells)
        for seed in range(options.seeds):
            cells += bench.cells(seed)
    rows = compare_extensions(cells)
    print(
        table(
            ["images seen while extending", "top-1", "by seed", "images from scratch over images"],
            [
                [
                    f"{row['images']:,}",
                    format_percent(row["top1"]),
                    ", ".join(format_percent(value) for value in row["top1_values"]),
                    shown_ratio(row["images_ratio"]),
                ]
                for row in rows
            ],
        )
    )
    results = {"cells": [asdict(cell) for cell in cells], "comparison": rows}
    said = {key: value for key, value in vars(options).items() if key != "data"}
    write_results("extend", options=said, results=results, folder=options.results)


if __name__ == "__main__":
    main()
