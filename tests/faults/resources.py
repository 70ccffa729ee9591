"""Scenarios: a full disk, a store that is started again, a clock that jumps."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Self

from network import CAUSES
from proxy import Fault, Request
from trial import Trial
from warm import WarmProcesses

from accrete.steps._passing import is_alive
from accrete.store.embedded import EmbeddedPaths, embedded_store
from accrete.store.settings import StoreSettings

FULL = "no space left"
CLOCK = "clock"
_MIB = 1 << 20
LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class OwnStore:
    """A store that a scenario may end, fill and start again; tries share it one after another."""

    def __init__(self, home: Path) -> None:
        """Use a state folder; starts nothing."""
        self._home, self._held = home, ExitStack()
        self.settings: StoreSettings

    def __enter__(self) -> Self:
        self.settings = self._held.enter_context(embedded_store(self._home))
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def kill(self, signum: int) -> None:
        """End the server, and its keeper, which would start it again."""
        state = EmbeddedPaths(self._home).server
        keeper = int(json.loads(state.read_text())["pid"])
        os.kill(keeper, signal.SIGSTOP)
        tasks = Path(f"/proc/{keeper}/task").iterdir()
        servers = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        for pid in servers:
            os.kill(pid, signum)
        while any(map(is_alive, servers)):
            time.sleep(0.02)
        os.kill(keeper, signal.SIGKILL)
        while is_alive(keeper):
            time.sleep(0.02)
        state.unlink()  # as the keeper does

    def start(self) -> None:
        """Start it again, on the same data and other ports."""
        self._held.close()
        self.settings = self._held.enter_context(embedded_store(self._home))


def store_restarts(trial: Trial, store: OwnStore) -> None:
    """The server is ended at some request, by SIGTERM or SIGKILL, and started again: waited out."""
    trial.settings = store.settings
    trial.put(trial.reference.parent)
    at_request, signum = trial.rng.randint(1, 45), signal.SIGKILL
    if trial.rng.random() < 0.2:  # it takes its time to end: 20 s and more
        signum = signal.SIGTERM
    down = Event()

    def end() -> None:
        store.kill(signum)
        down.set()

    def plan(request: Request) -> Fault | None:
        if request.number != at_request:
            return None
        reached = int(trial.rng.random() * request.num_bytes)
        return Fault(body_bytes=reached, then=end)

    with trial.proxy(plan) as proxy:
        attempt = trial.train(proxy, wait_s=120)
        while not proxy.num_faults and not attempt.process.ended.is_set():
            attempt.process.wait(0.02)
        trial.verdict.struck = proxy.num_faults > 0
        if trial.verdict.struck:
            down.wait()
            store.start()
            trial.settings = store.settings
            proxy.upstream = store.settings.endpoint
        trial.well(attempt)
    trial.conclude()


def store_is_full(trial: Trial, store: OwnStore, volume: "Volume") -> None:
    """The disk of the store's volume fills up at some request, and is made larger afterwards."""
    trial.settings = store.settings
    prepares = trial.rng.random() < 0.3
    if not prepares:
        trial.put(trial.reference.parent)
    at_request, slack = trial.rng.randint(1, 40), int(10 ** trial.rng.uniform(3, 6.3))

    def plan(request: Request) -> Fault | None:
        if request.number == at_request:
            volume.shrink(slack)
            return Fault(delay_s=0.001)
        return None

    with trial.proxy(plan) as proxy:
        start = trial.prepare if prepares else trial.train
        attempt = start(proxy)
        is_done = trial.well_or(attempt, *CAUSES, "the store answered")
        trial.verdict.struck = proxy.num_faults > 0
    volume.grow()
    if not is_done:
        # A volume that met a full disk stays read-only until the server starts again.
        store.kill(signal.SIGKILL)
        store.start()
        trial.settings = store.settings
        last = start()
        trial.well(last)
        trial.compare_attempts(attempt, last)
    trial.conclude(trained=not prepares)


