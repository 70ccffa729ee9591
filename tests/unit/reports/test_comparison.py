"""What a comparison and a study make of the manifests of their stages."""

from typing import Any

import pytest
from stage_sample import stage_manifest

from accrete.catalog.manifests import StageManifest
from accrete.config.cost import Measurement, fit
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, SourceConfig
from accrete.config.sweep import Cell, Sweep
from accrete.reports.comparison import comparison_figures
from accrete.reports.study import measurements, study_figures

NAMES = tuple(f"c{number:02}" for number in range(10))


def finished(
    cell: Cell, *images: int, top1: tuple[float | None, ...] | None = None
) -> list[StageManifest]:
    """Return a manifest for each stage of a cell that saw so many images."""
    stages, num_old = [], 0
    for index, (size, seen) in enumerate(zip(cell.stage_sizes, images, strict=True), start=1):
        accuracy = 0.5 if top1 is None else top1[index - 1]
        stages.append(
            stage_manifest(
                digest=f"{cell.name}/{index}",
                index=index,
                class_names=NAMES[: num_old + size],
                num_old_classes=num_old,
                images_seen=seen,
                top1=accuracy,
                train_s=seen / 1000,
            )
        )
        num_old += size
    return stages


def cell(name: str, kind: str, *sizes: int, seed: int = 0, **recipe: Any) -> Cell:
    return Cell(name=name, kind=kind, stage_sizes=sizes, recipe=Recipe(**recipe), seed=seed)


def sweep(purpose: str, *cells: Cell) -> Sweep:
    return Sweep(
        purpose=purpose,
        rule="a test",
        source=SourceConfig(kind="digits"),
        class_order=NAMES,
        class_images=(100,) * 10,
        model=ModelConfig(name="small"),
        cells=cells,
    )


def two_seeds(*, staged: tuple[float, float], scratch: dict[float, float]) -> dict[str, Any]:
    """Return the figures of a comparison; from scratch each seed has the same accuracy."""
    cells, manifests = [], {}
    for seed, top1 in enumerate(staged):
        made = cell(f"staged-s{seed}", "staged", 5, 5, seed=seed, budget_epochs=4.0)
        cells.append(made)
        manifests[made.name] = finished(made, 1000, 3000, top1=(0.9, top1))
        for budget, accuracy in scratch.items():
            made = cell(f"all-{budget:g}-s{seed}", "scratch", 10, seed=seed, budget_epochs=budget)
            cells.append(made)
            manifests[made.name] = finished(made, int(1000 * budget), top1=(accuracy,))
    half = cell("half-s0", "scratch", 5, budget_epochs=4.0)
    manifests[half.name] = finished(half, 2000, top1=(0.8,))
    return comparison_figures(sweep("comparison", *cells, half), manifests)


def test_the_speed_up_is_of_costs_at_equal_accuracy() -> None:
    figures = two_seeds(staged=(0.6, 0.6), scratch={4.0: 0.5, 8.0: 0.6, 16.0: 0.7})
    images, seconds = figures["speed_ups"]
    assert (images["measure"], seconds["measure"]) == ("images_seen", "train_s")
    assert images["top1"] == pytest.approx(0.6)
    assert images["staged_cost"] == 4000
    assert images["scratch_cost"] == pytest.approx(8000)
    assert images["ratio"] == pytest.approx(2.0)
    assert seconds["ratio"] == pytest.approx(2.0)
    assert images["num_seeds"] == 2


def test_there_is_no_speed_up_beyond_the_budgets_tried() -> None:
    figures = two_seeds(staged=(0.8, 0.8), scratch={4.0: 0.5, 8.0: 0.6})
    for row in figures["speed_ups"]:
        assert (row["ratio"], row["scratch_cost"]) == (None, None)
        assert row["top1"] == pytest.approx(0.8)


def test_groups_are_means_over_seeds_with_their_extremes() -> None:
    figures = two_seeds(staged=(0.5, 0.7), scratch={4.0: 0.5, 8.0: 0.7})
    groups = {(g["kind"], g["num_classes"], g["budget_epochs"]): g for g in figures["groups"]}
    staged = groups["staged", 10, 4.0]
    assert (staged["num_seeds"], staged["images_seen"]) == (2, 4000)
    assert (staged["top1_low"], staged["top1_high"]) == (0.5, 0.7)
    assert staged["top1"] == pytest.approx(0.6)
    assert staged["train_s"] == pytest.approx(4.0)
    assert groups["scratch", 5, 4.0]["num_seeds"] == 1


