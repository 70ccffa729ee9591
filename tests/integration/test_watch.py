"""Classes that arrive by themselves: what a look finds, stores and records."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from arriving import Place, put
from click.testing import CliRunner
from conftest import Cli
from PIL import Image

from accrete.catalog.catalog import Catalog
from accrete.catalog.gc import keys_of_run
from accrete.catalog.life import life_of, records_of
from accrete.catalog.manifests import SPLITS
from accrete.catalog.newest import ForkedLifeError
from accrete.catalog.records import RunRecord, create_record
from accrete.catalog.step_documents import StepDocument
from accrete.cli import watch as watch_module
from accrete.config.run import SourceConfig
from accrete.data import arrivals
from accrete.data.arrivals import look_for_arrival
from accrete.data.prepare import stored_dataset
from accrete.errors import (
    BadImageError,
    ConfigError,
    InputError,
    ObjectMissingError,
    RunNotFoundError,
    SourceError,
)
from accrete.reports.life import assemble_life
from accrete.store import keys
from accrete.store.cache import NodeCache

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tmp_path: Path, catalog: Catalog, cache: NodeCache) -> Place:
    made = Place(tmp_path / "digits", catalog, cache)
    made.begin()
    return made


class StopWatchingError(Exception):
    """Ends a watch."""


def num_images(place: Place, record: RunRecord) -> dict[str, int]:
    dataset = place.catalog.dataset(record.dataset)
    return {
        entry.name: sum(entry.num_images(split) for split in SPLITS) for entry in dataset.classes
    }


def test_a_class_is_waited_for_until_it_has_enough_images(place: Place) -> None:
    put(place.folder, 3, 0, 10)
    assert place.look() is None
    assert place.said[-2:] == ["waits for: 3 8 of 20 images", "nothing to train"]
    put(place.folder, 3, 10, 40)
    record = place.look()
    assert record is not None
    assert record.name == "life-a1"
    assert record.config.plan.class_order == ("0", "1", "2", "3")
    assert num_images(place, record) == {"0": 40, "1": 40, "2": 40, "3": 40}
    assert "1 class and 32 training images have come: run life-a1" in place.said


def test_a_class_that_is_ready_does_not_wait_for_another(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    put(place.folder, 4, 0, 5)
    record = place.look()
    assert record is not None
    assert record.config.plan.class_order[3:] == ("3",)
    assert record.config.source.only_classes == ("3",)


def test_looking_again_finds_what_was_begun_and_then_nothing(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    first = place.look()
    put(place.folder, 4, 0, 40)  # comes while the run trains: it is the next one's
    again = place.look()
    assert again == first
    assert "run life-a1 was begun and has not ended: it goes on" in place.said
    assert first is not None
    place.train(first)
    second = place.look()
    assert second is not None
    assert second.name == "life-a2"
    assert second.config.base is not None
    assert second.config.base.identity == first.stages[-1]
    place.train(second)
    assert place.look() is None
    life = life_of(place.catalog, records_of(place.catalog), "life")
    assert [each.record.name for each in life.lived] == ["life", "life-a1", "life-a2"]


def test_a_run_whose_report_is_missing_goes_on(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    place.train(record)
    place.catalog.store.delete("runs/life-a1/report.json")
    assert place.look() == record


def test_a_run_that_another_machine_trains_is_left_to_it(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    record = place.look()
    now = datetime.now(UTC)
    for age_s, expected in ((5, None), (300, record)):
        document = StepDocument(
            step="stage-0001",
            attempt="a",
            state="running",
            started_at=now - timedelta(hours=1),
            updated_at=now - timedelta(seconds=age_s),
        )
        note = json.dumps(document.as_json()).encode()
        place.catalog.store.write_note(keys.step_key("life-a1", "stage-0001"), note)
        assert place.look() == expected
    assert place.said == ["run life-a1 was begun and has not ended: it goes on"]


def test_the_source_may_be_gone_once_a_run_is_recorded(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    record = place.look()
    place.source = SourceConfig(kind="imagefolder", location="/nowhere")
    assert record is not None
    assert place.look() == record


def test_a_recorded_run_needs_its_shards(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    (shard,) = place.catalog.dataset(record.dataset).by_name["3"].train
    place.catalog.store.delete(keys.object_key(shard.sha256))
    with pytest.raises(ObjectMissingError, match=f"has lost a shard, .*{shard.sha256}"):
        stored_dataset(record.dataset, place.catalog)


def test_two_that_look_at_once_record_one_run(place: Place) -> None:
    """The second sees another class than the first: what is recorded first is what is trained."""
    put(place.folder, 3, 0, 40)
    put(place.folder, 4, 0, 40)
    records = records_of(place.catalog)
    found: list[RunRecord | None] = []
    both = threading.Barrier(2)

    def at_once(*arguments: object) -> RunRecord:
        both.wait(60)
        return claimed(*arguments)  # type: ignore[arg-type]

    claimed = arrivals._claimed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals, "_claimed", at_once)
        threads = []
        for name in ("3", "4"):
            watch = place.watch()
            watch = replace(watch, source=replace(watch.source, only_classes=("0", "1", "2", name)))
            viewpoint = place.viewpoint()
            work = lambda watch=watch, out=viewpoint: found.append(look_for_arrival(watch, out))  # noqa: E731
            threads.append(threading.Thread(target=work))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(found) == 2
    assert found[0] == found[1]
    assert set(records_of(place.catalog)) - set(records) == {"life-a1"}


def test_more_images_of_old_classes_are_counted_and_none_is_stored_twice(place: Place) -> None:
    put(place.folder, 0, 40, 60)
    assert place.look() is None
    more = "20 more images of 1 old class, 16.7 % more (trained on again at 20 %, or with new"
    assert any(line.startswith(more) for line in place.said)
    put(place.folder, 1, 40, 50)
    record = place.look()
    assert record is not None
    assert num_images(place, record) == {"0": 60, "1": 50, "2": 40}
    assert record.config.plan.stages[-1].num_new_classes == 0
    newest = place.catalog.dataset(record.dataset)
    old = place.catalog.dataset(newest.extends or "")
    assert newest.by_name["0"].train[0] == old.by_name["0"].train[0]
    place.train(record)
    assert place.look() is None
    assert place.said == [place.said[0], "nothing to train"]


def test_images_of_many_sizes_are_known_by_their_files(place: Place) -> None:
    """They are stored as files, since they have to be scaled for each model anyway."""
    place.folder = place.folder.with_name("sizes")
    for digit in range(3):
        put(place.folder, digit, 0, 40)
        for number, path in enumerate(sorted((place.folder / str(digit)).iterdir())):
            side = 8 + number % 3
            Image.open(path).resize((side, side)).save(path)
    place.name = "sizes"
    place.begin()
    assert place.catalog.dataset(records_of(place.catalog)["sizes"].dataset).image.encoding == (
        "encoded"
    )
    put(place.folder, 0, 40, 60)
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    assert num_images(place, record) == {"0": 60, "1": 40, "2": 40, "3": 40}


def test_images_that_were_renamed_are_no_new_ones(place: Place) -> None:
    for path in sorted((place.folder / "0").iterdir()):
        path.rename(path.with_name(f"again-{path.name}"))
    put(place.folder, 0, 0, 40)  # the same 40 images, once more under their old names
    assert place.look() is None
    assert place.said[-1] == "all these images are stored already: nothing to train"


def test_a_class_with_another_name_is_no_new_one(place: Place) -> None:
    (place.folder / "1").rename(place.folder / "one")
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    assert record.config.plan.class_order == ("0", "1", "2", "3")
    (line,) = [line for line in place.said if "renamed" in line]
    assert line.startswith("all 40 images of one are stored as class 1, which the source has no ")
    place.train(record)
    put(place.folder, 1, 0, 3)
    (place.folder / "1").rename(place.folder / "uno")  # a few may be shared by chance
    put(place.folder, 5, 0, 40)
    for path in (place.folder / "5").iterdir():
        path.rename(place.folder / "uno" / f"5-{path.name}")
    shutil.rmtree(place.folder / "one")
    (place.folder / "5").rmdir()
    record = place.look()
    assert record is not None
    assert record.config.plan.class_order[-1] == "uno"


def move(place: Place, number: int, source: str, target: str) -> None:
    (place.folder / target).mkdir(exist_ok=True)
    for path in sorted((place.folder / source).iterdir())[:number]:
        path.rename(place.folder / target / f"{source}-{path.name}")


@pytest.mark.parametrize("target", ["wolf", "0"])
def test_images_whose_label_was_corrected_are_not_trained_on_as_both(
    place: Place, target: str
) -> None:
    move(place, 30, "1", target)
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    assert record.config.plan.class_order == ("0", "1", "2", "3")
    assert num_images(place, record) == {"0": 40, "1": 40, "2": 40, "3": 40}
    (line,) = [line for line in place.said if "labels were corrected" in line]
    assert line.startswith(
        f"all 30 images that came to {target} are stored as class 1, of which the source has fewer "
        "now (10): they would be trained on as both."
    )


def test_a_few_images_of_another_class_are_told(place: Place) -> None:
    move(place, 2, "1", "0")
    put(place.folder, 0, 40, 60)
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    assert num_images(place, record) == {"0": 62, "1": 40, "2": 40, "3": 40}
    assert any(
        line.startswith("2 of 22 images that came to 0 are stored as class 1 too, of which the")
        for line in place.said
    )


def test_old_classes_that_grew_come_along_with_new_ones_unless_never_is_said(place: Place) -> None:
    put(place.folder, 0, 40, 44)
    put(place.folder, 3, 0, 40)
    never = place.look(refresh_share=0.0)
    assert never is not None
    assert num_images(place, never)["0"] == 40
    place.catalog.store.delete("runs/life-a1/run.json")
    along = place.look()
    assert along is not None
    assert num_images(place, along)["0"] == 44


def test_copies_of_stored_images_are_no_reason_to_train_again(place: Place) -> None:
    for number, path in enumerate(sorted((place.folder / "0").iterdir())):
        shutil.copy(path, path.with_name(f"copy-{number}.png"))
    put(place.folder, 0, 40, 42)
    assert place.look() is None
    assert place.said[-1] == "2 images of these are new, the others stored already: too few"
    put(place.folder, 1, 40, 70)
    record = place.look()
    assert record is not None
    assert num_images(place, record) == {"0": 42, "1": 70, "2": 40}


def test_bad_images_are_counted_once(place: Place) -> None:
    place.source = replace(place.source, on_bad_image="skip")
    for number in range(24):
        (place.folder / "0" / f"bad-{number:02}.png").write_bytes(b"no image")
    assert place.look() is None
    skipped = []
    for digit in (3, 4):
        put(place.folder, digit, 0, 40)
        put(place.folder, 0, 40 + digit, 41 + digit)
        record = place.look()
        assert record is not None
        stored = place.catalog.dataset(record.dataset)
        skipped.append(stored.by_name["0"].num_skipped_train)
        base = place.catalog.dataset(stored.extends or "")
        more = sum(c.num_images("train") for c in stored.classes) - sum(
            c.num_images("train") for c in base.classes
        )
        assert f"1 class and {more} training images have come: run {record.name}" in place.said
        place.train(record)
    assert skipped[0] > 0
    assert abs(skipped[0] - skipped[1]) <= 1  # as the splits fall
    assert place.look() is None
    tests = 24 - skipped[1]  # bad test images are counted nowhere
    assert any(line.startswith(f"{tests} more image") for line in place.said)


def test_what_a_model_sets_aside_its_arrivals_set_aside_too(place: Place) -> None:
    place.folder = place.folder.with_name("aside")
    place.name = "aside"
    place.source = replace(place.source, validation_fraction=0.25)
    place.begin()
    aside = []
    for digit in (3, 4):
        put(place.folder, digit, 0, 40)
        watch = place.watch()
        none = replace(watch.source, validation_fraction=0.0)
        watch = replace(watch, source=none, own_validation=digit == 3 or None)
        record = look_for_arrival(watch, place.viewpoint())
        assert record is not None
        entries = place.catalog.dataset(record.dataset).by_name
        aside.append(entries[str(digit)].num_images("validation"))
        place.train(record)
    assert aside == [0, 8]
    watch = replace(watch, recipe=replace(watch.recipe, until="0.5"), own_validation=True)
    with pytest.raises(ConfigError, match="the source has no validation images"):
        look_for_arrival(watch, place.viewpoint())


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"epochs": (1.0, 2.0), "budget_epochs": None}, "epochs"),
        ({"until": "0.5"}, "no image set aside"),
    ],
)
def test_options_that_no_arrival_can_have_are_refused_before_anything_comes(
    place: Place, recipe: dict[str, object], words: str
) -> None:
    watch = place.watch()
    watch = replace(watch, recipe=replace(watch.recipe, **recipe), given_recipe=("flip", *recipe))
    with pytest.raises(ConfigError, match=words):
        look_for_arrival(watch, place.viewpoint())


def test_a_source_that_changes_between_two_looks_is_left_alone(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    slept: list[float] = []

    def copying(seconds: float) -> None:
        slept.append(seconds)
        put(place.folder, 3, 40, 42)

    assert look_for_arrival(place.watch(settle="1m"), place.viewpoint(sleep=copying)) is None
    assert slept == [60]
    assert "the source is changing" in place.said[-1]
    assert set(records_of(place.catalog)) == {"life"}
    still = place.viewpoint(sleep=slept.append)
    assert look_for_arrival(place.watch(settle="1m"), still) is not None


def test_a_class_that_goes_between_two_looks_is_no_error(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    going = place.viewpoint(sleep=lambda _: shutil.rmtree(place.folder / "3"))
    assert look_for_arrival(place.watch(settle="1m"), going) is None
    assert "the source is changing" in place.said[-1]


def test_another_class_may_change_meanwhile(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    copying = place.viewpoint(sleep=lambda _: put(place.folder, 4, 0, 2))
    assert look_for_arrival(place.watch(settle="1m"), copying) is not None


def test_what_changes_while_it_is_read_is_not_recorded(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    viewpoint = replace(
        place.viewpoint(), meter=lambda _: lambda done: put(place.folder, 3, 40, 40 + done)
    )
    assert look_for_arrival(place.watch(), viewpoint) is None
    assert "changed while it was read" in place.said[-1]
    assert set(records_of(place.catalog)) == {"life"}


def test_an_image_that_was_copied_in_part_is_refused_and_nothing_recorded(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    path = next((place.folder / "3").iterdir())
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BadImageError, match=path.name):
        place.look()
    assert set(records_of(place.catalog)) == {"life"}


def test_images_that_do_not_fit_the_model_are_refused(place: Place) -> None:
    (place.folder / "3").mkdir()
    for number in range(40):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(place.folder / "3" / f"{number}.png")
    with pytest.raises(SourceError, match="colour"):
        place.look()


def test_a_name_that_is_another_run_s_is_passed_over(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    life = records_of(place.catalog)["life"]
    create_record(place.catalog.store, replace(life, name="life-a1"))
    place.catalog.store.write_note(keys.report_key("life-a2", "report.json"), b"{}")  # it begins
    record = place.look()
    assert record is not None
    assert record.name == "life-a3"
    assert place.look() == record
    place.train(record)
    place.catalog.store.delete("runs/life-a2/report.json")
    put(place.folder, 4, 0, 40)
    after = place.look()
    assert after is not None
    assert after.name == "life-a2"


def test_of_two_runs_of_one_configuration_the_one_that_is_watched_lives_on(place: Place) -> None:
    create_record(place.catalog.store, replace(records_of(place.catalog)["life"], name="twin"))
    place.name = "twin"
    for digit in (3, 4):
        put(place.folder, digit, 0, 40)
        record = place.look()
        assert record is not None
        assert record.name == f"twin-a{digit - 2}"
        place.train(record)
        assert assemble_life(place.catalog, record.name)["arrivals"][0]["run"] == "twin"
    life = life_of(place.catalog, records_of(place.catalog), "twin")
    assert [each.record.name for each in life.lived] == ["twin", "twin-a1", "twin-a2"]


def test_an_extension_by_hand_is_waited_for_while_it_trains_and_named_after(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    place.catalog.store.delete("runs/life-a1/run.json")
    create_record(place.catalog.store, replace(record, name="mine"))
    now = datetime.now(UTC)
    for age_s in (5, 300):
        document = StepDocument(
            step="stage-0001",
            attempt="a",
            state="running",
            started_at=now - timedelta(hours=1),
            updated_at=now - timedelta(seconds=age_s),
        )
        note = json.dumps(document.as_json()).encode()
        place.catalog.store.write_note(keys.step_key("mine", "stage-0001"), note)
        found = place.look()
        assert (found is None) == (age_s == 5)
        what = "extends this model and is being trained" if found is None else "left out: run mine"
        assert any(what in line and "mine" in line for line in place.said)


def test_an_extension_by_hand_that_is_recorded_during_a_look_forks_no_life(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    place.catalog.store.delete("runs/life-a1/run.json")
    put(place.folder, 3, 40, 44)
    grow = arrivals.grow_dataset

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        create_record(place.catalog.store, replace(record, name="mine"))
        return grow(*arguments, **options)

    monkeypatch.setattr(arrivals, "grow_dataset", meanwhile)
    assert place.look() is None
    assert place.said[-1] == "run mine was recorded meanwhile: this arrival waits for its end"
    assert set(records_of(place.catalog)) == {"life", "mine"}


def test_a_life_that_forks_has_no_newest_model(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    record = place.look()
    assert record is not None
    place.train(record)
    place.catalog.store.delete("runs/life-a1/run.json")
    put(place.folder, 3, 40, 44)
    forked = place.look()
    assert forked is not None
    create_record(place.catalog.store, replace(record, name="mine"))
    place.train(forked)
    with pytest.raises(
        InputError, match=r"forked: stage 1 of run life-a2 .*, stage 1 of run mine "
    ):
        place.look()


def test_a_run_in_the_middle_of_a_life_is_not_forgotten(place: Place) -> None:
    put(place.folder, 3, 0, 40)
    store, first = place.catalog.store, records_of(place.catalog)["life"]
    record = place.look()
    assert record is not None
    with pytest.raises(InputError, match=r"run 'life-a1' extends run 'life'.*'life-a1' first"):
        keys_of_run(store, "life")
    assert keys_of_run(store, "life-a1")[0] == keys.run_key("life-a1")
    create_record(store, replace(first, name="twin"))  # its model is known by that name, too
    assert keys_of_run(store, "life")[0] == keys.run_key("life")


def test_a_fork_is_told_until_it_is_mended_and_latest_may_be_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --every, a look that finds a fork is not the last one."""
    heard: list[str] = []

    def looked(_build: object, _options: object, name: str, _news: object) -> None:
        heard.append(name)
        if len(heard) == 1:
            raise ForkedLifeError("the life has forked")
        raise StopWatchingError

    monkeypatch.setattr(watch_module, "_look_here", looked)
    monkeypatch.setattr(watch_module.time, "sleep", lambda _: None)
    command = watch_module.watch_command(None, None)  # type: ignore[arg-type]
    arguments = ["life@latest", "--data", str(place.folder), "--every", "1s"]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, StopWatchingError)
    assert heard == ["life", "life"]
    assert "the life has forked; looks again in 1s" in result.stderr


