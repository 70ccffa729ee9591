"""The pipeline that looks for classes that have come, and the recurring run that is made of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from accrete_pipelines import watch
from arriving import Place, put
from backend import Backend, artifact_store
from compiled_sample import on_a_short_stack
from conftest import Cli
from kfp_api import KfpApi, kfp_at

from accrete.catalog.catalog import Catalog
from accrete.catalog.records import find_record
from accrete.config.arrivals import Watch, watch_parameter
from accrete.config.placement import Placement
from accrete.runners.kubeflow.submission import specification
from accrete.runners.pipeline_file import WatchRequest
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tmp_path: Path, catalog: Catalog, cache: NodeCache) -> Place:
    made = Place(tmp_path / "digits", catalog, cache)
    made.begin()
    return made


@pytest.fixture
def backend(catalog: Catalog, tmp_path: Path) -> Iterator[Backend]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    env |= catalog.store.settings.as_environment() | {"ACCRETE_CACHE": str(tmp_path / "cache")}
    with artifact_store(tmp_path) as artifacts:
        yield Backend(artifacts, catalog.store, env, tmp_path)


def spec_of(place: Place, watched: Watch) -> dict[str, Any]:
    request = WatchRequest(
        watch=watched, placement=Placement(gpus=(0,)), store_uri=str(place.catalog.store.address)
    )
    made = on_a_short_stack(lambda: specification(watch.build_pipeline(request)))
    spec: dict[str, Any] = made["pipeline_spec"]
    return spec


@pytest.mark.slow
def test_what_has_come_is_trained_on_once_and_nothing_else_is_run(
    place: Place, backend: Backend
) -> None:
    spec = spec_of(place, place.watch())
    assert list(backend.run_spec(spec, {})) == ["look"]
    put(place.folder, 3, 0, 40)
    done = backend.run_spec(spec, {})
    assert list(done) == ["look", "prepare", "train-stage", "report"]
    store = place.catalog.store
    record = find_record(store, "life-a1")
    assert record is not None
    assert place.catalog.stage(record.stages[-1]) is not None
    assert store.read_note(keys.report_key("life-a1", "report.html")) is not None
    given = done["prepare"].executor_input["inputs"]["parameterValues"]
    assert given["run_name"] == "life-a1"
    assert list(backend.run_spec(spec, {})) == ["look"]


@pytest.mark.slow
def test_the_rules_may_be_edited_in_kubeflow(place: Place, backend: Backend) -> None:
    put(place.folder, 3, 0, 10)
    edited = watch_parameter(place.watch(least_images=5))
    done = backend.run_spec(spec_of(place, place.watch()), {"watch": edited})
    assert "train-stage" in done


@pytest.fixture
def api() -> Iterator[KfpApi]:
    with kfp_at() as server:
        yield server


@pytest.fixture
def schedule(cli: Cli, place: Place, api: KfpApi) -> Any:
    """Runs `accrete watch life … --endpoint …`."""
    arguments = ("watch", "life", "--data", "s3://accrete/images", "--source", "imagefolder")
    return lambda *options: cli(*arguments, "--endpoint", api.address, *options)


def test_kubeflow_looks_every_hour_once_at_a_time(
    schedule: Any, api: KfpApi, store: ObjectStore
) -> None:
    done = schedule("--recurring", "0 * * * *", "--least-images", "7")
    assert done.returncode == 0, done.stderr
    (made,) = api.recurring_runs.values()
    assert made["recurring_run_id"] in done.stdout
    assert made["display_name"] == "life-watch"
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 * * * *"}}
    assert (made["max_concurrency"], made["no_catchup"]) == ("1", True)
    spec = made["pipeline_spec"]["pipeline_spec"]
    watched = spec["root"]["inputDefinitions"]["parameters"]["watch"]["defaultValue"]
    assert watched["rules"]["least_images"] == 7
    text = yaml.safe_dump(made)
    assert "SECRET_KEY" in text  # the name of a variable, whose value a pod has from a Secret
    assert store.settings.as_environment()["ACCRETE_S3_SECRET_KEY"] not in text


def test_who_schedules_twice_has_one_recurring_run(schedule: Any, api: KfpApi) -> None:
    assert schedule("--every", "1h").returncode == 0
    (first,) = api.recurring_runs
    again = schedule("--every", "1h")
    assert again.returncode == 0, again.stderr
    assert list(api.recurring_runs) == [first]
    assert "unchanged" in again.stdout
    changed = schedule("--every", "2h")
    assert changed.returncode == 0, changed.stderr
    (second,) = api.recurring_runs
    assert second != first
    assert api.recurring_runs[second]["trigger"] == {
        "periodic_schedule": {"interval_second": "7200"}
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--once",), "--once has no effect with an endpoint"),
        (("--recurring", "hourly"), "five fields"),
        (("--recurring", "0 * * *"), "five fields"),
        (("--recurring", "99 99 99 99 99"), "minute is '99'"),
        (("--epochs", "1,2"), "epochs lists 2 stages but the plan has 1"),
        (("--until", "0.5"), "was trained with no image set aside"),
        (("--every", "1h", "--recurring", "0 * * * *"), "exclude each other"),
        (("--data", "here"), "which a cluster's pods cannot read"),
    ],
)
def test_what_kubeflow_cannot_look_at_is_refused(
    schedule: Any, api: KfpApi, options: tuple[str, ...], words: str
) -> None:
    done = schedule(*options)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr.splitlines()[-1]
    assert not api.recurring_runs


def test_a_life_that_nobody_began_is_not_scheduled(cli: Cli, place: Place, api: KfpApi) -> None:
    done = cli("watch", "nobody", "--data", "s3://accrete/images", "--source", "imagefolder",
               "--endpoint", api.address)  # fmt: skip
    assert done.returncode == 2
    assert "'nobody'" in done.stderr
    assert not api.recurring_runs
