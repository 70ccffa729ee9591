"""Containers for the steps of a local run: their network, what they may use, and their end.

Each step runs in the trainer image as a user without rights, on a read-only root file system. With
the embedded store the containers' network leads nowhere but to that store, which listens on the
network's own address for as long as the run lasts.
"""

import asyncio
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from accrete.core.environment import ENV_CACHE, ENV_PROGRESS
from accrete.errors import InputError, PipelineError
from accrete.store.credentials import KeysSource
from accrete.store.settings import StoreSettings, require_store_settings

USER = "65532:65532"
"""The image's own; a number, so that nothing depends on a name inside the image."""

CACHE_VOLUME = "accrete-cache"
"""Docker volume of the node cache: it outlives the containers, as a cluster's would."""

_LABEL = "accrete.run"
_PROGRESS = "/progress"
_CA_BUNDLE = "/store-ca.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerHost:
    """A Docker engine with a network for one run."""

    arguments: dict[str, Any]
    """What each container is run with beside its environment, as JSON values."""
    settings: StoreSettings
    """The store as containers reach it."""


@contextmanager
def container_host(
    image: str, settings: StoreSettings, progress: Path, *, gpus: bool
) -> Iterator[ContainerHost]:
    """Make what a run's containers need; remove it and them at the end, however that comes.

    Args:
        image: of the steps; it must be on this machine.
        settings: the store; one on loopback is forwarded to a network of the run's own.
        progress: folder that the steps write their documents to.
        gpus: whether the steps get this machine's GPUs.

    Raises:
        InputError: the image is not here, the package `docker` is missing, the store has TLS on
            loopback, or its credentials are renewed.
        PipelineError: the Docker engine cannot be used.
    """
    settings = with_own_keys(settings)
    client = _client()
    label = uuid.uuid4().hex
    try:
        _check_image(client, image)
        progress.chmod(0o777)
        with _reachable(client, settings, label) as (network, reachable):
            try:
                arguments = _arguments(network, progress, label, gpus=gpus)
                inside = reachable
                if reachable.ca_bundle is not None:
                    arguments["mounts"].append(_ca_mount(reachable.ca_bundle))
                    inside = replace(reachable, ca_bundle=_CA_BUNDLE)
                yield ContainerHost(arguments=arguments, settings=inside)
            finally:
                _remove_containers(client, label)
    finally:
        client.close()


def _client() -> Any:
    try:
        import docker
    except ImportError as error:
        raise InputError(
            f"--runner docker needs the package docker ({error}): pip install 'accrete[docker]'"
        ) from error
    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise PipelineError(
            f"the Docker engine cannot be reached ({type(error).__name__}): start it, check "
            "DOCKER_HOST, or leave out --runner docker"
        ) from error
    return client


def _check_image(client: Any, image: str) -> None:
    import docker

    try:
        client.images.get(image)
    except docker.errors.ImageNotFound as error:
        raise InputError(
            f"image {image} is not on this machine: build it with `make images`, pull it, "
            "or name another with --image"
        ) from error


@contextmanager
def _reachable(
    client: Any, settings: StoreSettings, label: str
) -> Iterator[tuple[str | None, StoreSettings]]:
    """Give a network and how the store is reached from it; None: Docker's own network."""
    endpoint = urlsplit(settings.endpoint)
    if endpoint.hostname not in ("127.0.0.1", "localhost"):
        yield None, settings
        return
    if endpoint.scheme == "https":
        raise InputError(
            f"the store at {settings.endpoint} has TLS on loopback, where no container reaches it "
            "by that name: give a name of this machine that its certificate has"
        )
    network = client.networks.create(
        f"accrete-{label[:12]}", driver="bridge", internal=True, labels={_LABEL: label}
    )
    try:
        network.reload()
        gateway = str(network.attrs["IPAM"]["Config"][0]["Gateway"])
        with forwarded(gateway, endpoint.hostname, endpoint.port or 80) as port:
            yield network.name, replace(settings, endpoint=f"http://{gateway}:{port}")
    finally:
        _remove_containers(client, label)
        network.remove()


def _arguments(network: str | None, progress: Path, label: str, *, gpus: bool) -> dict[str, Any]:
    """Return what every container is run with."""
    arguments: dict[str, Any] = {
        "user": USER,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": {"/tmp": "size=2g,mode=1777"},  # noqa: S108  in the container
        "shm_size": "2g",
        "labels": {_LABEL: label},
        "mounts": [
            {"target": _PROGRESS, "source": str(progress), "type": "bind"},
            {"target": "/cache", "source": CACHE_VOLUME, "type": "volume"},
        ],
    }
    if network is not None:
        arguments["network"] = network
    if gpus:
        arguments["device_requests"] = [{"count": -1, "capabilities": [["gpu"]]}]
    return arguments


def _ca_mount(ca_bundle: str) -> dict[str, Any]:
    """Return what shows the containers the file of CA certificates, by a path of their own."""
    source = str(Path(ca_bundle).absolute())
    return {"target": _CA_BUNDLE, "source": source, "type": "bind", "read_only": True}


def with_own_keys(settings: StoreSettings) -> StoreSettings:
    """Return a store whose keys are in its settings: no container has the files of this machine.

    Raises:
        InputError: they are temporary and would end in the containers.
    """
    source = settings.credentials
    if not isinstance(source, KeysSource):
        raise InputError(
            f"--runner docker cannot hand on credentials that are renewed ({source}): give keys, "
            "or leave out --runner docker"
        )
    values = [part.read() for part in source.parts]
    access_key, secret_key, session_token = [*values, None][:3]
    return replace(
        settings,
        access_key=access_key,
        secret_key=secret_key,
        session_token=session_token,
        source=None,
    )


def _remove_containers(client: Any, label: str) -> None:
    """End what a stopped run left behind."""
    import docker

    for container in client.containers.list(all=True, filters={"label": f"{_LABEL}={label}"}):
        try:
            container.remove(force=True)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # gone, or going
                raise


def docker_runner(arguments: dict[str, Any]) -> Any:
    """Return kfp's runner for containers; the store's credentials are this process's own.

    Args:
        arguments: of a ContainerHost.
    """
    from docker.types import DeviceRequest, Mount
    from kfp import local

    made = dict(arguments)
    made["mounts"] = [Mount(**mount) for mount in arguments["mounts"]]
    if "device_requests" in arguments:
        made["device_requests"] = [DeviceRequest(**each) for each in arguments["device_requests"]]
    made["environment"] = require_store_settings().as_environment() | {
        ENV_PROGRESS: _PROGRESS,
        ENV_CACHE: "/cache",
        "PYTHONUNBUFFERED": "1",
    }
    os.umask(0)  # folders that kfp makes for the steps' output must be writable to their user
    return local.DockerRunner(**made)


_CHUNK_BYTES = 1 << 16


@contextmanager
def forwarded(host: str, target_host: str, target_port: int) -> Iterator[int]:
    """Listen on an address, on a free port, and pass every connection on.

    Args:
        host: address to listen on; no other can reach the target this way.
        target_host: where connections go.
        target_port: its port.

    Yields:
        The port.

    Raises:
        OSError: the address is none of this machine's.
    """
    loop = asyncio.new_event_loop()

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(connect, host, 0)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(target_host, target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))
        for each in (writer, target_writer):
            each.close()

    server = loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever, name="forwarder", daemon=True)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    """Listen no more, and drop the connections that are still open."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side says its last, and hand that on; the other may still answer."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()
