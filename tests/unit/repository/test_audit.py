"""The audit of the lock: that it says so when it did not run, and otherwise what it found."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from conftest import HANGS_S

from accrete.store._ports import free_ports

ROOT = Path(__file__).parents[3]
LOUD = "*** THE AUDIT DID NOT RUN: "


@contextmanager
def advisories(**vulnerable: str) -> Iterator[str]:
    """Answer as OSV's API does: these versions of packages have a flaw, which 99.0 mends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = body["package"]["name"]
            flaw = {
                "id": f"TEST-{name}",
                "published": "2020-01-01T00:00:00Z",
                "modified": "2020-01-01T00:00:00Z",
                "summary": "a flaw of this test",
                "affected": [
                    {
                        "package": {"name": name, "ecosystem": "PyPI"},
                        "ranges": [
                            {
                                "type": "ECOSYSTEM",
                                "events": [{"introduced": "0"}, {"fixed": "99.0"}],
                            }
                        ],
                    }
                ],
            }
            is_flawed = vulnerable.get(name) == body["version"]
            answer = json.dumps({"vulns": [flaw]} if is_flawed else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(
    *options: str, lock: Path | None = None, **env: str
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "images" / "audit.py"), *options]
    command += ["--lock", str(lock)] if lock else []
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.run(
        command, env=clean | env, capture_output=True, text=True, timeout=HANGS_S, check=False
    )


def at(url: str) -> tuple[str, ...]:
    return "--vulnerability-service", "osv", "--osv-url", url


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock of two packages."""
    path = tmp_path / "requirements.lock"
    hashes = "".join(f" \\\n    --hash=sha256:{digit * 64}" for digit in "ab")
    path.write_text(f"click==8.1.7{hashes}\nminio==7.2.15{hashes}\n")
    return path


def did_not_run(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 75, done.stdout + done.stderr
    assert "no known" not in (done.stdout + done.stderr).lower()
    assert "This says nothing of the packages." in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(LOUD)]
    return line.removeprefix(LOUD)


def test_an_index_that_cannot_be_reached_is_no_clean_bill(lock: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert did_not_run(audit(lock=lock, HTTPS_PROXY=nowhere))
    assert did_not_run(audit(*at(f"{nowhere}/v1/query"), lock=lock))


def test_an_index_without_advisories_is_no_clean_bill(lock: Path) -> None:
    with advisories() as url:
        reason = did_not_run(audit(*at(url), lock=lock))
    assert reason.startswith("the index answers, but knows nothing against jinja2==2.4.1")


def test_packages_without_known_vulnerabilities_pass(lock: Path) -> None:
    with advisories(jinja2="2.4.1") as url:
        done = audit(*at(url), lock=lock)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 packages looked up, 0 with known vulnerabilities\n"


def test_a_vulnerable_package_is_named_with_the_release_that_mends_it(lock: Path) -> None:
    with advisories(jinja2="2.4.1", minio="7.2.15") as url:
        done = audit(*at(url), lock=lock)
    assert done.returncode == 1
    assert "minio 7.2.15: TEST-minio, fixed in 99.0\n" in done.stdout


def test_a_lock_of_nothing_is_no_clean_bill(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    with advisories(jinja2="2.4.1") as url:
        did_not_run(audit(*at(url), lock=tmp_path / "empty"))


def test_the_whole_lock_is_looked_up() -> None:
    with advisories(jinja2="2.4.1") as url:
        done = audit(*at(url))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 50
