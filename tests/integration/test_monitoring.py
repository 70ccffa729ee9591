"""Steps under the eyes of a real Prometheus and a real Pushgateway."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import HANGS_S, Cli
from digits import digits_run
from monitors import Prometheus, eventually, get, prometheus, pushed, pushed_value
from monitors import running_pushgateway as pushgateway_at
from proxy import Fault, Proxy, Request
from watched_steps import Steps

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import StageManifest
from accrete.catalog.records import parse_record
from accrete.config.run import RunConfig
from accrete.core.serialization import to_json
from accrete.core.settings import PushgatewaySettings
from accrete.monitoring.exporters import MetricsExporters, PushError, Pushgateway
from accrete.monitoring.metrics import StepMetrics
from accrete.store._ports import free_ports
from accrete.store.traffic import Traffic

STEP = "stage-0001"
HASHED = "$2b$04$X.1wNNe9.RyBOiHDJ1b0Fu/SKgUEFXxmpY.Vb92YjzJvZPpei2RNe"
"""bcrypt of `very-secret`, as a Pushgateway wants it."""


@pytest.fixture
def steps(catalog: Catalog, tmp_path: Path) -> Steps:
    return Steps(catalog, tmp_path)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    with pushgateway_at(tmp_path / "pushgateway") as url:
        yield url


@pytest.fixture
def watch(steps: Steps, gateway: str, tmp_path: Path) -> Iterator[Prometheus]:
    with prometheus(tmp_path / "prometheus", steps.port, gateway) as server:
        yield server


def long_stage() -> RunConfig:
    """One stage of ten classes: seconds on a CPU."""
    return digits_run(10, budget_epochs=120.0)


def finished(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """Return what a step printed, once it has ended with a code."""
    out, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == code, out
    return out


def in_training(url: str) -> Callable[[], bool]:
    """Return what tells whether a step's port shows that it trains."""
    return lambda: b"\naccrete_train_loss{" in (get(url) or b"")


def check_against_manifest(watch: Prometheus, manifest: StageManifest) -> None:
    """Compare what Prometheus has of a step's end with what the store has of its stage."""
    of_step = f'{{job="accrete",run="watched",step="{STEP}"}}'
    of_stage = f'{{job="accrete",run="watched",step="{STEP}",stage="1"}}'
    eventually(lambda: watch.value(f"accrete_step_exit_code{of_step}") == 0, "the exit code")
    assert watch.value(f"accrete_step_running{of_step}") == 0
    assert watch.value(f"accrete_step_attempts{of_step}") == 1
    assert watch.value(f"accrete_stage_training{of_stage}") == 0
    result, times, traffic = manifest.result, manifest.times, manifest.traffic
    assert watch.value(f"accrete_train_images_total{of_stage}") == result.images_seen
    assert watch.value(f"accrete_step_images_done{of_step}") == result.images_seen
    num_steps = manifest.schedule.num_steps
    for name in ("train_steps_total", "stage_steps_done", "stage_steps_planned"):
        assert watch.value(f"accrete_{name}{of_stage}") == num_steps
    assert watch.value(f"accrete_stage_classes{of_stage}") == 10
    assert watch.value(f"accrete_stage_test_loss{of_stage}") == result.loss
    shares = {m["classes"]: v for m, v in watch.values(f"accrete_stage_top1_ratio{of_stage}")}
    assert shares == {"all": result.top1, "new": result.top1_new}  # there are no old ones
    phases = {m["phase"]: v for m, v in watch.values(f"accrete_stage_duration_seconds{of_stage}")}
    assert phases == {name.removesuffix("_s"): value for name, value in to_json(times).items()}
    speed = watch.value(f"accrete_train_images_per_second{of_stage}")
    assert speed == pytest.approx(result.images_per_s, rel=0.5)
    assert watch.value(f"accrete_store_pulled_bytes_total{of_step}") == traffic.pulled_bytes
    assert watch.value(f"accrete_store_pushed_bytes_total{of_step}") == traffic.pushed_bytes
    assert watch.value(f"accrete_store_pulled_objects_total{of_step}") == traffic.num_objects
    assert (watch.value(f"accrete_store_pull_seconds_total{of_step}") or 0) > 0
    assert (watch.value(f"accrete_store_push_seconds_total{of_step}") or 0) > 0
    assert watch.value(f"accrete_cache_hits_total{of_step}") == traffic.cache_hits == 0
    assert watch.value(f"accrete_cache_misses_total{of_step}") == traffic.num_objects
    assert watch.value(f"accrete_store_errors_total{of_step}") == 0
    assert (watch.value(f"accrete_snapshots_total{of_stage}") or 0) > 0
    assert watch.value(f"accrete_snapshot_failures_total{of_stage}") == 0
    assert watch.values("accrete_step_failed") == []
    assert watch.values("accrete_gpu_memory_allocated_bytes") == []


