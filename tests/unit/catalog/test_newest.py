"""NAME@latest is the end of a run's life, and never a guess."""

import itertools
from collections.abc import Collection

import pytest

from accrete.catalog.manifests import FORMAT
from accrete.catalog.newest import is_latest, newest_run
from accrete.catalog.records import RunRecord
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.plan import Plan
from accrete.config.run import BaseModel, ModelConfig, RunConfig, SourceConfig
from accrete.errors import ConfigError, InputError, RunNotFoundError

IMAGE = ImageFormat(encoding="raw", height=8, width=8, channels=1, preprocessing="none")


def digest(name: str) -> str:
    """Return a digest in which a short name of hexadecimal digits can be seen."""
    return name.ljust(64, "0")


def run(name: str, stages: str, base: str | None = None) -> RunRecord:
    """Return a run of a class a stage; stages and base are named by a letter each."""
    given = 0 if base is None else 2
    names = tuple(f"class {number}" for number in range(given + len(stages)))
    plan = Plan(
        rule="a list",
        class_order=names,
        class_images=(5,) * len(names),
        stage_sizes=(1,) * len(stages),
        num_given=given,
    )
    grown = BaseModel(
        origin="a stage",
        identity=digest(base or ""),
        checkpoint_sha256=digest("c"),
        checkpoint_bytes=1,
        image=IMAGE,
        normalization=Normalization(mean=(0.5,), std=(0.5,)),
    )
    config = RunConfig(
        source=SourceConfig(kind="digits"),
        plan=plan,
        model=ModelConfig(name="small"),
        base=None if base is None else grown,
    )
    return RunRecord(
        format=FORMAT,
        name=name,
        config=config,
        dataset=digest("d"),
        stages=tuple(map(digest, stages)),
    )


def newest(
    *runs: RunRecord, name: str = "zoo", unfinished: Collection[str] = ()
) -> tuple[str, list[str]]:
    """Return the newest run's name, in whatever order the runs are listed, and what was told."""
    found = set()
    undone = set(map(digest, unfinished))
    for ordered in itertools.permutations(runs):
        told: list[str] = []
        records = {each.name: each for each in ordered}
        record = newest_run(f"{name}@latest", records, lambda d: d not in undone, told.append)
        found.add((record.name, *told))
    ((first, *told),) = found
    return first, told


def test_a_run_that_nothing_extends_is_its_life_s_newest_model() -> None:
    assert newest(run("zoo", "12"), run("other", "34")) == (
        "zoo",
        ["zoo@latest is stage 2 of run zoo (200000000000), 2 classes"],
    )


def test_extensions_are_followed_to_the_end_of_the_life() -> None:
    runs = [run("zoo", "12"), run("b", "34", "2"), run("a", "5", "4"), run("other", "6", "7")]
    assert newest(*runs)[0] == "a"
    assert newest(*runs, name="b")[0] == "a"
    assert newest(*runs, name="other")[0] == "other"


def test_what_is_not_finished_is_left_out_and_said() -> None:
    runs = [run("zoo", "12"), run("b", "34", "2")]
    name, (_, waiting) = newest(*runs, unfinished="4")
    assert name == "zoo"
    assert waiting == "not finished yet, and left out: run b"


def test_a_life_with_nothing_finished_is_refused_with_where_to_look() -> None:
    with pytest.raises(InputError, match=r"zoo@latest has no finished model: `accrete status zoo`"):
        newest(run("zoo", "12"), unfinished="2")


def test_two_extensions_of_one_model_are_both_named_and_none_is_chosen() -> None:
    runs = [run("zoo", "12"), run("b", "3", "2"), run("c", "4", "2")]
    with pytest.raises(
        InputError,
        match=r"any of 2 models, .*forked: stage 1 of run b \(30+\), stage 1 of run c \(40+\); "
        r"give b@latest or c@latest",
    ):
        newest(*runs)
    assert newest(*runs, name="c")[0] == "c"
    assert newest(*runs, unfinished="4")[0] == "b"


def test_an_extension_of_an_earlier_stage_is_a_fork_too() -> None:
    with pytest.raises(InputError, match=r"stage 1 of run b .* stage 2 of run zoo"):
        newest(run("zoo", "12"), run("b", "3", "1"))


def test_one_model_under_two_names_is_no_fork() -> None:
    runs = [run("zoo", "12"), run("b", "3", "2"), run("a", "3", "2")]
    assert newest(*runs)[0] == "a"


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(RunNotFoundError, match="no run is called 'zoo'"):
        newest(run("other", "1"))


@pytest.mark.parametrize("text", ["zoo@3", "zoo@", "a@b@latest", "@latest", "Zoo@latest"])
def test_what_else_has_an_at_sign_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        is_latest(text)


def test_a_plain_name_and_a_digest_are_left_as_they_are() -> None:
    assert not is_latest("zoo")
    assert not is_latest("0123456789abcdef")
    assert is_latest("zoo@latest")
