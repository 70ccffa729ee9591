"""click's options from the fields that declare them (`core/options.py`), and values from click's.

What is typed wins over a variable ACCRETE_…, since variables hold for all commands: of two options
that exclude each other the typed one counts, and what has no effect is refused if it was typed.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click_option_group import optgroup

from accrete.config.classes import parse_order
from accrete.core.options import Given, OptionField, option_fields
from accrete.core.untrusted import read_small_file
from accrete.errors import ConfigError, PlanError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

ENV_PREFIX = "ACCRETE"
"""Every option can come from a variable: --alpha from ACCRETE_ALPHA."""

_PLAIN = (int, float, str)


@dataclass(frozen=True, slots=True)
class Group:
    """Options under one heading of a command's help: those of one dataclass."""

    title: str
    """The heading; groups of one title stand under it together."""
    bases: Mapping[str, Any] = field(default_factory=dict)
    """Where the defaults differ by another option: what they are, by its value."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Default in words of fields for which the command has one of its own."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """An option in its place: a command's group."""

    field: OptionField
    part: str
    """Field of the command's options that holds the dataclass of this one."""
    group: Group

    @property
    def param(self) -> str:
        """What click calls it."""
        return self.field.flag.replace("-", "_")


def takes(kind: type, place: str | None = None) -> Callable[[F], F]:
    """Return a decorator that gives a command a dataclass's options, and the function their value.

    Args:
        kind: a dataclass whose fields are dataclasses of options, or `Given` ones of such, each
            annotated with its `Group`; the function gets it as `options`, and what else the
            command has by name.
        place: an argument of the command that stands for an option, of which it has the name with
            `_place` behind it; None: there is none.
    """
    placed = list(_placed(kind))
    own = {each.param for each in placed}

    def decorate(function: F) -> F:
        @click.pass_context
        @functools.wraps(function)
        def command(context: click.Context, /, **params: Any) -> Any:
            if place is not None and params.get(f"{place}_place") is not None:
                if context.params.get(place) is not None:
                    raise ConfigError(f"{_flag(place)} is given twice: give it once")
                context.params[place] = params[f"{place}_place"]
                context.set_parameter_source(place, ParameterSource.COMMANDLINE)
            others = {name: value for name, value in params.items() if name not in own}
            return function(options=read(kind, context), **others)

        decorated: Any = command
        titles = list(dict.fromkeys(each.group.title for each in placed))
        for title in reversed(titles):
            for each in reversed([each for each in placed if each.group.title == title]):
                decorated = _click_option(each)(decorated)
            decorated = optgroup.group(title)(decorated)
        return typing.cast(F, decorated)

    return decorate


def read(kind: type[T], context: click.Context) -> T:
    """Return the options that a command was given.

    Args:
        kind: what the command `takes`.
        context: of the command, its line parsed.

    Raises:
        ConfigError: a value is none, or an option has no effect beside the others.
    """
    placed = list(_placed(kind))
    given = {
        each.param: context.get_parameter_source(each.param) == ParameterSource.COMMANDLINE
        for each in placed
        if context.params.get(each.param) not in (None, ())
    }
    given = _without_excluded(placed, given)
    values = _defaults(placed) | {name: context.params[name] for name in given}
    for each in placed:
        if given.get(each.param):
            _check_effect(each, placed, given, values)
    parts: dict[str, dict[str, Any]] = {each.part: {} for each in placed}
    for each in placed:
        if each.param in given:
            parts[each.part][each.field.name] = _value(each.field, context.params[each.param])
    typed = {(each.part, each.field.name) for each in placed if given.get(each.param)}
    made = {}
    for name, (cls, is_partial) in _parts(kind).items():
        names = frozenset(each for part, each in typed if part == name)
        made[name] = Given(cls, parts[name], names) if is_partial else cls(**parts[name])
    return kind(**made)


def names_in(path: Path, what: str) -> tuple[str, ...]:
    """Return the class names of a file, one a line.

    Raises:
        PlanError: it cannot be read, or names none or one twice.
    """
    try:
        text = read_small_file(path).decode("utf-8-sig")
    except ValueError as error:
        raise PlanError(f"{what} {path} cannot be read ({error})") from error
    return parse_order(text, str(path))