@pytest.mark.slow
def test_prometheus_follows_a_stage_and_keeps_its_end(
    steps: Steps, gateway: str, watch: Prometheus
) -> None:
    config = long_stage()
    process = steps.train(
        config,
        ACCRETE_METRICS_PORT=str(steps.port),
        ACCRETE_PUSHGATEWAY=gateway,
        ACCRETE_SNAPSHOT_INTERVAL_S="0.5",
    )
    images = 'accrete_train_images_total{job="steps"}'
    first = eventually(lambda: watch.value(images), "the first images")
    assert first is not None
    eventually(lambda: (watch.value(images) or 0) > first, "more images")
    # Scraped once, from the step alone, however many containers its pod shows.
    ((labels, _),) = watch.values('accrete_step_running{job="steps"}')
    assert labels == {
        "__name__": "accrete_step_running",
        "instance": f"127.0.0.1:{steps.port}",
        "job": "steps",
        "run": "watched",
        "step": STEP,
    }
    assert watch.value('accrete_stage_training{job="steps"}') == 1
    assert watch.value(f'accrete_step_running{{job="accrete",step="{STEP}"}}') == 1
    age = eventually(
        lambda: watch.values("run_step_stage:accrete_snapshot_age_seconds:min"), "a snapshot's age"
    )
    assert 0 <= age[0][1] < 30
    finished(process)

    check_against_manifest(watch, steps.manifest(config))
    done = "run_step_stage:accrete_stage_done:ratio"
    eventually(lambda: watch.value(done) == 1, "the recorded share")
    unhealthy = [rule for rule in watch.rules() if rule["health"] != "ok"]
    assert unhealthy == []
    assert watch.values('ALERTS{alertstate="firing"}') == []

    top1 = steps.manifest(config).result.top1
    again = steps.train(config, ACCRETE_PUSHGATEWAY=gateway)
    finished(again)
    assert pushed_value(gateway, STEP, "accrete_stage_reused", stage="1") == 1
    assert pushed_value(gateway, STEP, "accrete_step_attempts") == 2
    assert pushed_value(gateway, STEP, "accrete_stage_top1_ratio", classes="all") == top1
    assert pushed_value(gateway, STEP, "accrete_train_images_total") is None


