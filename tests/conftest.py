"""Shared fixtures: one real S3 store for the session, and a prefix of it for each test."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import hypothesis
import pytest
from warm import WarmProcesses

from accrete.catalog.catalog import Catalog
from accrete.core.processes import (
    available_cpus,
    ending,
    ignore_language,
    share_cpus_well,
)
from accrete.store.cache import NodeCache
from accrete.store.embedded import embedded_store
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

if TYPE_CHECKING:
    from scenarios import Workshop

# Before any test imports torch: the machine may be busy, if only with other workers' tests. These
# inherit what this set in the process that started them, where it did not know of them yet.
if (num_workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT")) is not None:
    os.environ.pop("OMP_NUM_THREADS", None)
share_cpus_well(among=int(num_workers or 1))
ignore_language()  # as every command does
os.environ["ACCRETE_STORE_LINGER_S"] = "0"
os.environ["ACCRETE_STORE_WAIT"] = "0"  # for those that are away on purpose
# How long an example takes says nothing of the code where the machine is busy.
hypothesis.settings.register_profile("accrete", deadline=None)
hypothesis.settings.load_profile("accrete")
# In the background a shell has us ignore Ctrl-C, and the commands that tests start would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
MANY_FILES = 100
HANGS_S = 1500
"""What ends before that does not hang, even where the machine is slow and busy."""
COMMANDS_IMPORT = (
    *(
        "accrete.cli.main",
        "accrete.runners.local",
        "accrete.runners.kubeflow.following",
        "accrete.models.predictor",
    ),
    *("kfp.compiler", "kfp.kubernetes", "minio", "pyarrow.parquet", "sklearn.datasets", "torch"),
)
CIFAR100 = os.environ.get("ACCRETE_TEST_CIFAR100")

KEPT_TOGETHER = (
    "tests/faults",
    "tests/integration/test_backend.py",
    "tests/integration/test_benchmarks.py::test_throughput",
    "tests/integration/test_collection.py",
    "tests/integration/test_embedded.py",
    "tests/integration/test_extend.py",
    "tests/integration/test_local_run.py",
    "tests/integration/test_no_leaks.py",
    "tests/integration/test_resume.py",
    "tests/integration/test_rights.py",
    "tests/integration/test_secrets.py",
    "tests/integration/test_tls.py",
    "tests/integration/test_train_job_api.py",
    "tests/integration/test_using.py",
    "tests/unit/reports/test_comparison_page.py",
    "tests/unit/pipelines/test_golden.py",
    "tests/unit/reports/test_run_page.py",
    "tests/unit/reports/test_study_page.py",
)
"""Where a test of one worker uses what another test made there: trained runs, servers, pages; and
where tests wait more than they compute, so that no two workers wait at once."""

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more than CPUs, as many tests wait for processes and servers that they have started.

    Each worker has a store and a torch of its own; few gigabytes feed few of them.
    """
    return min(4, available_cpus() + 2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spread single tests, but keep those together that share what is dear.

    It is told by path: xdist's own groups, by marker, do nothing under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((path for path in KEPT_TOGETHER if nodeid.startswith(path)), nodeid)

    return Scheduler(config, log)


def pytest_collection() -> None:
    """Look for no garbage while modules are imported: what they make stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor, later, among the million objects that were imported: each look takes 0.3 seconds."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="write the golden files anew")


@pytest.fixture(autouse=True)
def not_ending() -> Iterator[None]:
    """Have no test find this process told to end by the one before."""
    yield
    ending().clear()


@pytest.fixture(scope="session")
def cifar100() -> str:
    """Folder of the real CIFAR-100 in Parquet."""
    if not CIFAR100:
        pytest.skip("ACCRETE_TEST_CIFAR100 names no folder with the real CIFAR-100 in Parquet")
    return CIFAR100


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folder of the session's store."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def store_settings(session_home: Path) -> Iterator[StoreSettings]:
    """A running S3 server."""
    with embedded_store(session_home) as settings:
        yield settings


@pytest.fixture
def store(store_settings: StoreSettings) -> Iterator[ObjectStore]:
    """An empty prefix of the session's store."""
    yield ObjectStore(store_settings, parse_store_uri(f"s3://accrete/{uuid4().hex}"))
    # Steps that run in this process leave circles behind that hold connections: at a limit of
    # 1,024 open files the server takes no more of them at some time, and every request hangs.
    if sum(1 for _ in Path("/proc/self/fd").iterdir()) > MANY_FILES:
        gc.collect()


@pytest.fixture
def catalog(store: ObjectStore) -> Catalog:
    """The manifests of the test's prefix."""
    return Catalog(store)


@pytest.fixture
def cache(store: ObjectStore, tmp_path: Path) -> NodeCache:
    """A cold node cache."""
    return NodeCache(tmp_path / "cache", store)


@pytest.fixture(scope="session")
def warm_commands() -> Iterator[WarmProcesses]:
    """Processes that have imported what commands import: seconds of each, where a CPU is slow."""
    # A command ignores the user's language before it imports kfp.
    env = {"PYTHONPATH": str(Path(__file__).parent), "LC_ALL": "C.UTF-8"}
    with WarmProcesses(COMMANDS_IMPORT, env) as warm:
        yield warm


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a user runs commands: a folder, and an environment that names a store."""

    folder: Path
    env: dict[str, str]
    warm: WarmProcesses

    def run(
        self, *arguments: str, script: str | None = None, timeout_s: float = HANGS_S, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run `accrete …` to its end; where a script is named, that, as a shell starts it."""
        if script is not None:
            return subprocess.run(
                [str(Path(sys.executable).parent / script), *arguments],
                env=self.env | env,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        with tempfile.TemporaryDirectory() as said:
            errors = Path(said) / "stderr"
            process = self.warm.start(
                "commands:accrete",
                {
                    "arguments": arguments,
                    "env": self.env | env,
                    "cwd": str(self.folder),
                    "errors": str(errors),
                },
                env={},
                output=Path(said) / "stdout",
            )
            code = process.wait(timeout_s)
            if code is None:
                process.kill()
                raise subprocess.TimeoutExpired(arguments, timeout_s)
            return subprocess.CompletedProcess(
                arguments, code, process.printed(), errors.read_text(errors="replace")
            )


def desk_at(folder: Path, store: ObjectStore, warm: WarmProcesses) -> Desk:
    """Return a desk in a folder, with a state folder of its own there."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    env["ACCRETE_STORE_LINGER_S"] = "3"  # until the test's next command
    env["ACCRETE_STORE_WAIT"] = "0"
    env = {key: value for key, value in env.items() if not key.startswith(("KFP_", "KF_PIPELINES"))}
    env["KUBECONFIG"] = str(folder / "no-kubeconfig")  # not the cluster of who runs the tests
    env |= store.settings.as_environment()
    env |= {"ACCRETE_HOME": str(folder / "home"), "ACCRETE_STORE": str(store.address)}
    return Desk(folder, env, warm)


@pytest.fixture
def desk(store: ObjectStore, tmp_path: Path, warm_commands: WarmProcesses) -> Desk:
    """The test's own."""
    return desk_at(tmp_path, store, warm_commands)


@pytest.fixture
def cli_env(desk: Desk) -> dict[str, str]:
    """Environment of a command that uses the test's store and a state folder of its own."""
    return desk.env


@pytest.fixture
def cli(desk: Desk) -> Cli:
    """Runs `accrete …`, or another script of this environment, to its end."""
    return desk.run


@pytest.fixture(scope="session")
def workshop(
    store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Workshop]":
    """Where faults are tried: with an undisturbed run and warm processes."""
    from scenarios import Workshop

    with Workshop(store_settings, tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Images of 8×8 pixels gain nothing from threads that wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
