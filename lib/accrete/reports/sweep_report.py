"""The report of a finished sweep: its cells' stages, read from the store, as figures and page."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from accrete import __version__
from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import StageManifest
from accrete.catalog.records import SweepRecord
from accrete.config.recipe import assumptions
from accrete.config.sweep import Sweep
from accrete.core.serialization import to_json
from accrete.core.units import format_percent
from accrete.reports.comparison import Manifests, comparison_figures
from accrete.reports.lifecycle_study import lifecycle_figures
from accrete.reports.run_report import dataset_figures, finished_stage, stage_records_of
from accrete.reports.study import measurements, study_figures
from accrete.store.cache import NodeCache

SWEEP_REPORT_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep came to."""

    files: dict[str, bytes]
    """`report.json`, `report.html`, and of a convergence study `costs.json`."""
    lines: list[str]
    """For people, a line each."""
    headline: dict[str, float]
    """Headline figures."""


def make_sweep_report(record: SweepRecord, catalog: Catalog, cache: NodeCache) -> SweepReport:
    """Return the report of a finished sweep.

    Args:
        record: the sweep.
        catalog: where its stages are.
        cache: for the stages' records.

    Raises:
        ObjectMissingError: a stage is not in the store.
        IntegrityError: stored bytes are not those that a manifest names.
    """
    manifests = _manifests(record, catalog)
    shared = _shared(record, manifests, catalog)
    files: dict[str, bytes] = {}
    if record.sweep.purpose == "comparison":
        from accrete.reports._comparison_page import render_comparison

        figures = shared | comparison_figures(record.sweep, manifests)
        page = render_comparison(figures)
        lines, headline = _comparison_lines(figures)
    elif record.sweep.purpose == "lifecycle":
        from accrete.reports._lifecycle_page import lifecycle_lines, render_lifecycle

        figures = shared | lifecycle_figures(record.sweep, manifests)
        page = render_lifecycle(figures)
        lines, headline = lifecycle_lines(figures), _lifecycle_headline(figures)
    else:
        from accrete.reports._study_page import render_study

        figures = shared | study_figures(record.sweep, manifests, _stopped(manifests, cache))
        page = render_study(figures)
        lines, headline = _study_lines(figures)
        if record.sweep.purpose == "convergence":
            files["costs.json"] = json.dumps(measurements(figures), indent=1).encode()
    files["report.json"] = json.dumps(figures, indent=1, ensure_ascii=False).encode()
    files["report.html"] = page.encode()
    return SweepReport(files=files, lines=lines, headline=headline)


def _manifests(record: SweepRecord, catalog: Catalog) -> dict[str, list[StageManifest]]:
    """Return all stages of all cells; what cells have in common is read once."""
    digests = sorted({digest for cell in record.cells for digest in cell.stages})
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda digest: finished_stage(catalog, digest, record.name), digests)
        by_digest = dict(zip(digests, found, strict=True))
    return {cell.name: [by_digest[digest] for digest in cell.stages] for cell in record.cells}


def _shared(record: SweepRecord, manifests: Manifests, catalog: Catalog) -> dict[str, Any]:
    """Return what every sweep's report says of where its figures come from."""
    sweep = record.sweep
    recipe = sweep.cells[0].recipe
    newest = max(stage.created_at for stages in manifests.values() for stage in stages)
    return {
        "format": SWEEP_REPORT_FORMAT,
        "purpose": sweep.purpose,
        "sweep": {
            "name": record.name,
            "created_at": newest,
            "accrete_version": __version__,
            "digest": sweep.digest,
            "rule": sweep.rule,
        },
        "config": {
            "source": to_json(sweep.source),
            "model": to_json(sweep.model),
            "recipe": to_json(recipe),
            "arrivals": _arrival_recipes(sweep),
        },
        "assumptions": list(assumptions(recipe)),
        "dataset": dataset_figures(catalog.dataset(record.dataset)),
    }


def _arrival_recipes(sweep: Sweep) -> dict[str, Any]:
    """Return the recipe of each contestant's arrivals, but for the budget; none: of none."""
    return {
        cell.kind: {
            name: value
            for name, value in to_json(cell.arrival).items()
            if name not in ("epochs", "budget_epochs")
        }
        for cell in sweep.cells
        if cell.arrival is not None
    }


def _stopped(manifests: Manifests, cache: NodeCache) -> dict[str, str | None]:
    """Return why each stage ended early, by its digest."""
    stages = {stage.digest: stage for cell in manifests.values() for stage in cell}
    found = stage_records_of(list(stages.values()), cache)
    return {digest: found[stage.metrics.sha256]["stopped"] for digest, stage in stages.items()}


def _comparison_lines(figures: Mapping[str, Any]) -> tuple[list[str], dict[str, float]]:
    lines = []
    headline: dict[str, float] = {}
    for row in figures["speed_ups"]:
        is_images = row["measure"] == "images_seen"
        cost = f"{row['staged_cost']:,.0f} images" if is_images else f"{row['staged_cost']:,.1f} s"
        top1 = f"{format_percent(row['top1'])} top-1 (mean of {row['num_seeds']})"
        lines.append(f"staged: {top1} after {cost}; {_ratio_text(row)}")
        headline["top1"] = row["top1"]
        if row["ratio"] is not None:
            headline["images_ratio" if is_images else "seconds_ratio"] = row["ratio"]
    return lines or ["no test images: nothing to compare"], headline


def _ratio_text(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return "from scratch has no such accuracy within the budgets tried: no ratio"
    spread = (
        ""
        if row["low"] is None or row["num_seeds"] == 1
        else f" ({row['low']:.2f}–{row['high']:.2f})"
    )
    return f"from scratch costs {row['ratio']:.2f}× as much{spread} for the same accuracy"


def _lifecycle_headline(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the ratios of the first schedule, by contestant."""
    return {
        f"{each['name']}_{measure}_ratio": each["needed"][measure]["ratio"]
        for each in figures["schedules"][0]["contestants"]
        for measure in ("images", "seconds")
        if each["needed"][measure] is not None
    }


def _study_lines(figures: Mapping[str, Any]) -> tuple[list[str], dict[str, float]]:
    is_convergence = figures["purpose"] == "convergence"
    cells: Sequence[Mapping[str, Any]] = figures["cells"]
    lines = []
    for row in cells:
        value = (
            "no test images" if row["top1"] is None else f"error {format_percent(1 - row['top1'])}"
        )
        if is_convergence:
            bound = "" if row["converged"] else "not converged within the bound, over "
            value = f"{bound}{row['images_seen']:,} images, {value}"
        lines.append(f"n1 {row['num_initial']:>4}  Δn {row['num_added']:>4}  {value}")
    converged = sum(bool(row["converged"]) for row in cells)
    return lines, {
        "cells": float(len(cells)),
        **({"converged": float(converged)} if is_convergence else {}),
    }
