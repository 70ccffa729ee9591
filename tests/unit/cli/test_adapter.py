"""Options from the fields that declare them: values, what was given, what has no effect."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import click
import pytest
from click.testing import CliRunner

from accrete.cli._adapter import ENV_PREFIX, Group, _placed, takes
from accrete.cli._options import RunOptions
from accrete.cli._plan import PlanCommandOptions
from accrete.cli.extend import ExtendOptions
from accrete.cli.study import StudyOptions
from accrete.cli.sweep import CompareOptions
from accrete.core.options import Given, Option, numbers
from accrete.errors import ConfigError

ALL = (RunOptions, CompareOptions, StudyOptions, ExtendOptions, PlanCommandOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fruit:
    """Fields of each kind."""

    kind: Annotated[str, Option("Which.", choices=("apple", "pear"), default="apple")]
    weight: Annotated[float, Option("In grams.", metavar="G")] = 100.0
    sizes: Annotated[
        tuple[int, ...] | None, Option("Of each.", parse=numbers(int, "sizes", "1,2"))
    ] = None
    labels: Annotated[
        tuple[str, ...], Option("May be repeated.", flag="label", repeated=True, parse=str)
    ] = ()
    is_ripe: Annotated[bool, Option("Or not.", flag="ripe", off="unripe")] = True
    cut: Annotated[bool, Option("In pieces.", needs=(("kind", ("apple",)),))] = False
    names: Annotated[tuple[str, ...] | None, Option("Names.", reads="names")] = None
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Picking:
    """One of three ways."""

    by_hand: Annotated[int | None, Option("Hands.", excludes=("by-machine",))] = None
    by_machine: Annotated[int | None, Option("Machines.")] = None
    by_magic: Annotated[int | None, Option("Wands.", excludes=("by-hand", "by-machine"))] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of a command."""

    fruit: Annotated[Given[Fruit], Group("Fruit", {"a": Fruit(kind="apple")})]
    picking: Annotated[Picking, Group("Picking")]


def given(*arguments: str, **environment: str) -> tuple[Options, str]:
    """Return what a command gets, with an argument of its own."""
    got: list[Any] = []

    @click.command(context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.argument("farm")
    @takes(Options)
    def pick(options: Options, farm: str) -> None:
        got.append((options, farm))

    variables = {f"{ENV_PREFIX}_{name}": value for name, value in environment.items()}
    result = CliRunner().invoke(pick, ["home", *arguments], env=variables, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    options, farm = got[0]
    assert isinstance(options, Options)
    return options, farm


def test_what_is_not_given_is_the_dataclass_s_own() -> None:
    options, farm = given()
    assert farm == "home"
    assert options.picking == Picking()
    assert options.fruit.values == {}
    assert options.fruit.over(Fruit(kind="pear", weight=3.0)) == Fruit(kind="pear", weight=3.0)


def test_what_is_given_has_its_type_and_lies_over_other_defaults(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("x\ny\n")
    options, _ = given(
        *("--weight", "2", "--sizes", "3,4", "--label", "p", "--label", "q", "--unripe"),
        *("--names", str(path)),
        KIND="pear",
        BY_HAND="2",
    )
    assert options.fruit.over(Fruit(kind="apple", seed=8)) == Fruit(
        kind="pear",
        weight=2.0,
        sizes=(3, 4),
        labels=("p", "q"),
        is_ripe=False,
        names=("x", "y"),
        seed=8,
    )
    assert "kind" in options.fruit
    assert options.fruit.typed == {"weight", "sizes", "labels", "is_ripe", "names"}
    assert "names" not in options.fruit.without({"names"})
    assert options.picking.by_hand == 2


def test_list_of_no_numbers_is_told_with_an_example() -> None:
    with pytest.raises(ConfigError, match="sizes are '3,x': give a list such as 1,2"):
        given("--sizes", "3,x")


def test_options_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="--by-hand and --by-machine exclude each other"):
        given("--by-hand", "1", "--by-machine", "2")
    with pytest.raises(ConfigError, match="ACCRETE_BY_HAND and ACCRETE_BY_MACHINE are set"):
        given(BY_HAND="1", BY_MACHINE="2")


def test_what_is_typed_wins_over_a_variable_that_it_excludes() -> None:
    options, _ = given("--by-machine", "2", BY_HAND="1")
    assert options.picking == Picking(by_machine=2)


def test_option_without_effect_is_refused() -> None:
    assert given("--cut", "--kind", "apple")[0].fruit.values == {"cut": True, "kind": "apple"}
    with pytest.raises(ConfigError, match="--cut has no effect without --kind apple: leave it out"):
        given("--cut", "--kind", "pear")


def test_variable_without_effect_stays_so_as_it_holds_for_all_commands() -> None:
    assert given("--kind", "pear", CUT="1")[0].fruit.values == {"kind": "pear", "cut": True}
    assert given(CUT="1", KIND="pear")[0].fruit.typed == frozenset()


def test_of_three_that_exclude_each_other_the_typed_one_counts() -> None:
    options, _ = given("--by-magic", "3", BY_HAND="1", BY_MACHINE="2")
    assert options.picking == Picking(by_magic=3)


@pytest.mark.parametrize("kind", ALL)
def test_every_option_names_options_that_there_are(kind: type) -> None:
    """What stands in annotations no type checker reads."""
    placed = list(_placed(kind))
    everywhere = {each.field.flag for command in ALL for each in _placed(command)}
    assert len({each.param for each in placed}) == len(placed)
    for each in placed:
        option = each.field.option
        assert isinstance(option.excludes, tuple)
        assert isinstance(option.needs, tuple)
        assert isinstance(option.choices, tuple)
        assert option.help.endswith(".") or option.help.endswith(")")
        for flag in option.excludes:
            assert flag in everywhere
            others = [other for other in placed if other.field.flag == flag]
            assert not any(each.field.flag in other.field.option.excludes for other in others)
        for flag, wanted in option.needs:
            assert flag in everywhere
            assert isinstance(wanted, tuple)
