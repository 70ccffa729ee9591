"""One process of `memory.py`: trains a tiny stage and one that counts, and says what that took.

    python benchmarks/memory_child.py JOB

JOB is a `Job` as JSON; the environment names the store. Prints a `Peak` as JSON.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import DatasetManifest
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.core.processes import available_cpus, share_cpus_well
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore

STORE = "s3://accrete"
BATCH_SIZE = 128
TINY_STEPS = 4
INTERVAL_S = 0.05
"""Between two looks at the memory."""
_KINDS = ("Pss_Anon:", "Pss_Shmem:")  # not Pss_File: others that load PyTorch share its pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to train."""

    tiny: str
    """Digest of the data set of the stage that comes before; its images are streamed."""
    dataset: str
    """Digest of the data set of the stage that counts."""
    cache_path: str
    """The node cache, empty."""
    data_memory_bytes: int
    """What images may take."""
    num_steps: int
    """Of the stage that counts."""
    seed: int
    """Another one in each job, so that each is another stage and none is found finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What the stage took, proportional set size of all processes, files' pages apart."""

    before_bytes: int
    """Before it began."""
    grown_bytes: int
    """The greatest while it ran, less what it was before."""


def peak_of(job: Job) -> Peak:
    """Train both stages."""
    from accrete.stages.run import StageContext, run_stage
    from accrete.training.image_source import DataMemory

    catalog = Catalog(ObjectStore.open(STORE))
    cache = NodeCache(Path(job.cache_path), catalog.store)

    def run(digest: str, num_steps: int, num_bytes: int) -> None:
        dataset = catalog.dataset(digest)
        memory = DataMemory(num_bytes=num_bytes, num_workers=available_cpus())
        context = StageContext(catalog=catalog, cache=cache, memory=memory, snapshot_interval_s=1e5)
        run_stage(one_stage_of(dataset, num_steps, job.seed), dataset, context)

    run(job.tiny, TINY_STEPS, num_bytes=1)
    before = tree_pss_bytes()
    with PeakPss() as peak:
        run(job.dataset, job.num_steps, job.data_memory_bytes)
    return Peak(before_bytes=before, grown_bytes=peak.num_bytes - before)


def one_stage_of(dataset: DatasetManifest, num_steps: int, seed: int) -> StageSpec:
    """Return the one stage of so many steps over all classes."""
    counts = dataset.planned_counts
    plan = Plan(
        rule="all classes at once",
        class_order=tuple(counts),
        class_images=tuple(counts.values()),
        stage_sizes=(len(counts),),
    )
    epochs = (num_steps + 0.5) * BATCH_SIZE / sum(counts.values())
    config = RunConfig(
        source=SourceConfig(kind="parquet", location="random"),
        plan=plan,
        model=ModelConfig(name="small"),
        recipe=Recipe(batch_size=BATCH_SIZE, budget_epochs=epochs),
        seed=seed,
    )
    (spec,) = stage_chain(config, dataset)
    return spec


class PeakPss:
    """Watches the memory of this process and its descendants while a block runs."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self.num_bytes = 0
        self._done = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> "PeakPss":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self.num_bytes = max(self.num_bytes, tree_pss_bytes())


def tree_pss_bytes() -> int:
    """Return the PSS, without pages of files, of this process and all that descend from it."""
    total = 0
    for pid in _descendants(os.getpid()):
        with suppress(OSError):  # it ended just now
            fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
            total += sum(int(fields[fields.index(kind) + 1]) for kind in _KINDS) * 1024
    return total


def _descendants(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


if __name__ == "__main__":
    share_cpus_well()
    print(json.dumps(asdict(peak_of(Job(**json.loads(sys.argv[1]))))))
