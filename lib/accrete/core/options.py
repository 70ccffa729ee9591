"""Options, declared once: on the field of the dataclass that they set, beside its type.

    batch_size: Annotated[int, Option("Images per optimizer step.")] = 128

is the option --batch-size, the variable ACCRETE_BATCH_SIZE and a row of docs/options.md. Knows
nothing of command lines; `cli/_adapter.py` makes click's options of it.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from accrete.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """How users set a field. What its field has is not said again: type, default, name."""

    help: str
    """One or two sentences, with the unit."""
    _: dataclasses.KW_ONLY
    flag: str | None = None
    """Name of the option, such as `data`; None: the field's own."""
    off: str | None = None
    """Of a truth value: the option that says no, such as `reset-momentum`."""
    metavar: str | None = None
    """What stands for the value in the help; None: by the type."""
    choices: tuple[str, ...] = ()
    """The only values; none: any of the type."""
    parse: Callable[[str], Any] | None = None
    """Makes the value of a text, or of each text where there may be several; None: by the type."""
    repeated: bool = False
    """Whether it may be given several times."""
    reads: Literal["names"] | None = None
    """`names`: the option is a file, the value the class names in it, one a line."""
    default: str | None = None
    """The default in words, where it is no constant."""
    excludes: tuple[str, ...] = ()
    """Flags of options that say the same in another way; of two, one has the other's."""
    needs: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What it has no effect without: flags of other options with those of their values that do
    (none: any), of which one must be there."""
    on_cluster: bool = False
    """Whether it has no effect on a run on this machine."""


@dataclass(frozen=True, slots=True)
class OptionField:
    """A field that users can set."""

    name: str
    """Of the field."""
    option: Option
    """How it is set."""
    kind: type
    """`int`, `float`, `bool`, `str`, `Path`, or of each element."""
    is_tuple: bool
    """Whether the value is a tuple of these."""
    default: Any
    """Of the field; dataclasses.MISSING: it has none."""

    @property
    def flag(self) -> str:
        """The option's name without its dashes."""
        return self.option.flag or self.name.replace("_", "-")


def numbers(kind: type[int] | type[float], what: str, example: str) -> Callable[[str], Any]:
    """Return what makes a tuple of numbers of a text such as `3,2,1`.

    Args:
        kind: of each number.
        what: they are, for the error.
        example: of the text.
    """

    def parse(text: str) -> tuple[float, ...]:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise ConfigError(f"{what} are {text!r}: give a list such as {example}") from None

    return parse


def option_fields(cls: type) -> tuple[OptionField, ...]:
    """Return a dataclass's fields that users can set, in their order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for each in dataclasses.fields(cls):
        hint = hints[each.name]
        options = [
            extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Option)
        ]
        for option in options:
            kind, is_tuple = _plain_type(hint.__origin__)
            found.append(OptionField(each.name, option, kind, is_tuple, each.default))
    return tuple(found)


def _plain_type(hint: Any) -> tuple[type, bool]:
    """Return the type of a field without None, of its elements where it is a tuple."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _plain_type(next(arg for arg in typing.get_args(hint) if arg is not type(None)))
    if typing.get_origin(hint) is tuple:
        return _plain_type(typing.get_args(hint)[0])[0], True
    return (hint if isinstance(hint, type) else str), False


@dataclass(frozen=True, slots=True)
class Given(Generic[T]):
    """The fields of a dataclass that a user has set."""

    kind: type[T]
    """The dataclass."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Values by field."""
    typed: frozenset[str] = frozenset()
    """Fields whose option was typed; the others come from variables, which all commands see."""

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def without(self, names: Iterable[str]) -> "Given[T]":
        """Return the same without some fields."""
        left = {name: value for name, value in self.values.items() if name not in set(names)}
        return Given(self.kind, left, self.typed & left.keys())

    def alone(self) -> T:
        """Return the dataclass with its own defaults for the rest.

        Raises:
            ConfigError: a value is outside its range.
        """
        return self.kind(**self.values)

    def over(self, base: T) -> T:
        """Return the dataclass with other defaults for the rest.

        Raises:
            ConfigError: a value is outside its range.
        """
        return dataclasses.replace(base, **self.values)  # type: ignore[type-var]
