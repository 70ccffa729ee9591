"""docs/options.md: every option of every command, and every variable, from where they are declared.

    python tools/options_page.py > docs/options.md

`make golden` writes it; a test compares.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import click

from accrete.cli._adapter import ENV_PREFIX
from accrete.cli.main import accrete
from accrete.core.environment import VARIABLES

_FROM_TYPED = ("gc", "forget", "ls", "show", "life", "verify", "doctor", "data push")
"""Commands whose options come from no variable: one that deletes or replaces must be typed."""

_HEAD = """# Options and variables

Every option of every command, and what else the environment says; written from where they are
declared (`make golden`). What is typed wins over a variable, since variables hold for all commands:
of two options that exclude each other, the typed one counts. What would have no effect is refused
if it was typed, and so is a variable that is nearly one of these (`ACCRETE_ALPA`).
"""


@dataclass(frozen=True)
class Row:
    """An option as a command has it."""

    heading: str
    """That it stands under in the command's help."""
    option: str
    variable: str
    help: str
    default: str


def rows() -> dict[Row, list[str]]:
    """Return each distinct option with the commands that have it."""
    found: dict[Row, list[str]] = {}
    for name, command in commands_of(accrete):
        for option in command.params:
            # A group's heading is an option without names to click.
            if isinstance(option, click.Option) and option.help and option.opts:
                found.setdefault(_row(option, name), []).append(name)
    return found


def commands_of(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its name, those of groups as `data push`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in commands_of(command))
        else:
            yield name, command


def _row(option: click.Option, command: str) -> Row:
    names = "/".join([*option.opts[:1], *option.secondary_opts])
    value = "" if option.is_flag else f" {option.metavar or _metavar(option)}"
    text, _, default = (option.help or "").rstrip("]").partition(" [default: ")
    if not default and option.show_default and option.default not in (None, False):
        default = str(option.default)
    variable = "" if command in _FROM_TYPED else f"{ENV_PREFIX}_{option.name}".upper()
    group = getattr(option, "group", None)
    return Row(group.name if group else "Others", f"{names}{value}", variable, text, default)


def _metavar(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return option.type.name.upper()


def page() -> Iterator[str]:
    """Yield the page's lines."""
    yield _HEAD
    sections: dict[str, list[tuple[Row, list[str]]]] = {}
    for row, commands in rows().items():
        sections.setdefault(row.heading, []).append((row, commands))
    for heading in sorted(sections, key=lambda heading: heading == "Others"):
        yield f"## {heading}\n"
        yield "| option | variable | what it sets | default | commands |"
        yield "| --- | --- | --- | --- | --- |"
        for row, commands in sections[heading]:
            variable = row.variable and f"`{row.variable}`"
            yield _line(f"`{row.option}`", variable, row.help, row.default, ", ".join(commands))
        yield ""
    yield "## Other variables\n"
    yield "| variable | what it says | without it |"
    yield "| --- | --- | --- |"
    for each in VARIABLES:
        yield _line(f"`{each.name}`", each.help, each.default)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    print("\n".join(page()))
