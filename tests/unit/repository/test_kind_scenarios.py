"""What the tests on a kind cluster submit is what the commands take: options change."""

from pathlib import Path

import click
import pytest
from kind_scenarios import SCENARIOS, SMALL

from accrete.cli._adapter import read
from accrete.cli._options import RunOptions
from accrete.cli._request import make_request
from accrete.cli.main import accrete
from accrete.config.packing import steps_of
from accrete.config.run import RunConfig


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


@pytest.mark.parametrize("scenario", [s for s, (verb, *_) in SCENARIOS.items() if verb == "run"])
def test_each_stage_of_a_scenario_has_a_step_which_is_what_is_harmed(
    scenario: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("\n".join("01234567"))  # of the old classes
    monkeypatch.setenv("ACCRETE_STORE", "s3://accrete")
    command = accrete.get_command(click.Context(accrete), "run")
    assert command is not None
    options = {"--image": "a:1", "--gpus": "1", "--seed": "7", "--name": "kind-0"}
    given = [*SMALL, *SCENARIOS[scenario][1:]]
    if scenario == "old classes":
        given += ["--only-classes", str(tmp_path / "names.txt")]
    given += [each for pair in options.items() if pair[0] not in given for each in pair]
    with command.make_context("run", [*given, "--endpoint", "http://127.0.0.1:1"]) as context:
        request = make_request(read(RunOptions, context), local=False)
    assert isinstance(request.config, RunConfig)
    steps = steps_of(request.config, request.placement, request.packing)
    assert len(steps) == len(request.config.plan.stages)
