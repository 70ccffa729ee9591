"""Addresses of Kubeflow, and what an answer in its place is: whatever it is, one line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.errors import ConfigError
from accrete.runners.kubeflow._address import host_of, is_in_cluster, parse_endpoint, run_page
from accrete.runners.kubeflow._answers import Answer, refusal_of

URL = "http://kfp.example.com/apis/v2beta1/runs/1"
BASE = "http://kfp.example.com"
BY_KUBECTL = "https://k8s:6443/api/v1/namespaces/kubeflow/services/ml-pipeline:8888/proxy"


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://h:8888", "http://h:8888"),
        ("  http://h:8888/ ", "http://h:8888"),
        ("HTTPS://h", "https://h"),
        ("https://h/pipeline/", "https://h/pipeline"),
        ("https://h/pipeline/#/experiments?x=y", "https://h/pipeline"),
        ("https://h/_/pipeline/?ns=team#/runs", "https://h/pipeline"),
        ("https://h/pipeline/index.html#/runs", "https://h/pipeline"),
        ("https://h/kfp/apis/v2beta1/healthz", "https://h/kfp"),
        ("https://h/kfp/apis", "https://h/kfp"),
        ("http://[::1]:8888/#/runs", "http://[::1]:8888"),
        (BY_KUBECTL, BY_KUBECTL),
    ],
)
def test_an_address_is_that_of_the_api_however_it_was_copied(text: str, base: str) -> None:
    assert parse_endpoint(text).base == base


def test_root_and_dashboard_are_where_else_it_may_be() -> None:
    assert parse_endpoint("http://h").others == ("http://h/pipeline",)
    assert parse_endpoint("http://h/pipeline").others == ("http://h",)
    assert parse_endpoint("http://h/kfp").others == (
        "http://h/kfp/pipeline",
        "http://h",
        "http://h/pipeline",
    )


@pytest.mark.parametrize(
    "text",
    ["", "kfp", "kfp:8888", "ftp://h", "http://", "http://h:port", "http://me:pw@h", "http://[::1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give http://host:port of the KFP API"):
        parse_endpoint(text)


@pytest.mark.parametrize("text", ["http://h/a b", "http://hé", "http://h/\x00"])
def test_characters_that_no_address_has_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://me:very-secret@h",
        "http://me:1/very-secret@h",
        "ftp://h?token=very-secret",
        "kfp?token=very-secret",
    ],
)
def test_a_refused_address_shows_no_secret(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text)
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "is_inside"),
    [
        ("http://ml-pipeline.kubeflow.svc.cluster.local:8888", True),
        ("http://ml-pipeline.kubeflow:8888", True),
        ("http://kfp.team.svc", True),
        ("http://ml-pipeline.example.com", False),
        ("https://kubeflow.example.com", False),
    ],
)
def test_services_of_a_cluster_are_told_from_other_hosts(base: str, is_inside: bool) -> None:
    assert is_in_cluster(base) is is_inside


def test_pages_and_hosts_have_no_user() -> None:
    assert run_page("https://h/pipeline/", "1") == "https://h/pipeline/#/runs/details/1"
    assert "pw" not in run_page("https://me:pw@h/pipeline", "1")
    assert host_of("https://me:pw@h:1/x") == "h:1"


def test_success_is_a_json_object() -> None:
    assert refusal_of(Answer(URL, 200, {}, b"{}"), BASE, "") is None


NO_NAMESPACE = "A run cannot have an empty namespace in multi-user mode"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"code": 5, "message": "Run 1 not found"}, "gone"),
        (404, {"detail": "Not Found"}, "elsewhere"),
        (400, {"code": 3, "message": NO_NAMESPACE}, "refused"),
        (401, {"code": 16, "message": "User identity is empty in the request header"}, "access"),
        (403, {"code": 7, "message": "User 'a' is not authorized"}, "access"),
        (500, {"code": 13, "message": "Failed to create a workflow"}, "refused"),
        (503, {"code": 14, "message": "try again later"}, "away"),
        (500, {}, "away"),
    ],
)
def test_kfp_s_own_refusals_are_told_apart(status: int, body: Any, kind: str) -> None:
    found = refusal_of(Answer(URL, status, {}, json.dumps(body).encode()), BASE, "")
    assert found is not None
    assert found.kind == kind
    if NO_NAMESPACE in str(body):
        assert found.words.endswith("give --namespace")


BODIES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.text(max_size=99).map(lambda title: f"<html><title>{title}</title>".encode()),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["code", "message", "error", "kind"]), inner, max_size=4
            )
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(["location", "server", "content-type", "www-authenticate"]),
    st.text(max_size=60) | st.sampled_from(["text/html", "//x/y", "http://[", "https://a@b/c?d"]),
)


@given(status=st.integers(100, 599), headers=HEADERS, body=BODIES, sent=st.sampled_from(["", "x"]))
def test_every_answer_is_a_success_or_one_bounded_line(
    status: int, headers: dict[str, str], body: bytes, sent: str
) -> None:
    found = refusal_of(Answer(URL, status, headers, body), BASE, sent)
    if found is None:
        assert 200 <= status < 300
    else:
        assert found.words.isprintable()
        assert len(found.words) < 900
