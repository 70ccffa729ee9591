"""A kubeconfig as kubectl reads it; a program that it names for credentials is held to limits.

The client library waits for such a program for ever, lets it read our terminal, and shows what it
says on stderr, which may have a token in it (kubernetes 30.1, config/exec_provider.py).
"""

import atexit
import json
import os
import signal
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes.client import Configuration
from kubernetes.config.dateutil import parse_rfc3339
from kubernetes.config.kube_config import FileOrData, KubeConfigLoader, KubeConfigMerger

from accrete.errors import one_line
from accrete.runners.kubeflow._objects import at

PLUGIN_LIMIT_S = 10.0
"""A login in a browser takes longer, and is none that a program can ask for here."""


class PluginError(LookupError):
    """The program that a kubeconfig names gives no credentials."""


def load_kubeconfig(paths: str, configuration: Configuration) -> str | None:
    """Have a configuration say what a kubeconfig does; return its context's namespace.

    Args:
        paths: of files, as `KUBECONFIG` has them.
        configuration: to complete.

    Raises:
        PluginError: its credentials come of a program, which gives none.
        Exception: it is of no use; the library's own, of any kind.
    """
    loader = _Loader(config_dict=KubeConfigMerger(paths).config)
    loader.load_and_set(configuration)
    namespace = at(loader.current_context, "context").get("namespace")
    return str(namespace) if namespace else None


class _Loader(KubeConfigLoader):  # type: ignore[misc]  # the library has no types
    """The library's own, but for the program; it is asked again when what it gave expires."""

    def _load_from_exec_plugin(self) -> bool:
        if "exec" not in self._user:
            return False
        folder = self._get_base_path(self._cluster.path)
        status = plugin_status(self._user["exec"].value, folder, PLUGIN_LIMIT_S)
        if status.get("token"):
            self.token = f"Bearer {status['token']}"
        else:
            self.cert_file, self.key_file = (
                _file_of(status, name) for name in ("clientCertificateData", "clientKeyData")
            )
        if status.get("expirationTimestamp"):
            self.expiry = parse_rfc3339(status["expirationTimestamp"])
        return True


def _file_of(status: Mapping[str, Any], name: str) -> Any:
    data = b64encode(str(status[name]).encode()).decode()
    return FileOrData({name: data}, None, data_key_name=name).as_file()


def plugin_status(config: Mapping[str, Any], folder: str, limit_s: float) -> Mapping[str, Any]:
    """Return what a kubeconfig's program says: a token, or a certificate with its key.

    Args:
        config: `exec` of a kubeconfig's user.
        folder: to run it in: the kubeconfig's.
        limit_s: for its answer, in seconds.

    Raises:
        PluginError: it says none.
    """
    arguments = [str(each) for each in (config.get("command"), *(config.get("args") or []))]
    info = {"apiVersion": config.get("apiVersion"), "kind": "ExecCredential",
            "spec": {"interactive": False}}  # fmt: skip
    environment = os.environ | {
        str(each["name"]): str(each["value"]) for each in config.get("env") or []
    }
    words = f"the kubeconfig's plugin {one_line(Path(arguments[0]).name)[:60]!r}"
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder or None,
            env=environment | {"KUBERNETES_EXEC_INFO": json.dumps(info)},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise PluginError(f"{words} cannot be run ({reason})") from None
    output = _output(process, words, limit_s)
    if process.returncode:
        raise PluginError(f"{words} failed (exit code {process.returncode})")
    try:
        status = at(json.loads(output), "status")
    except (ValueError, RecursionError):
        status = {}
    if not status.get("token") and not {"clientCertificateData", "clientKeyData"} <= set(status):
        raise PluginError(f"{words} gives no credentials")
    return status


def _output(process: "subprocess.Popen[bytes]", words: str, limit_s: float) -> bytes:
    """Return what a program says; neither it nor a child of it is left behind."""

    def end() -> None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)

    atexit.register(end)  # who asks may have no more time, and end
    try:
        return process.communicate(timeout=limit_s)[0]
    except subprocess.TimeoutExpired:
        raise PluginError(f"{words} does not answer within {limit_s:.0f} s") from None
    finally:
        atexit.unregister(end)
        end()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
