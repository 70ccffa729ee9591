"""Processes that have imported everything before they begin: forked from one that did so once.

    with WarmProcesses(["torch"]) as warm:
        process = warm.start("module:function", {"argument": 1}, env={}, output=path)
        process.kill()
        code = process.wait(60)

`python warm.py MODULE…` is the server: a process with one thread, so that forking it is safe. It
reads tasks as JSON lines, and writes a line when one has begun and when it has ended.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from accrete.core.processes import die_with_parent

_START_TIMEOUT_S = 600.0


class WarmProcess:
    """A task under way."""

    def __init__(self, output: Path) -> None:
        """Wait to hear of it."""
        self.output = output
        """File of what it prints, errors included."""
        self.pid = 0
        self.code: int | None = None
        """Exit code, negative for a signal; None while it runs."""
        self.began, self.ended = Event(), Event()

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code, None where it still runs after so long."""
        self.ended.wait(timeout_s)
        return self.code

    def signal(self, signum: int, *, alone: bool = False) -> None:
        """Send it a signal, and the processes below it, unless alone; none once it has ended."""
        if self.began.wait(_START_TIMEOUT_S) and not self.ended.is_set():
            for pid in [self.pid, *([] if alone else self.children())]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signum)

    def children(self) -> list[int]:
        """Return the processes that it started and that have not ended."""
        with suppress(OSError):
            path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
            return [int(child) for child in path.read_text().split()]
        return []

    def kill(self) -> None:
        """End it by SIGKILL, as a node's end does: all of it at once."""
        self.signal(signal.SIGKILL)

    def printed(self) -> str:
        """Return what it printed so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""


class WarmProcesses:
    """Starts tasks in processes that are forked from a warm one."""

    def __init__(self, modules: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Name what to import first, and further variables of the environment from the start."""
        self._modules, self._env = modules, dict(env or {})
        self._waiting: list[WarmProcess] = []
        self._running: dict[int, WarmProcess] = {}
        self._lock = Lock()

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, __file__, *self._modules],
            env=os.environ | self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for process in [*self._running.values()]:
            process.kill()
        assert self._server.stdin is not None
        self._server.stdin.close()
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._listener.join(10)

    def start(
        self, task: str, arguments: Mapping[str, Any], *, env: Mapping[str, str], output: Path
    ) -> WarmProcess:
        """Start `module:function` with keyword arguments; it ends with the server."""
        process = WarmProcess(output)
        line = {"task": task, "arguments": arguments, "env": env, "output": str(output)}
        assert self._server.stdin is not None
        with self._lock:
            self._waiting.append(process)
            self._server.stdin.write(json.dumps(line) + "\n")
            self._server.stdin.flush()
        if not process.began.wait(_START_TIMEOUT_S):
            raise RuntimeError(f"the warm process did not start {task}")
        return process

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            said = json.loads(line)
            if "began" in said:
                process = self._waiting.pop(0)
                process.pid = said["began"]
                self._running[process.pid] = process
                process.began.set()
            else:
                process = self._running.pop(said["ended"])
                process.code = said["code"]
                process.ended.set()


def serve(modules: Sequence[str]) -> None:
    """Import, then start what is asked for until the input ends."""
    for module in modules:
        import_module(module)
    selector = selectors.DefaultSelector()
    os.set_blocking(0, False)
    selector.register(0, selectors.EVENT_READ)
    rest = b""
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                data = os.read(0, 1 << 16)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    pid = _start(json.loads(line))
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                    _say(began=pid)
            else:
                _, status = os.waitpid(key.data, 0)
                selector.unregister(key.fd)
                os.close(key.fd)
                _say(ended=key.data, code=os.waitstatus_to_exitcode(status))


def _say(**facts: int) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


def _start(order: dict[str, Any]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _work(order, parent)
        finally:
            os._exit(code)
    return pid


def _work(order: dict[str, Any], parent: int) -> int:
    """Do a task, as an interpreter would; return the exit code."""
    die_with_parent(parent, signal.SIGKILL)
    log = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["env"])
    module, _, function = order["task"].partition(":")
    try:
        getattr(import_module(module), function)(**order["arguments"])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(sys.argv[1:])