@pytest.mark.slow
def test_sigterm_in_training_is_pushed_as_preempted_and_the_next_attempt_replaces_it(
    steps: Steps, gateway: str
) -> None:
    config = long_stage()
    port = {"ACCRETE_METRICS_PORT": str(steps.port), "ACCRETE_PUSHGATEWAY": gateway}
    process = steps.train(config, **port)
    eventually(in_training(f"http://127.0.0.1:{steps.port}/metrics"), "training")
    process.send_signal(signal.SIGTERM)
    finished(process, 75)
    assert pushed_value(gateway, STEP, "accrete_step_failed", reason="preempted") == 1
    assert pushed_value(gateway, STEP, "accrete_step_exit_code") == 75
    assert pushed_value(gateway, STEP, "accrete_step_running") == 0
    assert pushed_value(gateway, STEP, "accrete_snapshots_total") == 1
    done = pushed_value(gateway, STEP, "accrete_stage_steps_done")
    assert done is not None
    assert 0 < done < steps.spec(config).schedule.num_steps

    finished(steps.train(config, **port))
    assert pushed_value(gateway, STEP, "accrete_step_failed") is None
    assert pushed_value(gateway, STEP, "accrete_step_exit_code") == 0
    num_images = steps.manifest(config).result.images_seen
    own = pushed_value(gateway, STEP, "accrete_train_images_total")
    assert own is not None
    assert 0 < own < num_images
    assert pushed_value(gateway, STEP, "accrete_step_attempts") == 2


@pytest.mark.slow
def test_a_step_that_is_killed_outright_is_left_as_running(steps: Steps, gateway: str) -> None:
    process = steps.train(
        long_stage(), ACCRETE_METRICS_PORT=str(steps.port), ACCRETE_PUSHGATEWAY=gateway
    )
    eventually(in_training(f"http://127.0.0.1:{steps.port}/metrics"), "training")
    # The one that trains as well, as when a container is killed: alone it would save and say so.
    os.kill(process.pid, signal.SIGSTOP)
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.communicate(timeout=HANGS_S)
    assert pushed_value(gateway, STEP, "accrete_step_running") == 1
    assert pushed_value(gateway, STEP, "accrete_step_exit_code") is None
    began = pushed_value(gateway, STEP, "accrete_step_last_progress_timestamp_seconds")
    assert began is not None
    assert began < time.time()


@pytest.mark.slow
def test_every_step_of_a_run_leaves_its_figures(cli: Cli, gateway: str, catalog: Catalog) -> None:
    done = cli("run", "--name", "whole", "--budget-epochs", "2", ACCRETE_PUSHGATEWAY=gateway)
    assert done.returncode == 0, done.stderr
    names = ["00-prepare", *(f"stage-{index:04d}" for index in range(1, 5)), "zz-report"]
    groups = pushed(gateway)
    assert sorted(groups) == names
    for name in names:
        assert groups[name]["labels"] == {"job": "accrete", "run": "whole", "step": name}
        assert pushed_value(gateway, name, "accrete_step_exit_code") == 0
        assert pushed_value(gateway, name, "accrete_step_attempts") == 1
        assert pushed_value(gateway, name, "accrete_store_errors_total") == 0
    num_stored = len(catalog.store.list_keys("objects/"))
    counted = [pushed_value(gateway, n, "accrete_store_pushed_objects_total") for n in names]
    assert sum(count or 0 for count in counted) == num_stored
    record = parse_record(catalog.store.read_note("runs/whole/run.json") or b"", "run.json")
    for index, digest in enumerate(record.stages, start=1):
        manifest = catalog.stage(digest)
        assert manifest is not None
        shares = {"all": manifest.result.top1, "old": manifest.result.top1_old}
        shares |= {"new": manifest.result.top1_new}
        for classes, share in shares.items():
            name = f"stage-{index:04d}"
            found = pushed_value(gateway, name, "accrete_stage_top1_ratio", classes=classes)
            assert found == share
        hits = pushed_value(gateway, f"stage-{index:04d}", "accrete_cache_hits_total")
        # The next stage's shards are fetched meanwhile, and looked up once more by that stage.
        assert hits is not None
        assert hits >= manifest.traffic.cache_hits


