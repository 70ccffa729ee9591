"""What `accrete doctor` says of the way to a store and of credentials in files."""

from pathlib import Path

import pytest
from conftest import Cli

from accrete.cli._doctor import _unprotected
from accrete.store.object_store import ObjectStore


@pytest.mark.parametrize(
    ("endpoint", "is_remarked"),
    [
        ("http://127.0.0.1:8333", False),
        ("http://localhost:8333", False),
        ("http://[::1]:8333", False),
        ("http://accrete-store.accrete.svc:8333", False),
        ("http://accrete-store.accrete.svc.cluster.local:8333", False),
        ("http://minio:9000", False),
        ("https://s3.example.com", False),
        ("http://s3.example.com", True),
        ("http://10.0.0.7:9000", True),
        ("http://[2001:db8::1]:9000", True),
    ],
)
def test_plain_http_beyond_this_machine_and_cluster_is_remarked(
    endpoint: str, is_remarked: bool
) -> None:
    assert ("without TLS" in _unprotected(endpoint)) == is_remarked


@pytest.mark.slow
@pytest.mark.parametrize("case", [(0o644, "", 1), (0o600, "", 0), (0o640, "", 1), (0o644, "x", 0)])
def test_a_credential_s_file_that_others_can_read_is_told_outside_of_pods(
    case: tuple[int, str, int], cli: Cli, store: ObjectStore, tmp_path: Path
) -> None:
    mode, in_pod, code = case
    path = tmp_path / "secret-key"
    path.write_text(store.settings.secret_key + "\n")
    path.chmod(mode)
    done = cli(
        "doctor", "--store", KUBERNETES_SERVICE_HOST=in_pod,
        ACCRETE_S3_SECRET_KEY="", ACCRETE_S3_SECRET_KEY_FILE=str(path),
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert done.stdout.startswith("ok    store: ")
    assert (f"FAIL  credentials: {path} can be read by" in done.stdout) == bool(code)
    assert store.settings.secret_key not in done.stdout + done.stderr
