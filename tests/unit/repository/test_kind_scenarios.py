"""What the tests on a kind cluster submit is what the commands take: options change."""

import click
import pytest
from kind_scenarios import SCENARIOS, SMALL

from accrete.cli.main import accrete


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_s_options_exist_and_have_values_of_their_kind(scenario: str) -> None:
    verb, *own = SCENARIOS[scenario]
    command = accrete.get_command(click.Context(accrete), verb)
    assert command is not None
    arguments = [
        *(["old-run"] if verb == "extend" else []), *SMALL, *own,
        "--image", "a:1", "--gpus", "1", "--seed", "7", "--endpoint", "http://127.0.0.1:1",
        "--name", "kind-0", "--only-classes", "names.txt",
    ]  # fmt: skip
    with command.make_context(verb, arguments) as context:
        assert context.args == []
    with pytest.raises(click.NoSuchOption):
        command.make_context(verb, [*arguments, "--no-such-option"])
