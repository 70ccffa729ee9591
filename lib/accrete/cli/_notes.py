"""What commands say beside what they print: lines on standard error, which no program reads."""

import click

from accrete.errors import printable


def note(text: str) -> None:
    """Say something that the user should know."""
    click.echo(f"note: {printable(text)}", err=True)
