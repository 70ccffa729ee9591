"""The cost model, and plans of least cost: against brute force, and against every fixed ratio."""

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.config.cost import (
    CostModel,
    Measurement,
    alternatives,
    cheapest_sizes,
    fit,
    paper_prior,
    priced,
    stage_spans,
)
from accrete.config.plan import Plan, even_counts, sizes_by_alpha, sizes_by_increment
from accrete.errors import ConfigError

counts = st.lists(st.integers(1, 900), min_size=1, max_size=8)
exponents = st.floats(0, 2)


def model_of(p: float, q: float, stage_images: float = 0.0) -> CostModel:
    """Return t = new^p (old + new)^q."""
    return CostModel(
        source="a test",
        parameters=(0.0, p, q),
        covariance=((0.0,) * 3,) * 3,
        scatter=0.0,
        num_measurements=4,
        stage_images=stage_images,
    )


def compositions(total: int) -> Iterator[tuple[int, ...]]:
    """Yield every way to write a number as an ordered sum."""
    for cuts in itertools.product((False, True), repeat=total - 1):
        sizes = [1]
        for cut in cuts:
            if cut:
                sizes.append(1)
            else:
                sizes[-1] += 1
        yield tuple(sizes)


def cost_of(model: CostModel, images: Sequence[int], sizes: Sequence[int]) -> float:
    return model.plan_cost(stage_spans(images, sizes))


models = st.builds(model_of, exponents, exponents, st.floats(0, 5000))


@given(models, counts, st.integers(1, 8), st.integers(1, 3))
def test_the_cheapest_plan_is_that_of_brute_force(
    model: CostModel, images: list[int], most: int, least: int
) -> None:
    least = min(least, len(images))
    allowed = [
        sizes for sizes in compositions(len(images)) if len(sizes) <= most and min(sizes) >= least
    ]
    found = cheapest_sizes(model, images, max_stages=most, min_classes=least)
    assert found in allowed
    best = min(cost_of(model, images, sizes) for sizes in allowed)
    assert cost_of(model, images, found) == pytest.approx(best, rel=1e-9)


@given(
    models,
    st.lists(st.integers(1, 900), min_size=2, max_size=60),
    st.fractions(Fraction(1, 10), 10, max_denominator=10),
    st.data(),
)
def test_auto_is_never_worse_than_any_fixed_ratio_or_step(
    model: CostModel, images: list[int], alpha: Fraction, data: st.DataObject
) -> None:
    initial = data.draw(st.integers(1, len(images)))
    step = data.draw(st.integers(1, len(images)))
    least = cost_of(model, images, cheapest_sizes(model, images))
    for sizes in (
        sizes_by_alpha(images, initial, alpha),
        sizes_by_increment(len(images), initial, step),
        (len(images),),
    ):
        assert least <= cost_of(model, images, sizes) * (1 + 1e-9)


def test_a_plan_of_ten_thousand_classes_is_found() -> None:
    sizes = cheapest_sizes(paper_prior(), even_counts(10_000))
    assert sum(sizes) == 10_000
    bounded = cheapest_sizes(paper_prior(), even_counts(1000), max_stages=3, min_classes=20)
    assert sum(bounded) == 1000
    assert len(bounded) <= 3
    assert min(bounded) >= 20


def test_what_every_stage_costs_beside_training_makes_fewer_stages() -> None:
    images = even_counts(100)
    lengths = [
        len(cheapest_sizes(model_of(1.0, 0.2, fixed), images)) for fixed in (0, 1e2, 1e4, 1e6)
    ]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1] == 1


def test_a_fit_finds_the_parameters_that_made_the_measurements() -> None:
    measurements = [
        Measurement(old_images=old, new_images=new, images=3.5 * new**0.6 * (old + new) ** 0.9)
        for old in (0, 500, 4000)
        for new in (50, 700, 9000)
    ]
    model = fit(measurements, source="made")
    assert model.parameters == pytest.approx((math.log(3.5), 0.6, 0.9), abs=1e-9)
    assert model.scatter < 1e-9
    assert model.stage_cost(100, 200) == pytest.approx(3.5 * 200**0.6 * 300**0.9)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.floats(1, 1e6)), min_size=4))
def test_a_fitted_cost_never_falls_with_more_images(
    rows: list[tuple[int, int, float]],
) -> None:
    measurements = [
        Measurement(old_images=old, new_images=new, images=images) for old, new, images in rows
    ]
    try:
        model = fit(measurements, source="made")
    except ConfigError:
        return  # all of one size
    here = model.stage_cost(300, 200)
    assert model.stage_cost(301, 200) >= here * (1 - 1e-12)
    assert model.stage_cost(300, 201) >= here * (1 - 1e-12)


def test_the_paper_s_table_is_fitted_within_a_third() -> None:
    model = paper_prior()
    assert model.num_measurements == 14
    assert model.scatter < 0.25
    assert model.stage_cost(10 * 500, 1 * 500) == pytest.approx(82e3, rel=0.35)
    assert model.stage_cost(80 * 500, 20 * 500) == pytest.approx(4600e3, rel=0.35)


def test_an_interval_holds_the_cost_and_grows_with_the_scatter() -> None:
    model = paper_prior()
    spans = stage_spans(even_counts(100), (10, 10, 20, 40, 20))
    low, high = model.interval(spans)
    assert low < model.plan_cost(spans) < high
    assert model.interval(spans) == (low, high)


def test_alternatives_hold_the_plan_itself_and_from_scratch() -> None:
    images = even_counts(100)
    model = paper_prior()
    plan = Plan(
        rule="auto",
        class_order=tuple(f"c{n}" for n in range(100)),
        class_images=images,
        stage_sizes=cheapest_sizes(model, images),
    )
    rows = alternatives(model, plan, 10)
    assert rows[0].name == "auto"
    assert rows[0].images == min(row.images for row in rows)
    assert rows[-1].stage_sizes == (100,)
    assert all(row.low <= row.images <= row.high for row in rows)
    assert priced(model, images, (100,), "all").images == rows[-1].images


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([(0, 5, 10.0)] * 3, "made has 3 measurements: a cost model takes at least 4"),
        ([(0, 5, 10.0)] * 4, "made has stages of one size only"),
    ],
)
def test_too_few_measurements_are_refused(rows: list[tuple[int, int, float]], match: str) -> None:
    measurements = [
        Measurement(old_images=old, new_images=new, images=images) for old, new, images in rows
    ]
    with pytest.raises(ConfigError, match=match):
        fit(measurements, source="made")


@pytest.mark.parametrize(("old", "new", "images"), [(-1, 5, 1.0), (0, 0, 1.0), (0, 5, math.inf)])
def test_a_measurement_that_cannot_be_is_refused(old: int, new: int, images: float) -> None:
    with pytest.raises(ConfigError, match=f"of {new} new images beside {old} old ones"):
        Measurement(old_images=old, new_images=new, images=images)


@pytest.mark.parametrize(
    ("bounds", "match"),
    [
        ({"min_classes": 0}, "least classes per stage are 0: give 1 to 10"),
        ({"min_classes": 11}, "least classes per stage are 11: give 1 to 10"),
        ({"max_stages": 0}, "most stages are 0: give at least 1"),
    ],
)
def test_bounds_outside_their_range_are_refused(bounds: dict[str, int], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        cheapest_sizes(paper_prior(), even_counts(10), **bounds)
