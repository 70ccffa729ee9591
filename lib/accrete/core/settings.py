"""What the environment says; of the store, `store/settings.py` reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from accrete.core.environment import (
    DEFAULT_LINGER_S,
    DEFAULT_RESTARTS,
    DEFAULT_SNAPSHOT_INTERVAL_S,
    DEFAULT_STORE_WAIT_S,
    ENV_CACHE,
    ENV_FETCH_AHEAD,
    ENV_HOME,
    ENV_IN_POD,
    ENV_KFP_ENDPOINT,
    ENV_KFP_RUN_ID,
    ENV_LINGER,
    ENV_METRICS_PORT,
    ENV_POD_NAME,
    ENV_POD_UID,
    ENV_PROCESSES,
    ENV_PROGRESS,
    ENV_PUSHGATEWAY,
    ENV_RESTARTS,
    ENV_SNAPSHOT_INTERVAL,
    ENV_STORE_WAIT,
    MOST_STORE_WAIT_S,
    PREFIX,
)
from accrete.errors import ConfigError

SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes mounts a pod's token, its API's certificate and the pod's namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushgatewaySettings:
    """How to reach a Prometheus Pushgateway."""

    url: str
    """`http(s)://host[:port][/path]`, without credentials and without a `/` at the end."""
    username: str | None = None
    """For basic authentication; None: without."""
    password: str | None = field(default=None, repr=False)
    """The same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What a pod knows of the cluster that it runs in."""

    namespace: str
    """The pod's namespace."""
    token_path: Path
    """The token of its service account, which Kubernetes renews."""
    ca_path: Path
    """The certificate authority of the Kubernetes API."""
    pod: tuple[str, str] | None
    """The pod's own name and unique id; None: it was not told."""
    run_id: str | None = None
    """Kubeflow's id of the run that the pod is of; None: it was not told."""


def split_address(address: str) -> SplitResult | None:
    """Return an address in its parts, None where host or port is malformed."""
    try:
        url = urlsplit(address)
        _ = url.port  # checked when it is read
    except ValueError:
        return None
    return url


def without_user(address: str) -> str:
    """Return an address for messages, without the name and password that may be in it."""
    return address if "@" not in address else f"…@{address.rpartition('@')[2]}"


def refuse_blanks(what: str, address: str) -> None:
    """Refuse an address with a blank or control character, which some would leave out in silence.

    Raises:
        ConfigError: it has one.
    """
    refuse_control(what, address)
    if any(each.isspace() for each in address):
        raise ConfigError(f"{what} is {without_user(address)!r}: it has a blank, take that out")


def refuse_control(what: str, address: str) -> None:
    """Refuse an address with a line end or another control character.

    Raises:
        ConfigError: it has one.
    """
    if any(each < " " or each == "\x7f" for each in address):
        raise ConfigError(
            f"{what} is {without_user(address)!r}: it has a line end or another control character, "
            "take that out"
        )


def shown_address(address: str) -> str:
    """Return an address or path for messages: of an address neither name and password nor query."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    return f"{scheme}://{without_user(rest.partition('?')[0])}"


def proxy_variables() -> Mapping[str, str]:
    """Return the variables that may name a proxy: `proxies.py` knows which."""
    return os.environ


def server_environment() -> dict[str, str]:
    """Return this process's variables for a server that it starts, without what is for clients.

    SeaweedFS would take AWS's keys for those of an administrator of its own.
    """
    proxies = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", f"{PREFIX}S3_")) and name.lower() not in proxies
    }


def is_in_pod() -> bool:
    """Return whether this process runs in a pod of Kubernetes."""
    return bool(os.environ.get(ENV_IN_POD))


def cluster_settings() -> ClusterSettings:
    """Return the cluster that this process is in a pod of.

    Raises:
        ConfigError: this is no pod, or one without a service account's token.
    """
    if not os.environ.get(ENV_IN_POD):
        raise ConfigError(
            "a stage on several nodes needs a cluster, and this is no pod of one: submit the run "
            "with --endpoint, or compile it without --nodes"
        )
    folder = Path(SERVICE_ACCOUNT_PATH)
    try:
        namespace = (folder / "namespace").read_text().strip()
        (folder / "token").read_text()
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read ({error.strerror}): the pod needs the token of a "
            "service account that may create TrainJobs (automountServiceAccountToken)"
        ) from None
    name, uid = os.environ.get(ENV_POD_NAME), os.environ.get(ENV_POD_UID)
    return ClusterSettings(
        namespace=namespace,
        token_path=folder / "token",
        ca_path=folder / "ca.crt",
        pod=(name, uid) if name and uid else None,
        run_id=os.environ.get(ENV_KFP_RUN_ID) or None,
    )


def home_path() -> Path:
    """Return the state folder: the embedded store, the node cache and local runs."""
    return Path(os.environ.get(ENV_HOME) or Path.home() / ".accrete").expanduser().absolute()


def cache_path() -> Path:
    """Return the node cache's folder."""
    return Path(os.environ.get(ENV_CACHE) or home_path() / "cache").expanduser().absolute()


def snapshot_interval_s() -> float:
    """Return the seconds between snapshots of a stage in training.

    Without the variable 60: within half a point of the best where a job is killed once an hour to
    once a day (docs/faults.md).

    Raises:
        ConfigError: the variable holds no number from 0 up.
    """
    return _seconds(ENV_SNAPSHOT_INTERVAL, DEFAULT_SNAPSHOT_INTERVAL_S)


def least_snapshot_interval_s() -> float | None:
    """Return the seconds between snapshots that cost little; None: as between all others.

    Where nobody says how often, 15: where a job is killed every ten minutes that keeps three points
    more of the time than 60, and it costs 0.5 % of it at most (docs/faults.md).
    """
    return None if os.environ.get(ENV_SNAPSHOT_INTERVAL) else 15.0