def test_sigterm_before_training_is_pushed_too(steps: Steps, gateway: str) -> None:
    def silent(request: Request) -> Fault | None:  # once it told whose the run's name is
        return Fault(delay_s=3600) if "list-type" in request.path else None

    with Proxy(steps.catalog.store.settings.endpoint, silent) as proxy:
        process = steps.prepare(
            long_stage(), ACCRETE_S3_ENDPOINT=proxy.endpoint, ACCRETE_PUSHGATEWAY=gateway
        )
        eventually(lambda: pushed(gateway).get("00-prepare"), "the push of its start", 200)
        process.send_signal(signal.SIGTERM)
        eventually(
            lambda: pushed_value(gateway, "00-prepare", "accrete_step_exit_code") == 75,
            "the push of its end",
        )
        process.kill()  # the journal still waits for the store
        process.communicate(timeout=HANGS_S)
    assert pushed_value(gateway, "00-prepare", "accrete_step_failed", reason="preempted") == 1


@pytest.mark.slow
def test_a_diverged_stage_is_pushed_as_such_and_its_alert_fires(
    steps: Steps, gateway: str, watch: Prometheus
) -> None:
    config = digits_run(10, lr=1000.0, weight_decay=10.0)
    out = finished(steps.train(config, ACCRETE_PUSHGATEWAY=gateway), 1)
    assert "stage 1: the loss is" in out
    assert pushed_value(gateway, STEP, "accrete_step_failed", reason="diverged") == 1
    assert pushed_value(gateway, STEP, "accrete_step_exit_code") == 1
    firing = 'ALERTS{alertname="AccreteTrainingDiverged",alertstate="firing"}'
    ((labels, _),) = eventually(lambda: watch.values(firing), "the alert")
    assert (labels["run"], labels["step"]) == ("watched", STEP)


@pytest.mark.slow
def test_a_lost_shard_is_pushed_as_a_failure_of_the_store(steps: Steps, gateway: str) -> None:
    config = digits_run(10)
    lost = steps.dataset.classes[0].train[0].sha256
    steps.catalog.store.delete(f"objects/{lost[:2]}/{lost}")
    finished(steps.train(config, ACCRETE_PUSHGATEWAY=gateway), 3)
    assert pushed_value(gateway, STEP, "accrete_step_failed", reason="store") == 1
    assert pushed_value(gateway, STEP, "accrete_step_exit_code") == 3


def test_preparing_is_counted_in_images_and_objects(
    catalog: Catalog, tmp_path: Path, gateway: str
) -> None:
    steps = Steps(catalog, tmp_path)
    config = digits_run(10, budget_epochs=1.0)
    total = sum(steps.dataset.num_images(split) for split in ("train", "validation", "test"))
    for key in catalog.store.list_keys(""):
        catalog.store.delete(key)
    finished(steps.prepare(config, ACCRETE_PUSHGATEWAY=gateway))
    assert pushed_value(gateway, "00-prepare", "accrete_step_images_done") == total
    assert pushed_value(gateway, "00-prepare", "accrete_step_images_planned") == total
    shards = [s for entry in steps.dataset.classes for s in (*entry.train, *entry.test)]
    num_pushed = pushed_value(gateway, "00-prepare", "accrete_store_pushed_objects_total")
    pushed_bytes = pushed_value(gateway, "00-prepare", "accrete_store_pushed_bytes_total")
    assert num_pushed == len(shards)
    assert pushed_bytes == sum(shard.num_bytes for shard in shards)