def cache_is_full(trial: Trial) -> None:
    """The node cache's disk is too small: for shards, checkpoint or snapshots, or for preparing."""
    prepares = trial.rng.random() < 0.3
    if not prepares:
        trial.put(trial.reference.parent)
    size = 4096 * (trial.rng.randint(1, 40) if prepares else trial.rng.randint(4, 160))
    with Volume(trial.folder / "disk", size) as volume:
        cache = volume.path / "cache"
        start = trial.prepare if prepares else trial.train
        attempt = start(cache=cache)
        is_done = trial.well_or(attempt, FULL, "cannot be made")
        volume.grow()
        if not is_done:
            last = start(cache=cache)
            trial.well(last)
            trial.compare_attempts(attempt, last)
        trial.conclude(trained=not prepares)


def clock_jumps(trial: Trial, warm: WarmProcesses, clock: "Clock") -> None:
    """The clock of the step's machine jumps at a request, by seconds or years, and comes back."""
    prepares = trial.rng.random() < 0.4
    if not prepares:
        trial.put(trial.reference.parent)
    far = 10 ** trial.rng.uniform(0, 8)
    offset_s = far if trial.rng.random() < 0.5 else -far
    at_request = trial.rng.randint(0, 30)
    clock.set(0)

    def plan(request: Request) -> Fault | None:
        if request.number == at_request:
            clock.set(offset_s)
            return Fault(delay_s=0.001)
        return None

    if not at_request:
        clock.set(offset_s)
    with trial.proxy(plan) as proxy:
        start = trial.prepare if prepares else trial.train
        attempt = start(proxy, warm=warm)
        is_done = trial.well_or(attempt, CLOCK)
        trial.verdict.struck = proxy.num_faults > 0 or not at_request
    clock.set(0)
    if not is_done:
        last = start(warm=warm)
        trial.well(last)
        trial.compare_attempts(attempt, last)
    trial.conclude(trained=not prepares)


class Volume:
    """A small disk in memory; needs root."""

    def __init__(self, path: Path, size: int, *, large: int = 65536 * _MIB) -> None:
        """Mount at a path while the block runs, with so many bytes."""
        self.path, self._size, self._large = path, size, large

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={self._size}", "accrete-faults", str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def shrink(self, slack: int) -> None:
        """Leave no more room than this many bytes."""
        used = shutil.disk_usage(self.path).used
        _mount("-o", f"remount,size={used + slack // 4096 * 4096}", str(self.path))

    def grow(self) -> None:
        """Make room."""
        _mount("-o", f"remount,size={self._large}", str(self.path))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


class Clock:
    """The wall clock that some warm processes see; libfaketime reads its offset from a file."""

    def __init__(self, path: Path) -> None:
        """Keep the offset in this file."""
        self._path = path
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs from its start."""
        return {
            "LD_PRELOAD": str(LIBFAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "0",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def set(self, offset_s: float) -> None:
        """Let the clock go wrong by so many seconds from now on."""
        part = self._path.with_suffix(".part")
        part.write_text(f"{offset_s:+.0f}\n")
        part.replace(self._path)


@contextmanager
def own_volume_store(folder: Path) -> Iterator[tuple[OwnStore, Volume]]:
    """Run a store on a volume of its own."""
    with Volume(folder / "volume", 65536 * _MIB) as volume, OwnStore(volume.path / "home") as store:
        yield store, volume


def why_no_mounts() -> str | None:
    """Return why no volume can be mounted here, None where one can."""
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    probe = Path("/tmp") / f"accrete-faults-{os.getpid()}"  # noqa: S108  empty, and gone at once
    try:
        with Volume(probe, _MIB):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no disk can be mounted here ({error})"
    finally:
        with suppress(OSError):
            probe.rmdir()
    return None


def why_no_clock() -> str | None:
    """Return why no clock can be made to jump here, None where one can."""
    return (
        None if LIBFAKETIME.exists() else "libfaketime is not installed: apt-get install faketime"
    )
