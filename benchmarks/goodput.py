"""What part of its time a job keeps on nodes that are taken away, by kill rate and interval.

    make bench NAME=goodput

Measured: what a snapshot costs (a stage of digits with one every fifth of a second and without, in
turns), and the seconds from a start to the first step. From that a simulation gives effective
training time over total time, for kills at exponential times without warning; beside it the
interval of Young and Daly, √(2·C·M). A second table is for a GPU node, with inputs that are
assumed and not measured. At some points the simulation is checked: a real stage is killed as often,
and what it kept is compared with what the model says of the same lives.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from goodput_model import GoodputCosts, expected, snapshot_cost_s, young_daly_s
from record import RESULTS, table, write_results

from accrete.config.recipe import Recipe
from accrete.core.processes import share_cpus_well
from accrete.core.settings import snapshot_interval_s
from accrete.core.units import format_percent
from accrete.store.embedded import embedded_store

FIGURE = Path(__file__).parent.parent / "docs" / "goodput.svg"
INTERVALS_S = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
MTBF_S = {"10 minutes": 600.0, "1 hour": 3600.0, "6 hours": 6 * 3600.0, "1 day": 24 * 3600.0}
ASSUMED = GoodputCosts(stall_s=0.1, write_s=3.0, slowdown=0.05, start_s=60.0, away_s=120.0)
"""A GPU node and VGG-19 with momentum, 160 MB: nobody has measured these here."""


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="stages with snapshots and without")
    parser.add_argument("--steps", type=int, default=400, help="of each of them")
    parser.add_argument("--restarts", type=int, default=5, help="on either node")
    parser.add_argument("--kills", type=int, default=40, help="at each real point")
    parser.add_argument(
        "--points",
        type=lambda text: [tuple(map(float, pair.split(":"))) for pair in text.split(",")],
        default=[(0.2, 2.0), (0.8, 2.0)],
        help="INTERVAL:MEAN seconds of the real kills [default: 0.2:2,0.8:2]",
    )
    parser.add_argument("--figure", type=Path, default=FIGURE, help="the SVG to write")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    options.source, options.model, options.data = "digits", "small", None
    options.batch_size, options.kill_epochs = Recipe().batch_size, 1e4
    return options


def curves(costs: GoodputCosts) -> dict[str, Any]:
    """Return goodput by kill rate and interval, and the best interval to first order."""
    found: dict[str, Any] = {"costs": dataclasses.asdict(costs), "by_mtbf": {}}
    for name, mtbf_s in MTBF_S.items():
        best_s = young_daly_s(snapshot_cost_s(costs), mtbf_s)
        found["by_mtbf"][name] = {
            "mtbf_s": mtbf_s,
            "goodput": {f"{s:g}": expected(costs, s, mtbf_s) for s in INTERVALS_S},
            "young_daly_s": best_s,
            "at_young_daly": expected(costs, best_s, mtbf_s),
            "at_default": expected(costs, snapshot_interval_s(), mtbf_s),
        }
    return found


def as_table(found: dict[str, Any]) -> str:
    """Return goodput by interval, a line for each kill rate."""
    headers = ["a kill every", *(f"{s:g} s" for s in INTERVALS_S), "√(2·C·M)", "there"]
    rows = [
        [
            name,
            *(format_percent(share, 1) for share in line["goodput"].values()),
            f"{line['young_daly_s']:.1f} s",
            format_percent(line["at_young_daly"], 1),
        ]
        for name, line in found["by_mtbf"].items()
    ]
    return table(headers, rows)


def draw_goodput(results: dict[str, Any], path: Path) -> None:
    """Draw both sets of curves, with the default interval and the best ones to first order."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "accrete"  # the same file each time
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    titles = {"measured": "this machine, measured", "assumed": "a GPU node, assumed"}
    for axes, (kind, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for name, line in results[kind]["by_mtbf"].items():
            (drawn,) = axes.plot(
                INTERVALS_S, list(line["goodput"].values()), marker=".", label=name
            )
            if line["young_daly_s"] >= INTERVALS_S[0]:
                place = (line["young_daly_s"], line["at_young_daly"])
                axes.plot(*place, marker="D", color=drawn.get_color(), markerfacecolor="none")
        axes.axvline(snapshot_interval_s(), color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks(
            [5, 10, 30, 60, 120, 300, 600], ["5", "10", "30", "60", "120", "300", "600"]
        )
        axes.minorticks_off()
        axes.set_xlabel("seconds between snapshots")
        axes.set_title(title, fontsize=10)
    figure.axes[0].set_ylabel("effective training time / total")
    figure.axes[0].set_ylim(0, 1.02)
    figure.axes[0].legend(title="a kill every", fontsize=8, loc="lower left")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, simulate, check with real kills, print and draw."""
    options = parse_options(sys.argv[1:])
    share_cpus_well()
    # Not at the top: the processes that are killed import this file again as they start.
    from goodput_inputs import costs_of, real_kills, snapshot_costs, start_costs

    with tempfile.TemporaryDirectory() as home, embedded_store(Path(home)) as settings:
        folders = [Path(home) / name for name in ("snapshots", "starts", "kills")]
        for folder in folders:
            folder.mkdir()
        snapshots = snapshot_costs(options, settings, folders[0])
        starts = start_costs(options, settings, folders[1])
        real = real_kills(options, settings, folders[2], snapshots)
    results = {
        "snapshots": snapshots,
        "starts_s": starts,
        "measured": curves(costs_of(snapshots, starts["same node"]["median"], 0.0)),
        "assumed": curves(ASSUMED),
        "real_kills": real,
    }
    for kind in ("measured", "assumed"):
        print(f"{kind}: {results[kind]['costs']}\n\n{as_table(results[kind])}")
    headers = ["interval, s", "mean life, s", "kills", "goodput", "by the model"]
    rows = [
        [
            *(f"{p[name]:g}" for name in ("interval_s", "mtbf_s", "kills")),
            *(format_percent(p[name], 1) for name in ("goodput", "modelled")),
        ]
        for p in real
    ]
    print(table(headers, rows))
    draw_goodput(results, options.figure)
    write_results("goodput", options=vars(options), results=results, folder=options.results)


if __name__ == "__main__":
    main()