def _seconds(name: str, default: str) -> float:
    text = os.environ.get(name) or default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise ConfigError(f"{name} is {text!r}: give seconds, such as {default}")
    return seconds


def store_linger_s() -> float:
    """Return the seconds that the embedded store stays after its last user; 60 unless set.

    Raises:
        ConfigError: the variable holds no number from 0 up.
    """
    return _seconds(ENV_LINGER, DEFAULT_LINGER_S)


def store_wait_s() -> float:
    """Return the seconds that what needs the store waits for one that is away; 900 unless set.

    Raises:
        ConfigError: the variable holds no whole number in the range of `--store-wait`.
    """
    text = os.environ.get(ENV_STORE_WAIT) or DEFAULT_STORE_WAIT_S
    try:
        seconds = int(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MOST_STORE_WAIT_S:
        raise ConfigError(
            f"{ENV_STORE_WAIT} is {text!r}: give whole seconds from 0 to {MOST_STORE_WAIT_S}, such "
            f"as {DEFAULT_STORE_WAIT_S}"
        )
    return seconds


def wait_for_store(seconds: int) -> None:
    """Have this process, and all that it starts, wait so long for a store that is away."""
    os.environ[ENV_STORE_WAIT] = str(seconds)


def fetches_ahead() -> bool:
    """Return whether a stage fetches the next one's shards to this node's cache meanwhile.

    That is of use only where the cache outlives the step: in a local run, and on a cluster whose
    cache is a volume, which the variable says.
    """
    return os.environ.get(ENV_FETCH_AHEAD) == "1" or bool(os.environ.get(ENV_PROGRESS))


def training_processes() -> int | None:
    """Return the processes that a training step is to have; None: one for each GPU.

    Raises:
        ConfigError: the variable holds no number from 1 to 64.
    """
    text = os.environ.get(ENV_PROCESSES)
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise ConfigError(f"{ENV_PROCESSES} is {text!r}: give a number from 1 to 64")
    return int(text)


def training_restarts() -> int:
    """Return how often in a row a training step starts its killed processes again.

    Raises:
        ConfigError: the variable holds no number from 0 to 100.
    """
    text = os.environ.get(ENV_RESTARTS) or DEFAULT_RESTARTS
    if not (text.isascii() and text.isdecimal()) or int(text) > 100:
        raise ConfigError(f"{ENV_RESTARTS} is {text!r}: give a number from 0 to 100")
    return int(text)


def peer_place() -> tuple[int, int, int]:
    """Return rank, rank on this node and number of processes, as torchrun sets them."""
    rank, local_rank, size = (
        int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    )
    return rank, local_rank, size


def place_among_nodes() -> tuple[int, int]:
    """Return which node this is, from 0, and how many train together, as a TrainJob sets them.

    Torchrun reads these variables too, and the first node's address in PET_MASTER_ADDR and
    PET_MASTER_PORT.

    Raises:
        ConfigError: there are several, but not which this is, or where the first is.
    """
    count, rank = os.environ.get("PET_NNODES") or "1", os.environ.get("PET_NODE_RANK") or ""
    if count == "1":
        return 0, 1
    if not count.isdecimal() or not rank.isdecimal() or not int(rank) < int(count):
        raise ConfigError(
            f"PET_NNODES is {count!r} and PET_NODE_RANK {rank!r}: give a number of nodes, and "
            "which this is, from 0"
        )
    for name in ("PET_MASTER_ADDR", "PET_MASTER_PORT"):
        if not os.environ.get(name):
            raise ConfigError(f"PET_NNODES is {count} but {name} is not set: a TrainJob sets both")
    return int(rank), int(count)


def metrics_address() -> tuple[str, int] | None:
    """Return host and port to serve metrics on, None where none is to be open.

    In a pod that is every interface, since Prometheus comes from another one; elsewhere loopback.

    Raises:
        ConfigError: the variable holds no port.
    """
    text = os.environ.get(ENV_METRICS_PORT)
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text) <= 65535:
        raise ConfigError(f"{ENV_METRICS_PORT} is {text!r}: give a port from 1 to 65535")
    host = "0.0.0.0" if is_in_pod() else "127.0.0.1"  # noqa: S104
    return host, int(text)


def pushgateway_settings() -> PushgatewaySettings | None:
    """Return the Pushgateway that the environment names, None where it names none.

    Raises:
        ConfigError: not an address; does not repeat credentials.
    """
    text = os.environ.get(ENV_PUSHGATEWAY)
    if not text:
        return None
    url = split_address(text)
    if (
        url is None
        or url.scheme not in ("http", "https")
        or not url.hostname
        or url.query
        or "@" in f"{url.path}{url.fragment}"  # a password with "/" or "#" in it
    ):
        raise ConfigError(
            f"{ENV_PUSHGATEWAY} is {without_user(text)!r}: give http://[user:password@]host:port"
        )
    return PushgatewaySettings(
        url=f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}",
        username=unquote(url.username) if url.username is not None else None,
        password=unquote(url.password) if url.password is not None else None,
    )


def progress_path() -> Path | None:
    """Return the folder where a local run's steps say how far they are."""
    value = os.environ.get(ENV_PROGRESS)
    return Path(value) if value else None


def kfp_endpoint() -> str | None:
    """Return the Kubeflow Pipelines API address that the environment names."""
    return os.environ.get(ENV_KFP_ENDPOINT) or None


def kfp_variable(name: str) -> str | None:
    """Return what a variable says of Kubeflow Pipelines, None where it says nothing.

    Args:
        name: one of `core/environment.py`.
    """
    return os.environ.get(name) or None


def environment_names() -> list[str]:
    """Return the names of all variables of the environment."""
    return list(os.environ)
