"""Where --data is: one place is one run, and a cluster is not sent to this machine's folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from accrete_pipelines import incremental
from click.testing import CliRunner, Result
from conftest import ROOT
from source_sample import write_files

from accrete.cli._location import normalized_location, refuse_local_data
from accrete.cli._request import source_of
from accrete.cli.extend import extend_command
from accrete.cli.run import compile_command, run_command
from accrete.cli.study import study_command
from accrete.cli.sweep import compare_command
from accrete.config.run import SourceConfig
from accrete.core.options import Given
from accrete.errors import ConfigError

CLUSTER = ("--endpoint", "http://127.0.0.1:1")


def given(**values: Any) -> Given[SourceConfig]:
    """Return options as a user types them."""
    return Given(SourceConfig, values, frozenset(values))


def never(_request: object) -> object:
    raise AssertionError("a pipeline was built")


def refused(result: Result) -> str:
    """Return what a command says that must not begin."""
    assert isinstance(result.exception, ConfigError), result.exception
    return str(result.exception)


@pytest.mark.parametrize("spelling", ["photos", "photos/", "./photos", "photos//", ".//photos/."])
def test_a_folder_is_one_place_however_it_is_written(spelling: str) -> None:
    assert source_of(given(kind="imagefolder", location=spelling)).location == "photos"


@pytest.mark.parametrize("spelling", ["s3://bucket/p", "s3://bucket/p/", "s3://bucket/p//"])
def test_a_prefix_is_one_place_however_it_is_written(spelling: str) -> None:
    assert source_of(given(kind="parquet", location=spelling)).location == "s3://bucket/p"


@pytest.mark.parametrize(
    ("spelling", "location"),
    [
        ("~/photos/", "~/photos"),
        ("./~photos", "./~photos"),  # a folder, and no user's home
        ("a/../photos", "a/../photos"),  # `a` may be a link
        ("/photos/", "/photos"),
        ("./", "."),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
    ],
)
def test_what_a_place_means_stays(spelling: str, location: str) -> None:
    assert normalized_location(spelling) == location


@pytest.mark.parametrize("address", ["https://host/photos", "gs://b/p", "S3://b/p"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=f"--data is '{address}': give a local folder or file"):
        normalized_location(address)


def test_what_lies_at_a_place_tells_its_kind(tmp_path: Path) -> None:
    write_files(tmp_path, {"cat/1.png": 1, "dog/1.png": 2})
    assert source_of(given(location=str(tmp_path))).kind == "imagefolder"
    with pytest.raises(ConfigError, match="--config has no effect on --source imagefolder"):
        source_of(given(location=str(tmp_path), subset="en"))
    of_all = Given(SourceConfig, {"location": str(tmp_path), "subset": "en"}, frozenset())
    assert source_of(of_all).subset is None  # a variable holds for all runs


def test_digits_lie_nowhere() -> None:
    with pytest.raises(ConfigError, match="--data has no effect on --source digits: leave it out"):
        source_of(given(kind="digits", location="photos"))
    variable = Given(SourceConfig, {"kind": "digits", "location": "/x"}, frozenset({"kind"}))
    assert source_of(variable) == source_of(Given(SourceConfig)) == SourceConfig(kind="digits")


@pytest.mark.parametrize(
    ("location", "command"),
    [
        (
            "photos/",
            "`accrete data push photos/ s3://BUCKET/photos`, then --data s3://BUCKET/photos",
        ),
        ("/a/b c", "`accrete data push '/a/b c' 's3://BUCKET/b c'`, then --data 's3://BUCKET/b c'"),
        ("~/my photos", "`accrete data push ~/'my photos' 's3://BUCKET/my photos'`"),
        ("..", "`accrete data push .. s3://BUCKET/images`"),
    ],
)
def test_a_local_place_is_refused_for_a_cluster_with_what_to_do(
    location: str, command: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_local_data(given(location=location))
    assert str(caught.value).startswith(f"--data {location} is a place on this machine")
    assert command in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{}, {"location": "s3://bucket/p"}, {"kind": "digits"}, {"kind": "digits", "location": "/x"}],
)
def test_what_pods_can_read_is_no_place_on_this_machine(options: dict[str, str]) -> None:
    refuse_local_data(given(**options))


@pytest.mark.parametrize("kind", ["imagefolder", "cifar10"])
@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (run_command, CLUSTER),
        (compare_command, CLUSTER),
        (study_command, ("increments", "--initial", "2", "--add", "1", *CLUSTER)),
        (extend_command, ("some-run", *CLUSTER)),
        (compile_command, ("-o", "out.yaml")),
    ],
)
def test_no_command_takes_a_local_place_to_a_cluster(
    make: Callable[[Any], click.Command], arguments: tuple[str, ...], kind: str
) -> None:
    # Neither the store nor the folder is there: nothing was asked of them.
    options = (*arguments, "--source", kind, "--data", "nowhere/")
    said = refused(CliRunner().invoke(make(never), options))
    assert said.startswith("--data nowhere/ is a place on this machine")


def test_kfp_does_not_compile_a_local_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCRETE_SOURCE", "parquet")
    monkeypatch.setenv("ACCRETE_DATA", "cifar100/")
    with pytest.raises(ConfigError, match="--data cifar100/ is a place on this machine"):
        incremental.__getattr__("incremental")


def test_a_run_here_reads_a_local_place(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    options = ("--source", "imagefolder", "--data", str(tmp_path / "empty"), "--gpus", "0")
    environment = {"ACCRETE_HOME": str(tmp_path), "ACCRETE_S3_ENDPOINT": "http://127.0.0.1:1"}
    environment |= {"ACCRETE_S3_ACCESS_KEY": "x", "ACCRETE_S3_SECRET_KEY": "x"}
    result = CliRunner().invoke(run_command(never), options, env=environment)
    assert "holds no image" in str(result.exception)


def test_extending_takes_images_that_were_named() -> None:
    said = refused(CliRunner().invoke(extend_command(never), ["some-run", "--gpus", "0", *CLUSTER]))
    assert said == "extend needs the images of the new classes: give --data, or --source digits"
    said = refused(CliRunner().invoke(extend_command(never), [*CLUSTER]))
    assert said == "extend needs one model: a run's name, or --weights FILE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "torchvision:nonsense"], "model is 'torchvision:nonsense', which torchvision"),
        (["--model", "torchvision:vit_b_16", "--image-size", "64"], "takes 224x224 px: give --im"),
    ],
)
def test_weights_of_no_network_are_refused_before_they_are_read(
    options: list[str], message: str
) -> None:
    weights = ["--weights", "nowhere.pth", "--source", "digits", *CLUSTER]
    said = refused(CliRunner().invoke(extend_command(never), [*weights, *options]))
    assert message in said


def test_pages_show_no_cluster_with_a_local_place() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "pipelines").glob("*.py")]
    for page in pages:
        for line in page.read_text().replace("\\\n", " ").splitlines():
            if "--data " in line and ("--endpoint" in line or "accrete compile" in line):
                assert "--data s3://" in line, f"{page}: {line}"