def test_groups_of_the_past_are_deleted_when_a_run_begins(
    gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Pushgateway(PushgatewaySettings(url=gateway))
    monkeypatch.setenv("ACCRETE_PUSHGATEWAY", gateway)
    monkeypatch.setattr("accrete.monitoring.exporters.KEPT_S", 2.0)
    client.push("old", "zz-report", StepMetrics("old", "zz-report", Traffic()).registry)
    time.sleep(2.1)
    client.push("other", "stage-0001", StepMetrics("other", "stage-0001", Traffic()).registry)
    metrics = StepMetrics("new", "00-prepare", Traffic())
    with MetricsExporters(metrics, print, tidy=False):
        eventually(lambda: "00-prepare" in pushed(gateway), "the push of its start")
    assert pushed(gateway).keys() == {"zz-report", "stage-0001", "00-prepare"}
    with MetricsExporters(metrics, print, tidy=True):
        eventually(lambda: "zz-report" not in pushed(gateway), "the end of the old group")
    assert pushed(gateway).keys() == {"stage-0001", "00-prepare"}


def test_another_server_than_a_pushgateway_is_told(watch: Prometheus) -> None:
    client = Pushgateway(PushgatewaySettings(url=watch.url))
    with pytest.raises(PushError, match=f"the Pushgateway at {watch.url} answered 40[45]"):
        client.push("any", STEP, StepMetrics("any", STEP, Traffic()).registry)
    readiness = Pushgateway(PushgatewaySettings(url=f"{watch.url}/-/ready?"))
    with pytest.raises(PushError, match="is no Pushgateway"):
        readiness.delete_older_than(1)


@pytest.mark.slow
def test_credentials_reach_the_pushgateway_and_no_log(steps: Steps, tmp_path: Path) -> None:
    """A Pushgateway with basic authentication; then a wrong password, which is said without it."""
    (tmp_path / "web.yaml").write_text(f"basic_auth_users: {{me: {HASHED!r}}}\n")
    config = digits_run(10, budget_epochs=1.0)
    option = f"--web.config.file={tmp_path / 'web.yaml'}"
    with pushgateway_at(tmp_path / "closed", option) as url:
        host = url.removeprefix("http://")
        out = finished(steps.train(config, ACCRETE_PUSHGATEWAY=f"http://me:very-secret@{host}"))
        assert "metrics:" not in out
        out = finished(steps.train(config, ACCRETE_PUSHGATEWAY=f"http://me:wrong-secret@{host}"))
    lines = [line for line in out.splitlines() if "metrics:" in line]
    assert lines
    for line in lines:
        assert f"the Pushgateway at {url} answered 401; the step goes on without" in line
    assert "secret" not in out


@pytest.mark.slow
def test_what_cannot_be_served_or_pushed_is_a_line_and_the_step_goes_on(steps: Steps) -> None:
    config = digits_run(10, budget_epochs=1.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:  # accepts, and never answers
        port = str(taken.getsockname()[1])
        env = {"ACCRETE_METRICS_PORT": port, "ACCRETE_PUSHGATEWAY": f"http://127.0.0.1:{port}"}
        out = finished(steps.train(config, **env))
    assert f"metrics: port {port} of 127.0.0.1 cannot be had (Address already in use)" in out
    assert f"metrics: the Pushgateway at http://127.0.0.1:{port} cannot be reached" in out
    assert steps.manifest(config).index == 1
    (free,) = free_ports(1)
    env = {"ACCRETE_METRICS_PORT": "none", "ACCRETE_PUSHGATEWAY": f"http://127.0.0.1:{free}"}
    began = time.monotonic()
    out = finished(steps.train(config, **env))
    assert time.monotonic() - began < 300
    assert "metrics: ACCRETE_METRICS_PORT is 'none': give a port from 1 to 65535" in out
    assert f"metrics: the Pushgateway at http://127.0.0.1:{free} cannot be reached" in out
    out = finished(steps.train(config))
    assert "metrics:" not in out


@pytest.mark.slow
def test_of_several_processes_the_first_alone_serves_and_pushes(steps: Steps, gateway: str) -> None:
    config = digits_run(10, precision="fp32", budget_epochs=3.0)
    env = {"ACCRETE_METRICS_PORT": str(steps.port), "ACCRETE_PUSHGATEWAY": gateway}
    out = finished(steps.train(config, ACCRETE_PROCESSES="2", **env))
    assert "metrics:" not in out
    assert pushed_value(gateway, STEP, "accrete_step_exit_code") == 0
    num_images = steps.manifest(config).result.images_seen
    assert pushed_value(gateway, STEP, "accrete_train_images_total") == num_images
