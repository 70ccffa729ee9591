"""What a plan's rule says, set against its stages: a text beside other numbers says what is not so.

A plan that was made here says what it is. One whose configuration was edited afterwards may not:
pipelines that were compiled before the plan was a constant had all of it in a parameter.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from accrete.config.plan import (
    Plan,
    parse_alpha,
    parse_sizes,
    sizes_by_alpha,
    sizes_by_increment,
)
from accrete.config.sweep import Sweep
from accrete.errors import PlanError

MAX_SHOWN = 200
"""Characters of a rule at most where it is beside other things; a list may have thousands."""

_ALPHA = re.compile(r"alpha = ([0-9./e+-]+) from ([0-9]+) classes")
_INCREMENT = re.compile(r"([0-9]+) classes a stage from ([0-9]+)")
_LIST = "the list "
_KNOWN = re.compile(
    r"alpha = auto: least cost by .+|.+, [0-9]+ classes, and [0-9]+ more", re.DOTALL
)
"""Rules that no sizes follow from alone: of least cost, and of what a model is extended by."""

_AGAINST = ", against from scratch"


def shown_rule(rule: str) -> str:
    """Return a rule for a line of text: whole, or its beginning."""
    return rule if len(rule) <= MAX_SHOWN else f"{rule[:MAX_SHOWN]}…"


def true_rule(rule: str, stage_sizes: Sequence[int], class_images: Sequence[int]) -> str:
    """Return a rule if stages of these sizes follow it, else what they are: a list.

    Of rules that are no arithmetic (`alpha = auto`, an extension's) nothing can be told.

    Args:
        rule: as a plan has it; of a form that nothing here makes, it is somebody's own words.
        stage_sizes: n_j.
        class_images: training images of each class, in class order.
    """
    promised = _promised(rule, class_images)
    if promised == tuple(stage_sizes) or (promised is None and _KNOWN.match(rule)):
        return rule
    return _LIST + ",".join(map(str, stage_sizes))


def _promised(rule: str, class_images: Sequence[int]) -> tuple[int, ...] | None:
    """Return the sizes that a rule leads to, None where it does not tell; none: it cannot be."""
    try:
        if match := _ALPHA.fullmatch(rule):
            return sizes_by_alpha(class_images, int(match[2]), parse_alpha(match[1]))
        if match := _INCREMENT.fullmatch(rule):
            return sizes_by_increment(len(class_images), int(match[2]), int(match[1]))
        if rule.startswith(_LIST):
            return parse_sizes(rule.removeprefix(_LIST))
    except PlanError:
        return ()
    return None


def with_true_rule(plan: Plan) -> Plan:
    """Return a plan whose rule says what its stages are."""
    return replace(plan, rule=true_rule(plan.rule, plan.stage_sizes, plan.class_images))


def sweep_with_true_rule(sweep: Sweep) -> Sweep:
    """Return a sweep whose rule says what its staged cells are; a study's is no plan's."""
    plan, against, rest = sweep.rule.partition(_AGAINST)
    staged = {cell.stage_sizes for cell in sweep.cells if cell.kind == "staged"}
    if not against or len(staged) != 1:
        return sweep
    rule = true_rule(plan, staged.pop(), sweep.class_images)
    return replace(sweep, rule=f"{rule}{against}{rest}")
