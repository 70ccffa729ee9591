"""Variables that are nearly ours: a misspelt one would have no effect, and nobody would know."""

import click

from accrete.cli._adapter import ENV_PREFIX, variables
from accrete.cli._options import RunOptions
from accrete.core.environment import unknown_variables
from accrete.core.settings import environment_names
from accrete.errors import ConfigError


def check_environment() -> None:
    """Refuse a variable that is nearly one of ours, and tell of others that nothing reads.

    Raises:
        ConfigError: names the one that was meant.
    """
    names = environment_names()
    known = variables(RunOptions)
    if not unknown_variables(names, known):
        return
    from accrete.cli._plan import PlanCommandOptions
    from accrete.cli.extend import ExtendOptions
    from accrete.cli.main import accrete
    from accrete.cli.study import StudyOptions
    from accrete.cli.sweep import CompareOptions
    from accrete.cli.watch import WatchOptions

    known |= variables(PlanCommandOptions, CompareOptions, StudyOptions, ExtendOptions)
    known |= variables(WatchOptions)
    for command in accrete.commands.values():
        if "auto_envvar_prefix" in command.context_settings:
            options = [each for each in command.params if isinstance(each, click.Option)]
            known |= {f"{ENV_PREFIX}_{option.name}".upper() for option in options}
    for name, near in unknown_variables(names, known):
        if near is not None:
            raise ConfigError(f"{name} is no variable of accrete: did you mean {near}?")
        click.echo(f"warning: {name} is no variable of accrete, and has no effect", err=True)
