"""What the network policies let through: the ways that steps need, and no other."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from manifest_sample import FORMS, Document, documents_of, of_kind, pod_templates

from accrete.config.pod import POD_LABELS

STORE_PORT, METRICS_PORT, PUSHGATEWAY_PORT = 8333, 9464, 9091


@dataclass(frozen=True)
class Place:
    """A pod, or an address outside the cluster where it has no namespace."""

    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    address: str = "10.0.0.1"


def ours(component: str, namespace: str = "accrete") -> Place:
    return Place(namespace, {"app.kubernetes.io/name": "accrete",
                             "app.kubernetes.io/component": component})  # fmt: skip


STEP, STEP_IN_KUBEFLOW = Place("accrete", POD_LABELS), Place("kubeflow", POD_LABELS)
DOCTOR, STORE, CACHE = (ours(name) for name in ("doctor", "store", "cache"))
DNS = Place("kube-system", {"k8s-app": "kube-dns"})
API = Place("kubeflow", {"app": "ml-pipeline"})
METADATA = Place("kubeflow", {"component": "metadata-grpc-server"})
ARTIFACTS = Place("kubeflow", {"app": "seaweedfs"})
DRIVER = Place("accrete", {"pipelines.kubeflow.org/v2_component": "true"})
MONITOR = Place("monitoring", {"app": "anything"})
STRANGER = Place("default", POD_LABELS)
INTERNET = Place(address="203.0.113.7")


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Return whether a label selector matches; an empty one matches all."""
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def is_peer(peer: Document, place: Place, policy_namespace: str) -> bool:
    """Return whether a policy's peer is this place."""
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        address = ip_address(place.address)
        outside = any(address in ip_network(part) for part in block.get("except", []))
        return place.namespace is None and address in ip_network(block["cidr"]) and not outside
    if place.namespace is None:
        return False
    namespace_labels = {"kubernetes.io/metadata.name": place.namespace}
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], namespace_labels):
            return False
    elif place.namespace != policy_namespace:
        return False
    return selects(peer.get("podSelector", {}), place.labels)


def passes(policies: list[Document], way: str, place: Place, other: Place, port: Any) -> bool:
    """Return whether the policies that select a place let it talk to another, in one direction."""
    key, peers = ("egress", "to") if way == "Egress" else ("ingress", "from")
    binding = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == place.namespace
        and way in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], place.labels)
    ]
    return not binding or any(
        any(is_peer(peer, other, str(place.namespace)) for peer in rule[peers])
        and port in [entry["port"] for entry in rule["ports"]]
        for spec in binding
        for rule in spec.get(key, [])
    )


def connects(documents: list[Document], source: Place, target: Place, port: int) -> bool:
    policies = of_kind(documents, "NetworkPolicy")
    return passes(policies, "Egress", source, target, port) and (
        target.namespace is None or passes(policies, "Ingress", target, source, port)
    )


@pytest.mark.parametrize("form", ["base", "kind", "gpu"])
@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (STEP, STORE, STORE_PORT),
        (DOCTOR, STORE, STORE_PORT),
        (STEP, DNS, 53),
        (DOCTOR, DNS, 53),
        (STEP, API, 8887),
        (STEP, METADATA, 8080),
        (STEP, ARTIFACTS, 8333),
        (STEP, INTERNET, 443),
        (STEP, INTERNET, 6443),
        (STEP, MONITOR, PUSHGATEWAY_PORT),
        (MONITOR, STEP, METRICS_PORT),
        (DRIVER, METADATA, 8080),
        (DRIVER, API, 8887),
        (DRIVER, ARTIFACTS, 8333),
        (STEP_IN_KUBEFLOW, STORE, STORE_PORT),
    ],
)
def test_what_is_needed_gets_through(form: str, source: Place, target: Place, port: int) -> None:
    assert connects(documents_of(form), source, target, port)


@pytest.mark.parametrize("form", ["base", "kind", "gpu"])
@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (STEP, STORE, 8888),
        (STEP, STORE, 9333),
        (STEP, STORE, 18333),
        (STEP, INTERNET, 80),
        (STEP, API, 9000),
        (STEP, Place("default", {}), 8333),
        (STEP, MONITOR, 9090),
        (MONITOR, STEP, 22),
        (MONITOR, STORE, STORE_PORT),
        (STRANGER, STORE, STORE_PORT),
        (STRANGER, STEP, METRICS_PORT),
        (Place("kubeflow", {"app": "ml-pipeline"}), STORE, STORE_PORT),
        (DRIVER, STORE, STORE_PORT),
        (DOCTOR, API, 8887),
        (DOCTOR, INTERNET, 443),
        (CACHE, STORE, STORE_PORT),
        (CACHE, INTERNET, 443),
        (STORE, INTERNET, 443),
        (STORE, DNS, 9),
        (Place("accrete", {}), INTERNET, 443),
        (Place("accrete", {}), DNS, 53),
    ],
)
def test_nothing_else_does(form: str, source: Place, target: Place, port: int) -> None:
    assert not connects(documents_of(form), source, target, port)


def test_steps_in_kubeflow_s_namespace_are_held_as_in_ours() -> None:
    documents = documents_of("kind")
    assert connects(documents, STEP_IN_KUBEFLOW, METADATA, 8080)
    assert connects(documents, STEP_IN_KUBEFLOW, DNS, 53)
    assert not connects(documents, STEP_IN_KUBEFLOW, INTERNET, 80)
    assert not connects(documents, STEP_IN_KUBEFLOW, Place("kubeflow", {"app": "mysql"}), 3306)


def test_kubeflow_s_own_pods_are_not_touched() -> None:
    documents = documents_of("kind")
    assert connects(documents, API, Place("kubeflow", {"app": "mysql"}), 3306)
    assert connects(documents, API, INTERNET, 80)


def test_with_an_external_store_steps_and_doctor_get_out_by_https_only() -> None:
    documents = documents_of("external")
    for source in (STEP, DOCTOR):
        assert connects(documents, source, INTERNET, 443)
        assert not connects(documents, source, INTERNET, 80)
        assert not connects(documents, source, STORE, STORE_PORT)
    assert not connects(documents, CACHE, INTERNET, 443)


@pytest.mark.parametrize("form", FORMS)
def test_every_policy_selects_a_pod_that_there_is(form: str) -> None:
    documents = documents_of(form)
    known = [(namespace, t["metadata"]["labels"]) for namespace, t in pod_templates(documents)]
    for namespace in ("accrete", "kubeflow"):
        known += [(namespace, POD_LABELS), (namespace, DRIVER.labels)]
    for policy in of_kind(documents, "NetworkPolicy"):
        selector, namespace = policy["spec"]["podSelector"], policy["metadata"]["namespace"]
        assert any(where == namespace and selects(selector, labels) for where, labels in known)
