"""`accrete evaluate`: how a finished model does on labelled images."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from accrete.cli._adapter import ENV_PREFIX, takes
from accrete.cli._inspect import store_to_read
from accrete.cli._notes import note
from accrete.cli._options import Source
from accrete.cli._request import source_of
from accrete.config.run import SourceConfig
from accrete.core.options import Given, option_fields
from accrete.core.validation import check_range
from accrete.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from accrete.cli._evaluation_text import Evaluated
    from accrete.models.labelled_images import SourceImages

_NO_EFFECT = ("test_fraction", "validation_fraction", "split_seed", "image_size")
"""Of a source's options: its images are taken as they are split, at the model's own size."""
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """Which images a model is evaluated on."""

    source: Source


@click.command(name="evaluate", context_settings={"auto_envvar_prefix": ENV_PREFIX})
@click.argument("name")
@takes(EvaluateOptions)
@click.option("--stage", type=int, metavar="J", help="Stage J of the run. [default: the last]")
@click.option(
    "--split",
    type=click.Choice([*_SPLITS, "all"]),
    help="Images of the data set that the model was trained from, or of --data. "
    "[default: test; of --data all, where it has no test split]",
)
@click.option(
    "--batch-size", type=int, default=64, show_default=True, help="Images computed at once."
)
@click.option("--store", metavar="URI", help="s3://bucket[/prefix]. [default: s3://accrete]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def evaluate_command(
    *,
    options: EvaluateOptions,
    name: str,
    stage: int | None,
    split: str | None,
    batch_size: int,
    store: str | None,
    as_json: bool,
) -> None:
    """Say how well a run's model does on labelled images, over all and for every class.

    NAME is a run's, or RUN@latest, the newest model of the life that RUN began; or 12 or more
    digits of a stage's digest. Without --data the images are the test split that is stored with the
    data set. Of --data, images of classes that the model does not have are left out, and said.

    \b
    Examples:
      accrete evaluate digits-4-stages
      accrete evaluate animals@latest --data photos-of-june/ --json
    """
    from accrete.cli._evaluation_text import evaluation_json, evaluation_lines

    check_range("batch size", batch_size, 1, 65536)
    _check_source(options.source, split)
    named = _names_images(options.source)
    with store_to_read(options.source.values.get("location") if named else None):
        images = _source_images(options.source, split) if named else split or "test"
        evaluated = _evaluated(name, stage, images, batch_size, store)
    if as_json:
        click.echo(json.dumps(evaluation_json(evaluated), indent=1))
        return
    for line in evaluation_lines(evaluated):
        click.echo(line)


def _evaluated(
    name: str, stage: int | None, images: "SourceImages | str", batch_size: int, store: str | None
) -> "Evaluated":
    """Find the model and evaluate it; torch is imported when it is found.

    Args:
        name: the model.
        stage: which of a run's.
        images: of a source; or which of the stored ones, the name of a split.
        batch_size: images computed at once.
        store: where the model is.
    """
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.lookup import find_stage, plain_name
    from accrete.core.processes import share_cpus_well
    from accrete.core.settings import cache_path
    from accrete.store.cache import NodeCache
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        catalog, cache = Catalog(objects), NodeCache(cache_path(), objects)
        manifest = find_stage(catalog, plain_name(catalog, name, stage, note), stage)
        share_cpus_well()
        from accrete.cli._evaluation_text import Evaluated, left_out_text
        from accrete.models.labelled_images import evaluate_batches, stored_batches
        from accrete.models.predictor import Predictor, load_model
        from accrete.training.device import compute_device

        network = load_model(manifest, cache)
        predictor = Predictor(network, compute_device(), top=1, batch_size=batch_size)
        if isinstance(images, str):
            batches = stored_batches(manifest, images, catalog, cache, batch_size)
            found = evaluate_batches(predictor, batches)
            what = f"stored {images} split of data set {manifest.dataset[:12]}"
            return Evaluated(manifest=manifest, found=found, images=what)
        found = evaluate_batches(predictor, images.batches(manifest, batch_size))
        if images.num_bad:
            note(f"bad images left out: {images.num_bad:,}")
        if images.unknown:
            note(left_out_text(images.unknown))
        return Evaluated(
            manifest=manifest,
            found=found,
            images=images.title,
            unknown=images.unknown,
            num_bad=images.num_bad,
        )


def _names_images(given: Given[SourceConfig]) -> bool:
    """Return whether images are named; a variable that all commands see names none."""
    return bool({"kind", "location"} & given.typed)


def _check_source(given: Given[SourceConfig], split: str | None) -> None:
    """Refuse what has no effect.

    Raises:
        ConfigError: names the option.
    """
    if not _names_images(given) and split == "all":
        raise ConfigError("--split all goes with --data or --source only: give train, test, …")
    for each in option_fields(SourceConfig):
        if each.name not in given.typed:
            continue
        if each.name in _NO_EFFECT:
            raise ConfigError(
                f"--{each.flag} has no effect on evaluate: images are taken as the source splits "
                "them, at the model's size; leave it out"
            )
        if not _names_images(given):
            raise ConfigError(f"--{each.flag} has no effect without --data: leave it out")


def _source_images(given: Given[SourceConfig], split: str | None) -> "SourceImages":
    """Return a source's images, those of a split or all."""
    from accrete.data.sources.opening import open_source
    from accrete.models.labelled_images import SourceImages

    config = source_of(given.without(_NO_EFFECT))
    source = open_source(config)
    there = source.splits()
    chosen = split or ("test" if "test" in there else "all")
    where = config.location or config.kind
    if chosen != "all" and chosen not in there:
        raise SourceError(
            f"{where} has no split {chosen}, it has {', '.join(sorted(there)) or 'no image'}: "
            "give another --split, or all"
        )
    splits = frozenset(_SPLITS if chosen == "all" else (chosen,))
    what = "all" if chosen == "all" else f"{chosen} split"
    return SourceImages(
        title=f"{what} of {where}", items=source.items(), splits=splits, config=config
    )
