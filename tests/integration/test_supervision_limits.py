"""A step at the limits of its container: memory, processes, the disk of temporary files."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from conftest import HANGS_S
from resources import Volume, why_no_mounts
from supervised import Supervised
from watched_steps import Steps

from accrete.catalog.catalog import Catalog


@pytest.fixture
def steps(catalog: Catalog, tmp_path: Path) -> Steps:
    return Steps(catalog, tmp_path)


@pytest.fixture
def limited() -> Iterator[Callable[[int, int], None]]:
    """Puts a process into a memory group of its own, version 2 or 1, with a limit."""
    groups = Path("/sys/fs/cgroup")
    root = groups if (groups / "cgroup.controllers").exists() else groups / "memory"
    group = root / f"accrete-test-{uuid4().hex[:8]}"
    try:
        group.mkdir()
        limit = group / ("memory.max" if root == groups else "memory.limit_in_bytes")
        limit.write_text(str(1 << 30))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no memory group can be made here: {error}")

    def limit_process(pid: int, num_bytes: int) -> None:
        limit.write_text(str(num_bytes))
        for name in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
            with suppress(OSError):
                (group / name).write_text(str(num_bytes if "memsw" in name else 0))
        (group / "cgroup.procs").write_text(str(pid))

    yield limit_process
    deadline = time.monotonic() + 30
    while group.exists() and time.monotonic() < deadline:
        with suppress(OSError):
            group.rmdir()
        time.sleep(0.05)


def test_the_kernel_s_oom_killer_leaves_the_step_alive_and_images_less_memory(
    steps: Steps, limited: Callable[[int, int], None]
) -> None:
    body = """
while not (calls.parent / "go").exists():
    time.sleep(0.02)
num_bytes = data_memory_bytes(task)
context.journal.say(f"takes {num_bytes}")
taken = b"x" * num_bytes  # every page is written
raise IntegrityError("enough memory")
"""
    step = Supervised(steps, body, data_memory="800Mi")
    step.wait_for_calls(1)
    limited(step.process.pid, 300 << 20)
    limited(step.calls[0], 300 << 20)
    (steps.folder / "go").touch()
    code, line, out = step.ended()
    assert (code, line) == (4, "accrete: error: enough memory")
    taken = [line.rpartition(" ")[2] for line in out.splitlines() if " takes " in line]
    assert taken == [str(size << 20) for size in (800, 400, 200)]
    assert "was ended by SIGKILL (1 OOM kill in its memory group): started again in" in out
    assert "with 400.0 MiB instead of 800.0 MiB of memory for images" in out
    assert len(step.calls) == 3
    assert step.document().restarts == 2


@pytest.mark.slow
def test_where_the_kernel_would_end_all_of_a_container_training_is_ended_first(
    steps: Steps,
) -> None:
    """The group's files are a stand-in: none of version 2 with a limit could be had."""
    group = steps.folder / "group"
    group.mkdir()
    for name, text in (("max", "1000000000"), ("current", "5000000"), ("stat", "inactive_file 0")):
        (group / f"memory.{name}").write_text(text)
    step = Supervised(steps, "time.sleep(600)", data_memory="100Mi", group=str(group))
    step.wait_for_calls(1)
    (group / "memory.current").write_text("990000000")
    deadline = time.monotonic() + HANGS_S
    while Path(f"/proc/{step.calls[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (group / "memory.current").write_text("5000000")
    step.wait_for_calls(2)
    step.process.send_signal(signal.SIGTERM)  # which the thread that watches leaves alone
    code, _, out = step.ended()
    assert code == 75
    assert "was ended when the container held 944.1 MiB of its 953.7 MiB of memory" in out
    assert "with 50.0 MiB instead of 100.0 MiB of memory for images" in out


@pytest.fixture
def process_group() -> Iterator[Path]:
    """A control group for processes, version 2 or 1, that can have a limit of how many."""
    groups = Path("/sys/fs/cgroup")
    root = groups if (groups / "cgroup.controllers").exists() else groups / "pids"
    group = root / f"accrete-test-{uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("100")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no group of processes can be made here: {error}")
    yield group
    deadline = time.monotonic() + 30
    while group.exists() and time.monotonic() < deadline:
        with suppress(OSError):
            group.rmdir()
        time.sleep(0.05)


@pytest.mark.parametrize("most", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_process_or_thread_that_cannot_be_started_is_named_and_tried_again(
    most: int, steps: Steps, process_group: Path
) -> None:
    (process_group / "pids.max").write_text(str(most))
    step = Supervised(
        steps,
        "import threading\nthreading.Thread(target=int).start()",
        within=process_group,
        ACCRETE_RESTARTS="1",
    )
    code, line, out = step.ended()
    assert code == 128 + signal.SIGKILL
    assert "no further process or thread could be started: the limit of the pod (pids)" in line
    assert "2 times without getting any further: raise it" in line
    assert out.count("started again in") == 1
    assert "of memory for images" not in out
    assert len(step.calls) == (0 if most == 1 else 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 128 KiB."""
    if reason := why_no_mounts():
        pytest.skip(reason)
    with Volume(tmp_path / "disk", 1 << 17) as volume:
        yield volume.path


def test_a_disk_too_full_for_temporary_files_is_named_before_training(
    steps: Steps, small_disk: Path
) -> None:
    (small_disk / "file").write_bytes(bytes((1 << 17) - (3 << 12)))  # but for three pages
    step = Supervised(steps, "raise IntegrityError", TMPDIR=str(small_disk))
    code, line, _ = step.ended()
    assert code == 1
    assert line.startswith(f"accrete: error: no space left on the disk of {small_disk}/accrete-")
    assert line.endswith("make room there, or set TMPDIR to a folder on a larger one")
    assert not step.calls


def test_how_training_ended_is_left_on_a_disk_that_filled_up(
    steps: Steps, small_disk: Path
) -> None:
    body = f"""
with suppress(OSError), open({str(small_disk / "file")!r}, "wb", buffering=0) as file:
    while True:
        file.write(bytes(512))
raise IntegrityError("for good")
"""
    step = Supervised(steps, body, TMPDIR=str(small_disk))
    assert step.ended()[:2] == (4, "accrete: error: for good")
    assert len(step.calls) == 1