def _parts(kind: type) -> dict[str, tuple[type, bool]]:
    """Return the dataclass of each part of a command's options, and whether it is `Given`."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        is_partial = typing.get_origin(hint) is Given
        found[name] = (typing.get_args(hint)[0] if is_partial else hint, is_partial)
    return found


def _placed(kind: type) -> Iterator[_Placed]:
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, (cls, _) in _parts(kind).items():
        (group,) = (extra for extra in hints[name].__metadata__ if isinstance(extra, Group))
        for each in option_fields(cls):
            yield _Placed(each, name, group)


def _click_option(placed: _Placed) -> Callable[[Any], Any]:
    option, kind = placed.field.option, placed.field.kind
    names = [f"--{placed.field.flag}" + (f"/--{option.off}" if option.off else "")]
    settings: dict[str, Any] = {"help": help_text(placed.field, placed.group)}
    if option.choices:
        settings["type"] = click.Choice(option.choices)
    elif option.reads or kind is Path:
        settings["type"] = click.Path(path_type=Path)
    elif kind is not bool and not option.parse:
        settings["type"] = kind if kind in _PLAIN and not placed.field.is_tuple else str
    if kind is bool and not option.off:
        settings["is_flag"] = True
    if kind is not bool and not option.choices:
        settings["metavar"] = option.metavar or _metavar(placed.field)
    if option.repeated:
        settings["multiple"] = True
    else:
        settings["default"] = None
    decorator: Callable[[Any], Any] = optgroup.option(*names, **settings)
    return decorator


def _metavar(each: OptionField) -> str:
    if each.option.reads or each.kind is Path:
        return "FILE"
    return {int: "N", float: "X"}.get(each.kind, "NAME")


def help_text(each: OptionField, group: Group) -> str:
    """Return an option's help, with its default."""
    default = group.defaults.get(each.name) or each.option.default
    default = default or _default_text(each, group.bases)
    return f"{each.option.help} [default: {default}]" if default else each.option.help


def _default_text(each: OptionField, bases: Mapping[str, Any]) -> str:
    found = {name: _shown(getattr(base, each.name)) for name, base in bases.items()}
    if len(set(found.values())) > 1:
        return ", ".join(f"{name} {text or 'none'}" for name, text in found.items())
    return next(iter(found.values())) if found else _shown(each.default)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool) or value in ((), dataclasses.MISSING):
        return ""
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _defaults(placed: list[_Placed]) -> dict[str, Any]:
    found = {each.param: each.field.default for each in placed}
    # a field that must be set has its default in words
    words = {e.param: e.field.option.default for e in placed if e.field.option.choices}
    found |= {n: words.get(n) for n, value in found.items() if value is dataclasses.MISSING}
    return {name: value for name, value in found.items() if value is not None}


def _without_excluded(placed: list[_Placed], given: Mapping[str, bool]) -> dict[str, bool]:
    """Return which options were given, without variables that typed ones exclude.

    Raises:
        ConfigError: two that exclude each other are typed, or both are variables.
    """
    pairs = [
        (each.param, flag.replace("-", "_"))
        for each in placed
        for flag in each.field.option.excludes
    ]
    typed = {param for param, is_typed in given.items() if is_typed}
    lost = {one for pair in pairs for one, other in (pair, pair[::-1]) if other in typed}
    left = {param: is_typed for param, is_typed in given.items() if is_typed or param not in lost}
    for one, other in pairs:
        if one in left and other in left:
            where = "" if one in typed else f" ({_variable(one)} and {_variable(other)} are set)"
            raise ConfigError(
                f"{_flag(one)} and {_flag(other)} exclude each other: give one{where}"
            )
    return left


def _check_effect(
    each: _Placed, placed: list[_Placed], given: Mapping[str, bool], values: Mapping[str, Any]
) -> None:
    """Refuse what was typed and has no effect without another option.

    Raises:
        ConfigError: names the other one.
    """
    known = {other.param for other in placed}
    needs = [(flag.replace("-", "_"), wanted) for flag, wanted in each.field.option.needs]
    needs = [(other, wanted) for other, wanted in needs if other in known]
    if needs and not any(
        str(values.get(other)) in wanted if wanted else other in given for other, wanted in needs
    ):
        lacking = " or ".join(f"{_flag(o)} {' or '.join(wanted)}".strip() for o, wanted in needs)
        raise ConfigError(f"{_flag(each.param)} has no effect without {lacking}: leave it out")


def _flag(param: str) -> str:
    return f"--{param.replace('_', '-')}"


def _variable(param: str) -> str:
    return f"{ENV_PREFIX}_{param.upper()}"


def _value(each: OptionField, given: Any) -> Any:
    """Return an option's value from click's."""
    option = each.option
    if option.reads == "names":
        return names_in(given, each.flag.replace("-", " "))
    if option.parse is None:
        return given
    if option.repeated:
        return tuple(option.parse(text) for text in given)
    return option.parse(given)


def variables(*kinds: type) -> set[str]:
    """Return the variables that set options of commands' dataclasses."""
    return {_variable(each.param) for kind in kinds for each in _placed(kind)}
