"""A request to submit whose answer is lost, late or another's: one run comes of it, or a word."""

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from compiled_sample import on_a_short_stack
from conftest import Cli
from kfp_api import Gate, Handler, KfpApi, failing, kfp_at, saying

from accrete.core.processes import TerminatedError
from accrete.errors import PipelineAccessError, PipelineError
from accrete.runners.kubeflow import submission
from accrete.runners.kubeflow.access import Access
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.submission import RemoteRun

KFP_500 = '{"error":"x","code":13,"message":"Failed to set last run timestamp on experiment"}'
REQUEST: Any = SimpleNamespace(run_name="far", store_uri="s3://x")  # all that is asked of it here
UNDECIDED = "it cannot be told whether run 'far' was submitted; look at"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpApi]:
    monkeypatch.setattr(submission, "specification", lambda _: {"pipeline_spec": {}})
    monkeypatch.setattr(submission, "_LOOKS_S", (0.01, 0.05, 0.1))
    monkeypatch.setattr(submission, "_LATE_LOOKS_S", (0.01, 0.1, 0.3, 0.5))
    monkeypatch.setattr(submission, "_PAUSE_S", 0.01)
    with kfp_at() as server:
        yield server


class Told(list[str]):
    """The remarks of one submission."""

    def submit(self, api: KfpApi, **access: Any) -> RemoteRun:
        kubeflow = Kubeflow(api.address, Access(**access), patience_s=1)
        return on_a_short_stack(
            lambda: submission.submit(kubeflow, lambda _: None, REQUEST, "accrete", self.append)
        )


def creating(answer: Callable[[Handler], Any], times: int = 1) -> Gate:
    """The run is made, and something else answers."""

    def gate(handler: Handler) -> bool:
        handler.server.create_run(handler.body)
        answer(handler)
        return True

    return to_create(failing(times, gate))


def to_create(gate: Gate) -> Gate:
    """A gate for requests to create a run."""

    def chosen(handler: Handler) -> bool:
        is_it = handler.command == "POST" and handler.path.endswith("/v2beta1/runs")
        return is_it and gate(handler)

    return chosen


def num_posts(api: KfpApi) -> int:
    return sum(method == "POST" and path.endswith("/runs") for method, path in api.seen)


@pytest.mark.parametrize(
    "answer",
    [
        saying(KFP_500, 500, "application/json"),
        saying("<title>504 Gateway Time-out</title>", 504, "text/html"),
        saying("<title>524: A timeout occurred</title>", 524, "text/html"),
        saying("", 408),
        saying('{"code":1,"message":"context canceled"}', 499, "application/json"),
        saying("", 302, Location="/login"),
        saying("{}", 200, "application/json"),
        saying("<title>x</title>", 200, "text/html"),
        saying("", 502),
    ],
    ids=["kfp-500", "504", "524", "408", "499", "302", "empty", "page", "502"],
)
def test_a_run_that_was_made_is_found_whatever_was_answered(answer: Gate, api: KfpApi) -> None:
    api.gates = [creating(answer)]
    done = Told().submit(api)
    assert list(api.runs) == [done.run.run_id]
    assert num_posts(api) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(400, PipelineError), (401, PipelineAccessError), (413, PipelineError)]
)
def test_what_is_refused_is_not_looked_for(
    status: int, kind: type[PipelineError], api: KfpApi
) -> None:
    api.gates = [to_create(saying("no", status))]
    with pytest.raises(kind, match=f"says {status}"):
        Told().submit(api)
    assert api.seen[-1][0] == "POST"
    assert num_posts(api) == 1


def test_a_run_that_kfp_failed_to_make_is_said_not_to_be_there(api: KfpApi) -> None:
    api.gates = [to_create(saying(KFP_500, 500, "application/json"))]
    with pytest.raises(PipelineError, match=r"timestamp.*no run was created that could be found"):
        Told().submit(api)
    assert num_posts(api) == 1


