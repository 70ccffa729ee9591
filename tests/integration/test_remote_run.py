"""Submitting to Kubeflow Pipelines, and following, against a stand-in for its API server."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Cli
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_api import Handler, KfpApi, failing, hanging_up, kfp_at, saying

from accrete.store._ports import free_ports


@pytest.fixture
def kfp_api() -> Iterator[KfpApi]:
    with kfp_at() as server:
        yield server


def test_a_run_is_submitted_with_its_pipeline_and_arguments(cli: Cli, kfp_api: KfpApi) -> None:
    file = str(ROOT / "pipelines" / "incremental.py")
    options = ("--name", "far", "--alpha", "2", "--endpoint", kfp_api.address)
    options += ("--step-overhead", "0")
    done = cli("run", file, *options, script="kfp")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "10 classes: 0 … 9, with 139 to 146 training images each"
    (run_id,) = kfp_api.runs
    assert lines[3:] == [f"submitted far: {kfp_api.address}/#/runs/details/{run_id}"]
    (body,) = kfp_api.posted
    assert body["display_name"] == "far"
    assert body["runtime_config"]["parameters"]["run_name"] == "far"
    spec = body["pipeline_spec"]
    parsed = json_format.ParseDict(spec["pipeline_spec"], pipeline_spec_pb2.PipelineSpec())
    assert "train-stage-3" in parsed.root.dag.tasks
    assert "train-stage-4" not in parsed.root.dag.tasks
    assert not any(task.caching_options.enable_cache for task in parsed.root.dag.tasks.values())
    json_format.ParseDict(spec["platform_spec"], pipeline_spec_pb2.PlatformSpec())
    containers = spec["pipeline_spec"]["deploymentSpec"]["executors"]
    assert containers["exec-train-stage"]["container"]["resources"]["accelerator"]
    assert "secretAsEnv" in json.dumps(spec["platform_spec"])


def test_stages_that_train_for_less_than_a_step_costs_share_one(cli: Cli, kfp_api: KfpApi) -> None:
    """Kubeflow takes twenty seconds a step, and the digits' stages train for a second or two."""
    done = cli("run", "--alpha", "2", "--endpoint", kfp_api.address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2] == (
        "1 in place of 3 training steps: what trains for less than the 20 s that a step costs "
        "Kubeflow shares one (--step-overhead 0: none does)"
    )
    (body,) = kfp_api.posted
    tasks = body["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert sorted(tasks) == ["prepare", "report", "train-stage"]
    assert tasks["train-stage"]["taskInfo"]["name"].startswith("stages 1-3: 10 more")
    slow = cli("run", "--alpha", "2", "--endpoint", kfp_api.address, "--images-per-second", "10")
    assert slow.returncode == 0, slow.stderr
    tasks = kfp_api.posted[-1]["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert len(tasks) == 5
    assert kfp_api.posted[-1]["display_name"] == body["display_name"]  # it is the same run


def test_the_run_is_read_again_before_it_is_said_to_be_there(cli: Cli, kfp_api: KfpApi) -> None:
    done = cli("run", "--endpoint", kfp_api.address, "--name", "far")
    assert done.returncode == 0, done.stderr
    (run_id,) = kfp_api.runs
    assert kfp_api.seen[-1] == ("GET", f"/apis/v2beta1/runs/{run_id}")


def test_runs_of_one_experiment_find_it(cli: Cli, kfp_api: KfpApi) -> None:
    for _ in range(2):
        done = cli("run", "--endpoint", kfp_api.address, "--experiment", "mine + 100%")
        assert done.returncode == 0, done.stderr
    (experiment,) = kfp_api.experiments.values()
    assert experiment["display_name"] == "mine + 100%"
    assert len(kfp_api.runs) == 2


def test_the_endpoint_can_come_from_the_environment(cli: Cli, kfp_api: KfpApi) -> None:
    done = cli("run", KFP_ENDPOINT=kfp_api.address)
    assert done.returncode == 0, done.stderr
    assert "\nsubmitted digits-" in done.stdout


def test_watch_follows_to_success(cli: Cli, kfp_api: KfpApi) -> None:
    done = cli("run", "--endpoint", kfp_api.address, "--watch", "--name", "far")
    assert done.returncode == 0, done.stderr
    assert "far: succeeded" in done.stderr


def test_watch_tells_a_failure_and_why(cli: Cli, kfp_api: KfpApi) -> None:
    kfp_api.states, kfp_api.error = ["FAILED"], "pod was evicted"
    done = cli("run", "--endpoint", kfp_api.address, "--watch", "--name", "far")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "accrete: error: run 'far' failed: pod was evicted"


def test_a_refused_run_is_one_line(cli: Cli, kfp_api: KfpApi) -> None:
    done = cli("run", "--endpoint", kfp_api.address, "--name", "refuse-me")
    assert done.returncode == 1
    assert done.stderr == (
        f"accrete: error: Kubeflow Pipelines at {kfp_api.address} says 400 "
        "(Failed to create a new run: Invalid input error: no)\n"
    )


def test_an_unreachable_endpoint_is_one_line(cli: Cli) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = cli("run", "--endpoint", endpoint)
    assert done.returncode == 1
    assert f"Kubeflow Pipelines at {endpoint} cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("keeps_descriptions", [True, False])
def test_a_run_whose_creation_was_cut_off_is_found_and_not_made_twice(
    keeps_descriptions: bool, cli: Cli, kfp_api: KfpApi
) -> None:
    assert cli("run", "--endpoint", kfp_api.address, "--name", "far").returncode == 0
    kfp_api.drop_creations, kfp_api.keeps_descriptions = 1, keeps_descriptions
    done = cli("run", "--endpoint", kfp_api.address, "--name", "far")
    assert done.returncode == 0, done.stderr
    earlier, ours = kfp_api.runs
    assert done.stdout.splitlines()[-1].endswith(ours)
    assert earlier != ours


@pytest.mark.slow
def test_a_run_whose_creation_was_lost_is_made_once(cli: Cli, kfp_api: KfpApi) -> None:
    kfp_api.lose_creations = 1
    done = cli("run", "--endpoint", kfp_api.address, "--name", "far")
    assert done.returncode == 0, done.stderr
    assert len(kfp_api.runs) == 1


@pytest.mark.parametrize(
    "gate",
    [
        pytest.param(saying("no healthy upstream", 503), id="503", marks=pytest.mark.slow),
        pytest.param(saying("", 429, Retry_After="1"), id="429"),
        pytest.param(hanging_up, id="cut", marks=pytest.mark.slow),
    ],
)
def test_what_passes_is_waited_for(gate: object, cli: Cli, kfp_api: KfpApi) -> None:
    kfp_api.gates = [failing(2, gate)]  # type: ignore[arg-type]
    done = cli("run", "--endpoint", kfp_api.address, "--name", "far")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_watch_outlives_an_api_that_is_away_and_says_so_once(cli: Cli, kfp_api: KfpApi) -> None:
    kfp_api.states = ["RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    away = failing(2, saying("<html><h1>503 Service Unavailable", 503, "text/html"))

    def after_the_run(handler: object) -> bool:
        return (
            bool(kfp_api.seen[-1][1].count("v2beta1/runs/"))
            and len(kfp_api.seen) > 8
            and (
                away(handler)  # type: ignore[arg-type]
            )
        )

    kfp_api.gates = [after_the_run]
    done = cli("run", "--endpoint", kfp_api.address, "--watch", "--name", "far")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the run goes on, and is looked for again") == 1
    assert done.stderr.count("Kubeflow Pipelines answers again") == 1


@pytest.mark.slow
def test_watch_tells_a_run_that_was_deleted(cli: Cli, kfp_api: KfpApi) -> None:
    kfp_api.states = ["RUNNING"]

    def deleted(_handler: object) -> bool:
        looks = [path for _, path in kfp_api.seen if "v2beta1/runs/" in path]
        if len(looks) > 1:
            kfp_api.runs.clear()
        return False

    kfp_api.gates = [deleted]
    done = cli("run", "--endpoint", kfp_api.address, "--watch", "--name", "far")
    assert done.returncode == 1
    assert "was deleted on Kubeflow while it was followed" in done.stderr


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_watching_and_not_the_run(
    signum: int, code: int, cli_env: dict[str, str], kfp_api: KfpApi, tmp_path: Path
) -> None:
    kfp_api.states = ["RUNNING"]
    command = [str(Path(sys.executable).parent / "accrete"), "run", "--name", "far", "--watch"]
    process = subprocess.Popen(
        [*command, "--endpoint", kfp_api.address],
        env=cli_env,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        try:
            assert process.stderr.readline() == "far: running\n"
            process.send_signal(signum)
            said = process.stderr.read()
        finally:
            process.kill()
    (run_id,) = kfp_api.runs
    assert f"far goes on: {kfp_api.address}/#/runs/details/{run_id}" in said
    assert "the same command" not in said  # which would submit it again
    assert "Traceback" not in said
    assert process.returncode == code


@pytest.mark.slow
def test_a_run_that_was_terminated_is_said_to_be(cli: Cli, kfp_api: KfpApi) -> None:
    kfp_api.states = ["RUNNING", "CANCELING", "CANCELED"]
    done = cli("run", "--endpoint", kfp_api.address, "--watch", "--name", "far")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "accrete: error: run 'far' canceled: it was terminated on Kubeflow; submitted again, it "
        "goes on from what is stored"
    )


@pytest.mark.slow
def test_a_run_stays_here_where_only_kfp_s_own_variable_names_an_api(
    cli: Cli, kfp_api: KfpApi
) -> None:
    one_stage = ("--stages", "10", "--budget-epochs", "1")
    done = cli("run", *one_stage, KF_PIPELINES_ENDPOINT=kfp_api.address)
    assert done.returncode == 0, done.stderr
    assert "remark: KF_PIPELINES_ENDPOINT is not read, this run stays here" in done.stderr
    assert kfp_api.seen == []


def test_kfp_s_variables_name_the_page_and_the_experiment(cli: Cli, kfp_api: KfpApi) -> None:
    done = cli(
        *("run", "--endpoint", kfp_api.address, "--name", "far"),
        KF_PIPELINES_UI_ENDPOINT="https://kubeflow.example.com/pipeline/",
        KF_PIPELINES_OVERRIDE_EXPERIMENT_NAME="of-the-platform",
    )
    assert done.returncode == 0, done.stderr
    (run_id,) = kfp_api.runs
    page = f"https://kubeflow.example.com/pipeline/#/runs/details/{run_id}"
    assert done.stdout.splitlines()[-1] == f"submitted far: {page}"
    (experiment,) = kfp_api.experiments.values()
    assert experiment["display_name"] == "of-the-platform"


def test_a_run_that_comes_back_as_another_is_refused(cli: Cli, kfp_api: KfpApi) -> None:
    def another(handler: Handler) -> bool:
        path = handler.path.rpartition("/")
        if not path[0].endswith("v2beta1/runs"):
            return False
        handler.answer({"run_id": path[2], "display_name": "near", "state": "RUNNING"})
        return True

    kfp_api.gates = [another]
    done = cli("run", "--endpoint", kfp_api.address, "--name", "far")
    assert done.returncode == 1
    assert "is 'near', not 'far'" in done.stderr
    assert "submitted" not in done.stdout


def test_a_run_without_an_id_is_refused(cli: Cli, kfp_api: KfpApi) -> None:
    def no_id(handler: Handler) -> bool:
        if handler.command == "GET" or not handler.path.endswith("/runs"):
            return False
        handler.answer({})
        return True

    kfp_api.gates = [no_id]
    done = cli("run", "--endpoint", kfp_api.address, "--name", "far")
    assert done.returncode == 1
    assert "gave the run no id" in done.stderr
