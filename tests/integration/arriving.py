"""A folder of digits to which classes and images come, and a model that knows the first ones."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from digits import digits_run, stage_context
from PIL import Image
from sklearn.datasets import load_digits

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import StageManifest
from accrete.catalog.records import RunRecord, create_record, make_record
from accrete.config.arrivals import ArrivalRules, Watch
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import RunConfig, SourceConfig
from accrete.data.arrivals import Viewpoint, look_for_arrival
from accrete.data.prepare import prepare_dataset
from accrete.data.sources.opening import open_source
from accrete.data.splits import training_counts
from accrete.stages.run import run_stage
from accrete.store import keys
from accrete.store.cache import NodeCache


def put(folder: Path, digit: int, first: int, last: int) -> None:
    """Copy some images of a digit into its folder, as 8×8 grey PNG files."""
    bunch = load_digits()
    (folder / str(digit)).mkdir(parents=True, exist_ok=True)
    images = bunch.images[bunch.target == digit][first:last]
    for number, image in enumerate(images, start=first):
        pixels = (image * (255 / 16)).round().astype("uint8")
        Image.fromarray(pixels).save(folder / str(digit) / f"{number:03}.png")


@dataclass
class Place:
    """The folder, and the store with the life of the run `life`, which begins with 0, 1 and 2."""

    folder: Path
    catalog: Catalog
    cache: NodeCache
    name: str = "life"
    said: list[str] = field(default_factory=list)
    source: SourceConfig = field(default_factory=lambda: SourceConfig(kind="digits"))

    def begin(self) -> None:
        """Train the first model."""
        if not self.folder.exists():
            for digit in range(3):
                put(self.folder, digit, 0, 40)
        self.source = replace(self.source, kind="imagefolder", location=str(self.folder))
        counts = training_counts(open_source(self.source).counts(), self.source)
        images = tuple(counts.values())
        plan = Plan(rule="all", class_order=tuple(counts), class_images=images, stage_sizes=(3,))
        config = replace(digits_run(2, 8), source=self.source, plan=plan)
        self.train(self.recorded(self.name, config))

    def recorded(self, name: str, config: RunConfig) -> RunRecord:
        """Prepare and record a run."""
        work_path = self.cache.work_path
        dataset = prepare_dataset(
            config.source, config.plan, self.catalog, work_path, lambda _: lambda _: None
        ).manifest
        record = make_record(name, config, dataset.digest, stage_chain(config, dataset))
        create_record(self.catalog.store, record)
        return record

    def train(self, record: RunRecord) -> StageManifest:
        """Train a recorded run's only stage, and write a report."""
        dataset = self.catalog.dataset(record.dataset)
        (spec,) = stage_chain(record.config, dataset)
        context = stage_context(self.catalog, self.cache)
        manifest = run_stage(spec, dataset, context).manifest
        self.catalog.store.write_note(keys.report_key(record.name, "report.json"), b"{}")
        return manifest

    def watch(self, **rules: object) -> Watch:
        """What is watched: the folder, with 20 training images a class."""
        short = Recipe(flip="none", budget_epochs=1.0, precision="fp32")
        return Watch(
            name=self.name,
            source=self.source,
            rules=ArrivalRules(**{"settle": "0s"} | rules),  # type: ignore[arg-type]
            recipe=short,
            given_recipe=("budget_epochs", "flip", "precision"),
            seed=0,
        )

    def viewpoint(self, **options: object) -> Viewpoint:
        """Where a look is done from; what it says is kept."""
        self.said.clear()
        return Viewpoint(
            catalog=self.catalog,
            cache=self.cache,
            say=self.said.append,
            meter=lambda _: lambda _: None,
            **options,  # type: ignore[arg-type]
        )

    def look(self, **rules: object) -> RunRecord | None:
        """Look once."""
        return look_for_arrival(self.watch(**rules), self.viewpoint())
