"""Options without effect beside others, or where the run goes: refused before anything starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from accrete.cli import _placement
from accrete.cli._options import SpotOption
from accrete.cli._placement import make_placement
from accrete.cli._plan import EqualClasses
from accrete.cli.main import accrete
from accrete.cli.run import run_command
from accrete.cli.study import study_command
from accrete.cli.sweep import compare_command
from accrete.config.contestants import CONTESTANTS
from accrete.config.placement import Placement
from accrete.config.run import SourceConfig
from accrete.core.options import Given, option_fields
from accrete.errors import ConfigError

RUN: Callable[[Any], click.Command] = run_command


def refusal(command: click.Command, *arguments: str, **environment: str) -> str:
    """Return what a command says that must not begin."""
    result = CliRunner().invoke(command, list(arguments), env=environment)
    assert isinstance(result.exception, ConfigError), result.exception
    return str(result.exception)


def never(_request: object) -> object:
    raise AssertionError("a pipeline was built")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "1,2", "--budget-epochs", "3"], "--epochs and --budget-epochs exclude"),
        (["--source", "digits", "--data", "x"], "--data has no effect on --source digits"),
        (["--image-column", "x"], "--image-column has no effect without --source imagefolder"),
        (["--order-seed", "1", "--class-order", "x"], "--order-seed and --class-order exclude"),
        (["--weights-sha256", "ab"], "--weights-sha256 has no effect without --weights"),
        (["--max-stages", "3"], "--max-stages has no effect without --alpha auto"),
        (["--stage-seconds", "3"], "--stage-seconds has no effect without --alpha auto or --costs"),
        (["--images-per-second", "3"], "--images-per-second has no effect without --stage-seconds"),
        (
            ["--resubmit", "2", "--endpoint", "http://h"],
            "--resubmit has no effect without --watch: leave it out",
        ),
        (["--step-overhead", "3"], "--step-overhead has no effect on a run on this machine"),
        (["--max-steps", "3"], "--max-steps has no effect on a run on this machine"),
        (["--stages", "10", "--replay", "0.5"], "--replay has no effect where no stage adds"),
        (["--node-wait", "100"], "--node-wait has no effect without --nodes"),
        (["--initial", "2", "--stages", "2,8"], "--initial and --stages exclude each other"),
        (["--source", "cifar10", "--data", "x", "--test-fraction", "0.1"], "--test-fraction has"),
        (["--on-bad-image", "skip"], "--on-bad-image has no effect without --source imagefolder"),
        (["--exclude", "x"], "--exclude has no effect without --source imagefolder or"),
        (["--class-level", "2"], "--class-level has no effect without --source imagefolder or"),
        (["--source", "digits", "--config", "x"], "--config has no effect without --source csv"),
        (["--gpu-label", "x", "--endpoint", "http://h"], "--gpu-label has no effect without --gpu"),
        (["--watch"], "--watch has no effect on a run on this machine: leave it out, or submit"),
        (["--store-ca", "x"], "--store-ca has no effect on a run on this machine"),
        (["--node-selector", "a=b"], "--node-selector has no effect on a run on this machine"),
        (["--spot"], "--spot has no effect on a run on this machine"),
        (["--cpu", "2"], "--cpu has no effect on a run on this machine"),
        (["--image", "x"], "--image has no effect without --runner docker or --endpoint"),
        (["--nodes", "2"], "--nodes 2: a run on this machine has one node; leave it out"),
        (["--nodes", "auto"], "--nodes auto: a run on this machine has one node"),
        (["--endpoint", "http://h", "--runner", "docker"], "--runner has no effect on a run that"),
    ],
)
def test_option_without_effect_is_refused(arguments: list[str], message: str) -> None:
    assert refusal(RUN(never), *arguments).startswith(message)


def test_other_commands_refuse_it_too() -> None:
    assert refusal(compare_command(never), "--spot").startswith("--spot has no effect on a run")


@pytest.mark.parametrize(("num_gpus", "has"), [(0, "no GPU"), (1, "1 GPU")])
def test_more_gpus_than_this_machine_has_are_refused(
    num_gpus: int, has: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_placement, "gpus_here", lambda: num_gpus)
    for asked in ("2", "1,2", *(() if num_gpus else ("auto:2",))):
        said = refusal(RUN(never), "--gpus", asked)
        assert said.startswith(f"--gpus {asked}: this machine has {has}; leave it out, or submit")


@pytest.mark.parametrize(
    ("variable", "num_gpus", "gpus"),
    [
        ({"gpus": (0,)}, 1, 0),
        ({"gpus": (2,)}, 2, 2),
        ({"gpus": (4,)}, 1, 1),
        ({"gpus": (4,)}, 0, 0),
    ],
)
def test_variable_s_gpus_count_where_they_are(
    variable: dict[str, Any], num_gpus: int, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_placement, "gpus_here", lambda: num_gpus)
    placement = make_placement(Given(Placement, variable), Given(SpotOption), local=True)
    assert placement.gpus == (gpus,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["increments", "--budgets", "1"], "--budgets has no effect on increments"),
        (["lifecycle", "--initial", "2"], "--initial has no effect on lifecycle"),
        (
            ["lifecycle", "--budget-epochs", "2"],
            "--budget-epochs has no effect on lifecycle, whose",
        ),
        (
            ["lifecycle", "--validation-fraction", "0"],
            "--validation-fraction is 0, but a lifecycle",
        ),
        (
            ["lifecycle", "--replay", "0.5"],
            "--replay has no effect on lifecycle, whose contestants",
        ),
        (
            ["lifecycle", "--stop-patience", "2"],
            "--stop-patience has no effect on lifecycle, which measures what whole budgets",
        ),
        (["lifecycle", "--contestants", "extend,best"], "contestant is 'best': choose one of"),
        (["lifecycle", "--contestants", "scratch"], "there is no contestant beside scratch"),
        (["lifecycle", "--schedules", "2*6"], "schedule 2*6 needs 12 classes, but there are 10"),
        (["lifecycle", "--schedules", "2,x"], "schedule '2,x' has 'x': give classes, or"),
        (["lifecycle", "--schedules", "10"], "schedule 10 has no arrival"),
        (["lifecycle", "--schedules", "5,5/5*2"], "schedule 5*2 is there twice"),
        (["lifecycle", "--budgets", "0"], "budgets is 0"),
        (["lifecycle", "--scratch-epochs", "many"], "scratch epochs are 'many'"),
        (["lifecycle", "--seeds", "0"], "seeds is 0"),
        (["lifecycle", "--total", "2"], "a life of 2 classes has no arrival"),
        (["lifecycle", "--arrival-lr", "0"], "lr is 0"),
    ],
)
def test_a_study_refuses_what_is_no_life_or_no_part_of_it(arguments: list[str], words: str) -> None:
    said = refusal(study_command(never), *arguments, "--endpoint", "http://127.0.0.1:1")
    assert said.startswith(words)


def test_the_help_names_every_contestant() -> None:
    (option,) = (each for each in study_command(never).params if each.name == "contestants")
    names = ", ".join(each.name for each in CONTESTANTS)
    assert f"some of {names}." in str(getattr(option, "help", ""))


@pytest.mark.parametrize("purpose", ["convergence", "increments"])
def test_study_refuses_what_its_purpose_does_not_use(purpose: str) -> None:
    study = study_command(never)
    unused = {
        "increments": ["--max-epochs", "3"],
        "convergence": ["--budget-epochs", "3"],
    }[purpose]
    # A study's recipe is looked at when its source is read: digits are at hand.
    arguments = [purpose, "--initial", "2", "--add", "1", *unused]
    said = refusal(study, *arguments, "--endpoint", "http://127.0.0.1:1")
    assert said.startswith(f"{unused[0]} has no effect on {purpose}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "small", "--bn-after-relu"], "--bn-after-relu has no effect on small"),
        (["--model", "torchvision:resnet18", "--width", "2"], "--width has no effect on torchv"),
        (
            ["--model", "torchvision:resnet19"],
            "model is 'torchvision:resnet19', which torchvision d",
        ),
        (
            ["--model", "torchvision:squeezenet1_1"],
            "model torchvision:squeezenet1_1 ends in a conv",
        ),
        (["--model", "vgg19"], "model vgg19 takes at least 16x16 px: give --image-size 16 or more"),
        (["--model", "torchvision:vit_b_16"], "model torchvision:vit_b_16 takes 224x224 px: give"),
        (
            ["--model", "vgg19", "--image-size", "32", "--image-sides", "8,8,32,32"],
            "--image-sides has 8, but model vgg19 takes no smaller images than 16x16 px",
        ),
        (["--costs", "x.json"], "--costs has no effect without --alpha auto"),
    ],
)
def test_option_of_another_network_or_plan_is_refused(arguments: list[str], message: str) -> None:
    compile_ = accrete.get_command(click.Context(accrete), "compile")
    assert compile_ is not None
    assert refusal(compile_, "-o", "x.yaml", *arguments).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "0", "--gpu-kind", "X"], "--gpu-kind has no effect on steps without GPUs"),
        (["--gpus", "2", "--nodes", "1", "--node-wait", "99"], "--node-wait has no effect on st"),
        (["--gpus", "2", "--nodes", "2", "--cache-claim", "c"], "--cache-claim has no effect on"),
        (["--store", "http://x"], "store is 'http://x': give s3://bucket or s3://bucket/prefix"),
        (["--store", ""], "store is '': give s3://bucket"),
        (["--name", ""], "run name is '': use at most 63 of a-z"),
        (["--cpu", "٤"], "CPU of a training step is '٤'"),
        (["--shared-memory", "١Gi"], "size of /dev/shm is '١Gi'"),
    ],
)
def test_value_that_no_pod_could_have_is_refused(arguments: list[str], message: str) -> None:
    compile_ = accrete.get_command(click.Context(accrete), "compile")
    assert compile_ is not None
    assert refusal(compile_, "-o", "x.yaml", *arguments).startswith(message)


def test_variables_hold_for_runs_that_they_have_no_effect_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        **{
            "SOURCE": "digits",
            "DATA": "/x",
            "GPUS": "4",
            "NODES": "2",
            "NODE_WAIT": "100",
            "GPU_LABEL": "x/y",
        },
        **{"MAX_STAGES": "4", "COSTS": "x", "STORE_CA": "ca", "BN_AFTER_RELU": "1", "WATCH": "1"},
    }.items():
        monkeypatch.setenv(f"ACCRETE_{name}", value)
    monkeypatch.setattr(_placement, "gpus_here", lambda: 0)
    result = CliRunner().invoke(RUN(never), ["--stages", "1,2"])  # digits have ten classes
    assert "the stages add 3 classes but there are 10" in str(result.exception)


def test_plan_takes_counts_or_a_source(tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    counts.write_text('{"a": 10, "b": 10}')
    plan = accrete.commands["plan"]
    said = refusal(plan, "--counts", str(counts), "--source", "digits")
    assert said == "--source has no effect beside --counts: leave it out"
    everything = {each.flag for each in option_fields(SourceConfig)} | {"counts", "dataset"}
    assert {*option_fields(EqualClasses)[0].option.excludes} == everything


def test_plan_for_equal_classes_has_no_source() -> None:
    plan = accrete.commands["plan"]
    said = refusal(plan, "--classes", "10", "--source", "parquet")
    assert said == "--classes and --source exclude each other: give one"
    said = refusal(plan, "--images-per-class", "10")
    assert said == "--images-per-class has no effect without --classes: leave it out"
