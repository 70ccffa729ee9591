"""Expected cost of plans for 100 classes of CIFAR-100, by the paper's Table I.

    make bench NAME=plan_costs

Computes, measures nothing: every figure is the cost model's. Prints a Markdown table and draws
docs/plan-costs.svg.
"""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from record import table

from accrete.config.cost import Alternative, cheapest_sizes, paper_prior, priced
from accrete.config.plan import even_counts, parse_alpha, sizes_by_alpha, sizes_by_increment

NUM_CLASSES, INITIAL = 100, 10
ALPHAS = ("0.25", "0.5", "1", "2", "4", "9")
STEPS = (1, 5, 10)
FIGURE = Path(__file__).parent.parent / "docs" / "plan-costs.svg"


def rows() -> list[Alternative]:
    """Return the plans in question, each with its expected cost."""
    model, images = paper_prior(), even_counts(NUM_CLASSES)
    named = [
        (f"α = {alpha}", sizes_by_alpha(images, INITIAL, parse_alpha(alpha))) for alpha in ALPHAS
    ]
    named += [(f"Δn = {step}", sizes_by_increment(NUM_CLASSES, INITIAL, step)) for step in STEPS]
    named += [
        ("auto, from 10", cheapest_sizes(model, images, initial=INITIAL)),
        ("auto", cheapest_sizes(model, images)),
        ("from scratch", (NUM_CLASSES,)),
    ]
    return [priced(model, images, sizes, name) for name, sizes in named]


def draw_plans(plans: list[Alternative]) -> None:
    """Draw the costs with their intervals, on a logarithmic axis."""
    mpl.rcParams["svg.hashsalt"] = "accrete"  # the same file each time
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    places = range(len(plans))
    costs = [plan.images / 1e6 for plan in plans]
    below = [(plan.images - plan.low) / 1e6 for plan in plans]
    above = [(plan.high - plan.images) / 1e6 for plan in plans]
    axes.errorbar(costs, places, xerr=[below, above], fmt="o", color="#1f6f8b", capsize=3)
    axes.axvline(costs[-1], color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [f"{plan.name}  ({len(plan.stage_sizes)})" for plan in plans])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks([8, 10, 15, 20, 30, 40], ["8", "10", "15", "20", "30", "40"])
    axes.minorticks_off()
    axes.set_xlabel("expected training images, millions (90 % of fits); stages in brackets")
    figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    """Print the table and draw the figure."""
    plans = rows()
    scratch = plans[-1].images
    print(
        table(
            ["plan", "stages", "expected images", "90 % of fits", "over from scratch"],
            [
                [
                    plan.name,
                    str(len(plan.stage_sizes)),
                    f"{plan.images / 1e6:.2f} M",
                    f"{plan.low / 1e6:.2f}–{plan.high / 1e6:.2f} M",
                    f"{plan.images / scratch:.2f}",
                ]
                for plan in plans
            ],
        )
    )
    draw_plans(plans)


if __name__ == "__main__":
    main()
