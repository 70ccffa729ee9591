"""A model's whole life as data, and as one page: each arrival with its data, accuracy and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from accrete import __version__
from accrete.catalog.catalog import Catalog
from accrete.catalog.life import Lived, ancestors_of, life_of, records_of
from accrete.catalog.manifests import StageManifest
from accrete.config.run import RunConfig
from accrete.errors import InputError
from accrete.reports import _life_figures as figures
from accrete.reports._page import check_rendered_format, inline, render_page

LIFE_FORMAT = 1


def assemble_life(catalog: Catalog, name: str) -> dict[str, Any]:
    """Return the life that a run is part of, from its beginning to its newest model, as JSON.

    Args:
        catalog: where its runs, stages and data sets are.
        name: of any run of it.

    Raises:
        RunNotFoundError: no such run is recorded.
        InputError: it has not finished, and extends nothing; or the life has forked.
        ObjectMissingError, IntegrityError: what is stored of it is gone or was changed.
    """
    records = records_of(catalog)
    before, life = ancestors_of(catalog, records, name), life_of(catalog, records, name)
    lived = [*before, *life.lived]
    if not lived:
        raise InputError(
            f"run {name!r} has not finished: `accrete status {name}` tells how it stands"
        )
    arrivals: list[dict[str, Any]] = []
    for each in lived:
        arrivals.append(_arrival(each, catalog, arrivals[-1] if arrivals else None))
    sums = ("images_seen", "train_s", "wall_s")
    return {
        "format": LIFE_FORMAT,
        "name": lived[0].record.name,
        "accrete_version": __version__,
        "origin": _origin(lived[0].record.config),
        "arrivals": arrivals,
        "totals": {
            **{each: sum(arrival[each] for arrival in arrivals) for each in sums},
            "num_classes": arrivals[-1]["num_classes"],
            "num_images": arrivals[-1]["num_images"],
            "top1": arrivals[-1]["top1"],
        },
        "unfinished": [record.name for record in life.begun],
    }


def render_life(life: Mapping[str, Any]) -> str:
    """Return a life as one self-contained HTML page; the same life gives the same text.

    Args:
        life: of `assemble_life`. Its texts may hold anything: all of them are escaped.

    Raises:
        InputError: it has another format.
    """
    check_rendered_format("life", life["format"], LIFE_FORMAT)
    arrivals = life["arrivals"]
    drawn = {
        "accuracy_and_classes": figures.accuracy_and_classes(arrivals),
        "cost_per_arrival": figures.cost_per_arrival(arrivals),
    }
    return render_page("life.html.j2", life=life, figures=inline(drawn))


def _origin(config: RunConfig) -> str | None:
    """Return what a life began with that no run of it made, None where that is nothing."""
    if config.base is not None:
        return config.base.origin
    weights = config.model.weights
    return None if weights is None else f"weights {weights.origin}"


def _arrival(lived: Lived, catalog: Catalog, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return one run of a life, as far as the stage that lives on in the next."""
    record, last = lived.record, lived.stage
    stages = _stages(lived, catalog)
    dataset = catalog.dataset(last.dataset)
    entries = dataset.by_name
    num_images = sum(entries[name].num_images("train") for name in last.class_names)
    num_old = record.config.plan.num_given
    base = record.config.base
    is_compared = base is not None and len(stages) == 1
    return {
        "number": 0 if before is None else before["number"] + 1,
        "run": record.name,
        "num_stages": len(stages),
        "stage": last.index,
        "digest": last.digest,
        "created_at": last.created_at,
        "source": record.config.source.location or record.config.source.kind,
        "data_set_digest": last.dataset,
        "num_images": num_images,
        "num_images_added": num_images - (before["num_images"] if before else 0),
        "num_test_images": sum(entries[name].num_images("test") for name in last.class_names),
        "num_classes": len(last.class_names),
        "num_new_classes": len(last.class_names) - num_old,
        "new_classes": list(last.class_names[num_old:]),
        "model": last.model.name,
        "top1": last.result.top1,
        "top1_before": None if base is None else base.top1,
        # Of several stages, the last one's old classes are not those that the run began with.
        "top1_old": last.result.top1_old if is_compared else None,
        "top1_new": last.result.top1_new if is_compared else None,
        "images_seen": sum(stage.result.images_seen for stage in stages),
        "train_s": sum(stage.times.train_s for stage in stages),
        "wall_s": sum(sum(asdict(stage.times).values()) for stage in stages),
        "device": last.trained_on,
    }


def _stages(lived: Lived, catalog: Catalog) -> Sequence[StageManifest]:
    digests = lived.record.stages[: lived.record.stages.index(lived.stage.digest)]
    found = [catalog.stage_manifest(digest) for digest in digests]
    return [*(stage for stage in found if stage is not None), lived.stage]