def test_a_model_that_is_being_extended_is_not_extended_by_another_run(
    cli: Cli, place: Place
) -> None:
    put(place.folder, 3, 0, 40)
    assert place.look() is not None
    put(place.folder, 4, 0, 40)
    (place.folder.parent / "new.txt").write_text("4\n")
    extend = ("extend", "life@latest", "--data", str(place.folder), "--only-classes", "new.txt")
    done = cli(*extend, "--name", "mine")
    assert done.returncode == 2
    assert "run 'life-a1' extends stage 1 of run life too, and has not finished" in done.stderr
    assert set(records_of(place.catalog)) == {"life", "life-a1"}


def test_a_life_that_nobody_began_is_refused(place: Place) -> None:
    with pytest.raises(RunNotFoundError, match="'nobody'"):
        look_for_arrival(replace(place.watch(), name="nobody"), place.viewpoint())


@pytest.mark.slow
def test_the_command_extends_and_says_what_it_waits_for(cli: Cli, place: Place) -> None:
    put(place.folder, 3, 0, 40)
    put(place.folder, 4, 0, 5)
    look = ("watch", "life", "--data", str(place.folder), "--once", "--settle", "0s")
    options = ("--budget-epochs", "1", "--gpus", "0")
    done = cli(*look, *options)
    assert done.returncode == 0, done.stderr
    assert "waits for: 4 4 of 20 images" in done.stdout
    report = json.loads(
        (Path(place.cache.work_path).parents[1] / "home/runs/life-a1/report.json").read_text()
    )
    assert report["stages"][-1]["num_classes"] == 4
    again = cli(*look, *options)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == "nothing to train"


@pytest.mark.slow
def test_two_commands_at_once_make_one_run(cli: Cli, place: Place) -> None:
    put(place.folder, 3, 0, 40)
    look = ("watch", "life", "--data", str(place.folder), "--once", "--settle", "0s")
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(cli, *look, "--budget-epochs", "1", "--gpus", "0") for _ in "ab"]
    assert [each.result().returncode for each in both] == [0, 0], [e.result() for e in both]
    life = life_of(place.catalog, records_of(place.catalog), "life")
    assert [each.record.name for each in life.lived] == ["life", "life-a1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("watch", "life"), "give --data, or --source digits"),
        (("watch", "life", "--source", "digits", "--every", "soon"), "--every is 'soon'"),
        (("watch", "life", "--source", "digits", "--once", "--every", "1h"), "exclude each other"),
        (("watch", "life", "--source", "digits", "--least-images", "0"), "least images"),
        (("watch", "life", "--source", "digits", "--recurring", "0 * * * *"), "--recurring has no"),
        (("watch", "life", "--source", "digits", "--settle", "5"), "--settle is '5'"),
        (("watch", "life", "--source", "digits", "--image", "a:1"), "--image has no effect"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_one_line(
    cli: Cli, arguments: tuple[str, ...], words: str
) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line
