"""Peak memory of a stage over the size of its data set, streamed and resident.

    make bench NAME=memory
    make bench NAME=memory ARGS="--data-memory 256M --rounds 5"

Data sets of `--sizes` times the budget `--data-memory`, raw shards of random 16-px images in eight
classes, lie in an embedded store. For each of them a fresh process trains one stage of `--steps`
steps of `small` on the CPU through `accrete.stages.run.run_stage`, from a cold node cache: once
with the budget, so that what is larger is streamed from disk, and once with a budget that holds it
all.

What counts: the proportional set size (PSS: private memory, and of shared memory each process's
part) of the process and of all that it started, without the pages of files, every 50 ms while
run_stage runs, its greatest sum, less the sum before. The pages of files are left out because other
processes that load PyTorch share them: where one of those ends, everybody else's part grows. Before
that a tiny streamed stage has loaded libraries and warmed allocators up. So the weights, momentum
and activations of `small`, a batch being evaluated, worker processes and their batches all count;
the libraries, the S3 server and the kernel's page cache do not. Worker processes are forked and
share the libraries' pages until they write to them; started in another way (forkserver, Python
3.14's default) each would bring its own.

The budget is for images alone. Labels and the sample order, 8 bytes an image each (a second epoch's
order as much again), grow with the number of images, not of bytes, and lie on top of it. Images of
16 px are 768 bytes, so there they are 2 to 3 % of the data set, at 224 px a hundredth of that.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from memory_child import STORE, Job, Peak
from record import RESULTS, shown, summarize, table, write_results

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import (
    FORMAT,
    ClassEntry,
    DatasetManifest,
    ShardRef,
    Skipped,
    SplitPolicy,
)
from accrete.config.image_format import ImageFormat, Normalization
from accrete.core.hashing import sha256_of_file
from accrete.core.units import parse_bytes
from accrete.data.shards import parts_of, write_shard
from accrete.store.embedded import embedded_store
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

SIDE = 16
"""Pixels."""
ROW_BYTES = SIDE * SIDE * 3
NUM_CLASSES = 8
TEST_IMAGES = 1024
"""In all; one batch of an evaluation."""
TINY_IMAGES = 1024
MIB = 1 << 20


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-memory", default="64M", help="budget, as `accrete run` takes it")
    parser.add_argument("--sizes", default="0.25,1,4,16", help="data sets, in budgets")
    parser.add_argument("--steps", type=int, default=48, help="of the stage")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each figure")
    parser.add_argument("--miniature", action="store_true", help="quick: see that it works")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    if options.miniature:
        options.data_memory, options.sizes, options.steps, options.rounds = "12M", "16", 12, 1
    return options


class RandomShards:
    """Data sets of random images, in a store."""

    def __init__(self, catalog: Catalog, shard_path: Path) -> None:
        """Put them here, by way of a file that may be overwritten."""
        self._catalog, self._shard_path = catalog, shard_path
        self._rng = np.random.default_rng(0)

    def make(self, num_images: int) -> DatasetManifest:
        """Store a data set of about so many training images and return its manifest."""
        per_class = max(1, num_images // NUM_CLASSES)
        entries = [
            ClassEntry(
                name=f"class {label}",
                train=tuple(self._shards(per_class)),
                validation=(),
                test=tuple(self._shards(TEST_IMAGES // NUM_CLASSES)),
            )
            for label in range(NUM_CLASSES)
        ]
        manifest = DatasetManifest(
            format=FORMAT,
            classes=tuple(entries),
            image=ImageFormat(
                encoding="raw", height=SIDE, width=SIDE, channels=3, preprocessing="none"
            ),
            normalization=Normalization(mean=(0.5,) * 3, std=(0.29,) * 3),
            split=SplitPolicy(test="source", test_fraction=0.0, validation_fraction=0.0, seed=0),
            skipped=Skipped(count=0, places=()),
        )
        self._catalog.create_dataset(manifest, fingerprint=manifest.digest)
        return manifest

    def _shards(self, num_images: int) -> Iterator[ShardRef]:
        pixels = self._rng.integers(0, 256, (num_images, ROW_BYTES), np.uint8)
        for rows in parts_of(row.tobytes() for row in pixels):
            path = self._shard_path
            write_shard(path, rows, row_bytes=ROW_BYTES)
            ref = ObjectRef(sha256=sha256_of_file(path), num_bytes=path.stat().st_size)
            self._catalog.store.push_file(ref, path)
            yield ShardRef(sha256=ref.sha256, num_bytes=ref.num_bytes, num_images=len(rows))


def in_a_process(job: Job, settings: StoreSettings) -> Peak:
    """Do a job in a process of its own, started as a step of the pipeline is."""
    command = [sys.executable, str(Path(__file__).with_name("memory_child.py"))]
    done = subprocess.run(
        [*command, json.dumps(asdict(job))],
        env=os.environ | settings.as_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Peak(**json.loads(done.stdout))


class MemoryBench:
    """Trains stages on data sets of several sizes."""

    def __init__(self, options: argparse.Namespace, settings: StoreSettings, folder: Path) -> None:
        """Use a store and a folder for temporary files."""
        self._options, self._settings, self._folder = options, settings, folder
        self._shards = RandomShards(
            Catalog(ObjectStore(settings, parse_store_uri(STORE))), folder / "shard.arrow"
        )
        self._tiny = self._shards.make(TINY_IMAGES)
        self._seeds = itertools.count()

    def measure(self, size: float) -> dict[str, Any]:
        """Return the peaks for a data set of so many budgets."""
        budget = parse_bytes(self._options.data_memory, "--data-memory")
        dataset = self._shards.make(int(size * budget / ROW_BYTES))
        num_bytes = dataset.num_images("train") * ROW_BYTES
        limits = {"budgeted": budget, "resident": 2 * num_bytes}
        peaks = {mode: self._peaks(dataset, limit) for mode, limit in limits.items()}
        return {"budgets": size, "budget_mib": budget / MIB, "dataset_mib": num_bytes / MIB} | peaks

    def _peaks(self, dataset: DatasetManifest, data_memory_bytes: int) -> dict[str, Any]:
        peaks = []
        for _ in range(self._options.rounds):
            with tempfile.TemporaryDirectory(dir=self._folder) as cache:
                job = Job(
                    tiny=self._tiny.digest,
                    dataset=dataset.digest,
                    cache_path=cache,
                    data_memory_bytes=data_memory_bytes,
                    num_steps=self._options.steps,
                    seed=next(self._seeds),
                )
                peaks.append(in_a_process(job, self._settings))
        return {
            "before_mib": summarize(peak.before_bytes / MIB for peak in peaks),
            "peak_mib": summarize(peak.grown_bytes / MIB for peak in peaks),
        }


def main() -> None:
    """Measure every size, print the table and write the results."""
    options = parse_options(sys.argv[1:])
    with tempfile.TemporaryDirectory() as home, embedded_store(Path(home)) as settings:
        bench = MemoryBench(options, settings, Path(home))
        results = [bench.measure(size) for size in map(float, options.sizes.split(","))]
    headers = [
        "data set / budget",
        "data set, MiB",
        "peak with the budget, MiB",
        "peak resident, MiB",
    ]
    rows = [
        [
            f"{result['budgets']:g}",
            f"{result['dataset_mib']:,.0f}",
            *(shown(result[mode]["peak_mib"], "{:,.0f}") for mode in ("budgeted", "resident")),
        ]
        for result in results
    ]
    print(table(headers, rows))
    write_results("memory", options=vars(options), results=results, folder=options.results)


if __name__ == "__main__":
    main()
