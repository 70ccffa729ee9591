"""The commands that use a trained model: predict with it, export it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from accrete.cli._adapter import ENV_PREFIX, names_in
from accrete.cli._notes import note

if TYPE_CHECKING:
    from accrete.models.predictor import TrainedModel


@click.command(context_settings={"auto_envvar_prefix": ENV_PREFIX})
@click.argument("name")
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path)
)
@click.option("--stage", type=int, metavar="J", help="Stage J of the run. [default: the last]")
@click.option("--top", type=int, metavar="K", help="Classes to name. [default: 3, or all]")
@click.option(
    "--batch-size", type=int, default=64, show_default=True, help="Images computed at once."
)
@click.option(
    "--on-bad-image",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="Stop at an image that cannot be decoded, or leave it out and count it.",
)
@click.option("--store", metavar="URI", help="s3://bucket[/prefix]. [default: s3://accrete]")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON an image.")
def predict(
    *,
    name: str,
    paths: tuple[Path, ...],
    stage: int | None,
    top: int | None,
    batch_size: int,
    on_bad_image: str,
    store: str | None,
    as_json: bool,
) -> None:
    """Say what a run's model takes images for: image files, or folders of them.

    NAME is a run's, or RUN@latest, the newest model of the life that RUN began; or 12 or more
    digits of a stage's digest.

    \b
    Examples:
      accrete predict digits-4-stages photos/
      accrete predict digits-4-stages@latest photos/
      accrete predict digits-4-stages a.png b.png --stage 2 --top 1 --json
    """
    from accrete.cli._prediction_text import PredictionTable, json_line
    from accrete.core.units import format_counted
    from accrete.data.sources.base import reasons
    from accrete.models.image_files import find_images

    images = find_images(paths)
    trained, _ = _trained_model(name, stage, store)
    from accrete.models.predictor import Predictor, predict_files
    from accrete.training.device import compute_device

    predictor = Predictor(trained, compute_device(), top=top, batch_size=batch_size)
    table = PredictionTable(images.files, predictor.class_names, predictor.top)
    if images.left_out:
        files = format_counted(len(images.left_out), "file")
        note(f"{files} left out: {reasons(images.left_out)}")
    if not as_json:
        click.echo(table.header())
    skip_bad = on_bad_image == "skip"
    for found in predict_files(predictor, images.files, skip_bad=skip_bad, tell=note):
        click.echo(json_line(found) if as_json else table.row(found))


def _trained_model(
    name: str, stage: int | None, store: str | None
) -> "tuple[TrainedModel, str | None]":
    """Return a stage's network and the run that it was found by, None where its digest was given.

    torch is imported when the stage is found.
    """
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.lookup import find_stage, plain_name
    from accrete.core.processes import share_cpus_well
    from accrete.core.settings import cache_path
    from accrete.store.cache import NodeCache
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        catalog = Catalog(objects)
        name = plain_name(catalog, name, stage, note)
        manifest = find_stage(catalog, name, stage)
        share_cpus_well()
        from accrete.models.predictor import load_model

        run = None if manifest.digest.startswith(name) else name
        return load_model(manifest, NodeCache(cache_path(), objects)), run


@click.command(context_settings={"auto_envvar_prefix": ENV_PREFIX})
@click.argument("name")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--stage", type=int, metavar="J", help="Stage J of the run. [default: the last]")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["safetensors", "onnx"]),
    help="What to write. [default: by OUTPUT's suffix]",
)
@click.option(
    "--only-classes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep these classes of the model alone: names, one a line. [default: all]",
)
@click.option("--force", is_flag=True, help="Replace OUTPUT if it exists.")
@click.option("--store", metavar="URI", help="s3://bucket[/prefix]. [default: s3://accrete]")
def export(
    *,
    name: str,
    output: Path,
    stage: int | None,
    format_name: str | None,
    only_classes: Path | None,
    force: bool,
    store: str | None,
) -> None:
    """Write a run's model to a file that needs no accrete: weights, or an ONNX graph.

    NAME is a run's, or RUN@latest, the newest model of the life that RUN began; or 12 or more
    digits of a stage's digest.

    \b
    Examples:
      accrete export digits-4-stages digits.safetensors
      accrete export digits-4-stages digits.onnx --stage 2
    """
    from accrete.models.export_preconditions import check_export

    format_name = check_export(output, format_name, force=force)
    names = None if only_classes is None else names_in(only_classes, "only classes")
    trained, run = _trained_model(name, stage, store)
    from accrete.models.export import export_model
    from accrete.models.kept_classes import keep_classes

    if names is not None:
        trained = keep_classes(trained, names)
    click.echo(export_model(trained, output, format_name, run))