def test_a_run_that_comes_late_is_waited_for_and_not_made_twice(api: KfpApi) -> None:
    def late(handler: Handler) -> bool:
        threading.Timer(0.2, handler.server.create_run, [handler.body]).start()
        handler.say("upstream request timeout", 504)
        return True

    api.gates = [to_create(failing(1, late))]
    told = Told()
    done = told.submit(api)
    assert list(api.runs) == [done.run.run_id]
    assert num_posts(api) == 1
    (line,) = told
    assert "says 504" in line
    assert "the run is looked for, for 1 s, since it may come late" in line


def test_a_run_that_does_not_come_is_not_submitted_again(api: KfpApi) -> None:
    api.gates = [to_create(saying("upstream request timeout", 504))]
    with pytest.raises(PipelineError, match=f"{UNDECIDED} {api.address}/#/runs before you submit"):
        Told().submit(api)
    assert num_posts(api) == 1


def test_a_gateway_that_is_too_busy_is_asked_again_at_once(api: KfpApi) -> None:
    api.gates = [to_create(failing(2, saying("", 429)))]
    Told().submit(api)
    assert len(api.runs) == 1
    assert num_posts(api) == 3


def test_a_request_that_was_sent_twice_on_the_way_leaves_one_run(api: KfpApi) -> None:
    def twice(handler: Handler) -> bool:
        handler.server.create_run(handler.body)
        return False

    api.gates = [to_create(twice)]
    told = Told()
    done = told.submit(api)
    other, ours = api.runs
    assert ours == done.run.run_id
    assert api.runs[other]["state"] == "CANCELING"
    assert "state" not in api.runs[ours]
    assert told == [f"something on the way submitted far twice: run {other} was terminated"]


def test_a_double_that_cannot_be_terminated_is_named(api: KfpApi) -> None:
    def twice(handler: Handler) -> bool:
        if handler.path.endswith(":terminate"):
            return saying("no", 403)(handler)
        return False

    def made(handler: Handler) -> bool:
        handler.server.create_run(handler.body)
        return False

    api.gates = [twice, to_create(made)]
    told = Told()
    told.submit(api)
    other = next(iter(api.runs))
    assert f"twice: run {other} goes on beside it" in told[0]
    assert told[0].endswith(f"terminate it at {api.address}/#/runs/details/{other}")


def test_a_run_of_the_same_name_that_still_runs_is_named(api: KfpApi) -> None:
    api.states = ["RUNNING"]
    first = Told().submit(api)
    told = Told()
    told.submit(api)
    assert told == [f"another run 'far' is running on Kubeflow: {first.address}"]
    api.states, told = ["FAILED"], Told()
    told.submit(api)
    assert told == []


def test_who_stops_while_it_is_submitted_is_told_to_look(api: KfpApi) -> None:
    def stop(*_: object) -> str:
        raise TerminatedError

    kubeflow = Kubeflow(api.address)
    kubeflow.create_run = stop  # type: ignore[method-assign]  # a signal comes at no fixed time
    with pytest.raises(TerminatedError, match=f"stopped: {UNDECIDED}"):
        submission.submit(kubeflow, lambda _: None, REQUEST, "accrete", print)


@pytest.mark.parametrize("is_cut", [True, False])
def test_an_experiment_that_another_makes_meanwhile_is_taken(is_cut: bool, api: KfpApi) -> None:
    def race(handler: Handler) -> bool:
        is_it = handler.command == "POST" and handler.path.endswith("/experiments")
        if is_it and not api.experiments:
            api.create_experiment(handler.body)
            if is_cut:
                handler.hang_up()
                return True
        return False

    api.gates = [race]
    done = Told().submit(api)
    (experiment,) = api.experiments
    assert api.runs[done.run.run_id]["experiment_id"] == experiment


def test_the_command_says_its_remarks_on_stderr(cli: Cli, api: KfpApi) -> None:
    api.states = ["RUNNING"]
    for _ in range(2):
        done = cli("run", "--endpoint", api.address, "--name", "far")
    assert done.returncode == 0
    assert done.stderr.startswith("remark: another run 'far' is running on Kubeflow: http://")
