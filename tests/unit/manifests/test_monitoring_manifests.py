"""The monitoring component: valid objects, rules that fire when they must, a dashboard of ours."""

import copy
import json
import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from conftest import HANGS_S
from test_manifests import KUBERNETES_VERSIONS, breaches, pod_specs
from yaml_sample import document_in, documents_in

from accrete.monitoring.instruments import INSTRUMENTS

REPOSITORY = Path(__file__).parents[3]
COMPONENT = REPOSITORY / "manifests" / "components" / "monitoring"
DASHBOARD = json.loads((COMPONENT / "dashboard.json").read_text())
RULES = document_in((COMPONENT / "rules.yaml").read_text())["spec"]
RULE_TESTS = Path(__file__).with_name("rules_test.yaml")

EXPORTED = {instrument.name for instrument in INSTRUMENTS}
ALL_RULES = [rule for group in RULES["groups"] for rule in group["rules"]]
RECORDED = {rule["record"] for rule in ALL_RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
OF_PUSHGATEWAY = {"push_time_seconds", "push_failure_time_seconds"}

Document = dict[str, Any]


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        pytest.skip(f"no kubectl beside {sys.executable}: install the package's dev extra")
    done = subprocess.run(
        [kubectl, "kustomize", COMPONENT],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return documents_in(done.stdout)


@pytest.fixture(scope="module")
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("no promtool: apt-get install prometheus")
    return path


def check_custom_resource(document: Document) -> None:
    """Refuse what does not fit the operator's own resource definitions (0.80), strictly.

    The models were made from those definitions, but leave out what they do not know: that shows
    when the object is written out again.
    """
    from cloudcoil.models.prometheus_operator import v1 as operator  # seconds, in one worker

    model = getattr(operator, document["kind"]).model_validate(document)
    again = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert again == document


@pytest.mark.slow
def test_every_object_fits_its_schema(documents: list[Document]) -> None:
    kinds = [document["kind"] for document in documents]
    assert sorted(kinds) == [
        *("ConfigMap", "Deployment", "NetworkPolicy"),
        *("PodMonitor", "PrometheusRule", "Service", "ServiceMonitor"),
    ]
    for document in documents:
        assert document["metadata"]["namespace"] == "accrete"
        if document["apiVersion"] == "monitoring.coreos.com/v1":
            check_custom_resource(document)
        else:
            for version in KUBERNETES_VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "intervall"), "15s"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "often"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "relabelings", 0, "action"), "retain"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "honorLabels"), "maybe"),
        ("PrometheusRule", ("spec", "groups", 1, "rules", 0, "for"), "a while"),
        ("PrometheusRule", ("spec", "groups", 1, "rules", 0, "exp"), "up"),
    ],
)
def test_a_field_that_is_wrong_does_not_fit(
    documents: list[Document], kind: str, path: tuple[str | int, ...], value: str
) -> None:
    (document,) = [copy.deepcopy(d) for d in documents if d["kind"] == kind]
    holder: Any = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    with pytest.raises((AssertionError, ValueError)):
        check_custom_resource(document)


def test_the_pushgateway_s_pod_meets_the_restricted_standard(documents: list[Document]) -> None:
    (pod,) = pod_specs(documents)
    assert breaches(pod) == []


def test_the_rules_pass_promtool_and_its_unit_tests(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    shutil.copy(RULE_TESTS, tmp_path)
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", RULE_TESTS.name]):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_promtool_s_unit_tests_notice_a_changed_threshold(promtool: str, tmp_path: Path) -> None:
    changed = yaml.safe_dump(RULES).replace("> 900", "> 9000")
    assert changed != yaml.safe_dump(RULES)
    (tmp_path / "rules.yaml").write_text(changed)
    shutil.copy(RULE_TESTS, tmp_path)
    done = subprocess.run(
        [promtool, "test", "rules", RULE_TESTS.name],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=HANGS_S,
    )
    assert done.returncode != 0


def test_every_alert_is_tested_to_fire_and_not_to_fire() -> None:
    fires, is_quiet = set(), set()
    for test in document_in(RULE_TESTS.read_text())["tests"]:
        for case in test.get("alert_rule_test", []):
            (fires if case["exp_alerts"] else is_quiet).add(case["alertname"])
    assert fires == is_quiet == ALERTS.keys()


def test_every_alert_has_a_paragraph_on_what_to_do() -> None:
    text = (REPOSITORY / "docs" / "monitoring.md").read_text()
    for name, rule in ALERTS.items():
        assert f"\n### {name}\n" in text
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("warning", "critical")


def dashboard_expressions() -> list[str]:
    return [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]


def metric_names(expression: str) -> set[str]:
    """Return the names of metrics in an expression: ours, recorded ones, the Pushgateway's."""
    plain = re.sub(r'"[^"]*"|\b(?:by|on|ignoring)\s*\([^)]*\)', " ", expression)
    return set(re.findall(r"\b(?:accrete_|push_|run_)[\w:]*", plain))


def test_rules_and_dashboard_name_only_metrics_that_exist() -> None:
    for expression in (*(rule["expr"] for rule in ALL_RULES), *dashboard_expressions()):
        names = metric_names(expression)
        assert names, expression
        assert names <= EXPORTED | RECORDED | OF_PUSHGATEWAY, expression


def test_every_expression_of_the_dashboard_is_promql(promtool: str, tmp_path: Path) -> None:
    """As the rules of a file that promtool checks: it has no other way to parse one."""
    expressions = [e.replace("$run", ".*") for e in dashboard_expressions()]
    assert not [e for e in expressions if "$" in e]
    rules = [{"record": f"a:b{number}", "expr": e} for number, e in enumerate(expressions)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", path], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert f"{len(rules)} rules found" in done.stdout.decode()


def test_the_dashboard_shows_every_kind_of_figure() -> None:
    shown = " ".join(dashboard_expressions())
    behind = " ".join(rule["expr"] for rule in ALL_RULES if rule.get("record", "-") in shown)
    for part in (
        *("step_running", "step_failed", "exit_code", "attempts", "last_progress"),
        *("images_done", "steps_done", "train_loss", "learning_rate", "top1", "train_images"),
        *("pulled_bytes", "pushed_bytes", "pull_seconds", "push_seconds", "cache_hits"),
        *("snapshot_last_timestamp", "store_errors", "store_retries", "push_failures"),
        *("gpu_memory_allocated", "stage_duration"),
    ):
        assert part in shown + behind, part


def test_the_dashboard_is_one_that_grafana_can_lay_out(documents: list[Document]) -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "run"}
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    (config,) = [document for document in documents if document["kind"] == "ConfigMap"]
    assert config["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert json.loads(config["data"]["accrete.json"]) == DASHBOARD