def test_the_paper_s_figure_2_sets_equal_numbers_of_classes_side_by_side() -> None:
    figures = two_seeds(staged=(0.5, 0.7), scratch={4.0: 0.4, 8.0: 0.7})
    half, whole = figures["over_classes"]
    assert (half["num_classes"], whole["num_classes"]) == (5, 10)
    assert half["staged"]["top1"] == pytest.approx(0.9)
    assert half["scratch"]["top1"] == pytest.approx(0.8)
    assert whole["scratch"]["top1"] == pytest.approx(0.4)  # of the staged plan's budget alone
    assert whole["scratch"]["num_seeds"] == 2


def test_without_test_images_nothing_is_compared() -> None:
    one = cell("staged-s0", "staged", 5, 5, budget_epochs=4.0)
    manifests = {one.name: finished(one, 1000, 3000, top1=(None, None))}
    figures = comparison_figures(sweep("comparison", one), manifests)
    assert figures["speed_ups"] == []
    assert figures["groups"][0]["top1"] is None
    assert figures["over_classes"][0] == {"num_classes": 5, "staged": None, "scratch": None}


def convergence() -> tuple[Sweep, dict[str, list[StageManifest]]]:
    recipe = {"epochs": (9.0, 9.0), "lr_scope": "stage", "stop_gradient": 0.1}
    cells = [cell("n2-d1-s0", "cell", 2, 1, **recipe), cell("n2-d4-s0", "cell", 2, 4, **recipe)]
    first, second = finished(cells[0], 500, 900), finished(cells[1], 500, 5400)
    second[0] = first[0]  # one stage, in the store
    return sweep("convergence", *cells), {cells[0].name: first, cells[1].name: second}


def test_a_convergence_study_has_each_stage_once_and_first_stages_from_no_class() -> None:
    made, manifests = convergence()
    stopped = {"n2-d1-s0/1": "small", "n2-d1-s0/2": "small", "n2-d4-s0/2": None}
    figures = study_figures(made, manifests, stopped)
    found = [(c["num_initial"], c["num_added"], c["images_seen"]) for c in figures["cells"]]
    assert found == [(0, 2, 500), (2, 1, 900), (2, 4, 5400)]
    assert [c["converged"] for c in figures["cells"]] == [True, True, False]
    assert (figures["rows"], figures["columns"]) == ([0, 2], [1, 2, 4])
    assert figures["cells"][1]["num_epochs"] == pytest.approx(3.0)
    assert "below 0.1" in figures["criterion"]
    assert "after 9 epochs" in figures["criterion"]
    assert figures["baseline"] is None


def test_what_converged_can_be_fitted_and_what_did_not_is_left_out() -> None:
    made, manifests = convergence()
    stopped = {"n2-d1-s0/1": "small", "n2-d1-s0/2": "small", "n2-d4-s0/2": None}
    rows = measurements(study_figures(made, manifests, stopped))
    assert rows == [
        {"old_images": 0, "new_images": 200, "images": 500},
        {"old_images": 200, "new_images": 100, "images": 900},
    ]
    assert fit([Measurement(**row) for row in rows * 2], source="test").num_measurements == 4


def test_a_study_of_increments_has_whole_runs_beside_their_baseline() -> None:
    run = cell("n2-d4-s0", "cell", 2, 4, 4, budget_epochs=5.0)
    scratch = cell("scratch-s0", "scratch", 10, budget_epochs=5.0)
    manifests = {
        run.name: finished(run, 100, 200, 4700, top1=(0.9, 0.8, 0.7)),
        scratch.name: finished(scratch, 5000, top1=(0.6,)),
    }
    figures = study_figures(sweep("increments", run, scratch), manifests, {})
    (row,) = figures["cells"]
    assert (row["num_initial"], row["num_added"], row["num_stages"]) == (2, 4, 3)
    assert (row["images_seen"], row["top1"], row["converged"]) == (5000, 0.7, None)
    assert figures["baseline"]["top1"] == 0.6
    assert figures["baseline"]["budget_epochs"] == pytest.approx(5.0)
