"""What the environment says: the one place that reads it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from accrete.credentials import read_credential
from accrete.errors import ConfigError

ENV_ENDPOINT = "ACCRETE_S3_ENDPOINT"
ENV_ACCESS_KEY = "ACCRETE_S3_ACCESS_KEY"
ENV_SECRET_KEY = "ACCRETE_S3_SECRET_KEY"  # noqa: S105  the variable's name, not a secret
ENV_ACCESS_KEY_FILE = "ACCRETE_S3_ACCESS_KEY_FILE"
ENV_SECRET_KEY_FILE = "ACCRETE_S3_SECRET_KEY_FILE"  # noqa: S105
ENV_REGION = "ACCRETE_S3_REGION"
ENV_CA_BUNDLE = "ACCRETE_S3_CA_BUNDLE"
ENV_STORE = "ACCRETE_STORE"
ENV_CACHE = "ACCRETE_CACHE"
ENV_HOME = "ACCRETE_HOME"
ENV_PROGRESS = "ACCRETE_PROGRESS_DIR"
ENV_SNAPSHOT_INTERVAL = "ACCRETE_SNAPSHOT_INTERVAL_S"
ENV_LINGER = "ACCRETE_STORE_LINGER_S"
ENV_FETCH_AHEAD = "ACCRETE_FETCH_AHEAD"
ENV_PROCESSES = "ACCRETE_PROCESSES"
ENV_METRICS_PORT = "ACCRETE_METRICS_PORT"
ENV_PUSHGATEWAY = "ACCRETE_PUSHGATEWAY"
ENV_KFP_ENDPOINT = "KFP_ENDPOINT"
ENV_POD_NAME = "ACCRETE_POD_NAME"
ENV_POD_UID = "ACCRETE_POD_UID"
ENV_IN_POD = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets this in every container."""

SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes mounts a pod's token, its API's certificate and the pod's namespace."""

DEFAULT_STORE = "s3://accrete"

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_TIMES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([KMGT]i?|)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How to reach an S3 store."""

    endpoint: str
    """`http://host:port` or `https://host[:port]`, without a path."""
    access_key: str = field(repr=False)
    """S3 access key."""
    secret_key: str = field(repr=False)
    """S3 secret key."""
    region: str = "us-east-1"
    """S3 region; most stores of one's own do not care."""
    ca_bundle: str | None = None
    """File of CA certificates for https; None: the system's."""

    def __post_init__(self) -> None:
        url = split_address(self.endpoint)
        if (
            url is None
            or url.scheme not in ("http", "https")
            or not url.hostname
            or url.path.strip("/")
        ):
            raise ConfigError(
                f"store endpoint is {without_user(self.endpoint)!r}: give http://host:port or "
                "https://host"
            )
        if "@" in url.netloc:
            raise ConfigError(
                f"store endpoint has credentials in it (…@{url.hostname}): give them in "
                f"{ENV_ACCESS_KEY} and {ENV_SECRET_KEY}"
            )

    @property
    def shown_access_key(self) -> str:
        """The access key as messages show it: enough to tell which, and no more."""
        return f"'{self.access_key[: min(4, len(self.access_key) // 2)]}…'"

    def as_environment(self) -> dict[str, str]:
        """Return the variables that give a child process the same store, whatever else it has."""
        return {
            ENV_ENDPOINT: self.endpoint,
            ENV_ACCESS_KEY: self.access_key,
            ENV_SECRET_KEY: self.secret_key,
            ENV_ACCESS_KEY_FILE: "",
            ENV_SECRET_KEY_FILE: "",
            ENV_REGION: self.region,
            ENV_CA_BUNDLE: self.ca_bundle or "",
        }


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


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A bucket and a key prefix in it."""

    bucket: str
    """Bucket name."""
    prefix: str
    """Key prefix, empty or ending in `/`."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        """Return the s3:// address of a key, for messages."""
        return f"s3://{self.bucket}/{self.prefix}{key}"


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


def parse_store_uri(uri: str) -> StoreAddress:
    """Return bucket and prefix of `s3://bucket[/prefix]`.

    Raises:
        ConfigError: not of that form.
    """
    url = split_address(uri)
    if (
        url is None
        or url.scheme != "s3"
        or not url.netloc
        or "@" in url.netloc
        or url.query
        or url.fragment
    ):
        raise ConfigError(f"store is {without_user(uri)!r}: give s3://bucket or s3://bucket/prefix")
    prefix = url.path.strip("/")
    return StoreAddress(bucket=url.netloc, prefix=f"{prefix}/" if prefix else "")


def store_settings(env: Mapping[str, str] | None = None) -> StoreSettings | None:
    """Return the store that the environment names, None where it names none.

    Raises:
        ConfigError: an endpoint without credentials, or a file of one that cannot be used.
    """
    env = os.environ if env is None else env
    endpoint = env.get(ENV_ENDPOINT)
    if not endpoint:
        return None
    return StoreSettings(
        endpoint=endpoint.rstrip("/"),
        access_key=_credential(env, ENV_ACCESS_KEY, ENV_ACCESS_KEY_FILE),
        secret_key=_credential(env, ENV_SECRET_KEY, ENV_SECRET_KEY_FILE),
        region=env.get(ENV_REGION) or "us-east-1",
        ca_bundle=env.get(ENV_CA_BUNDLE) or None,
    )


def _credential(env: Mapping[str, str], name: str, file_name: str) -> str:
    """Return what a variable holds, or what the file holds that another one names.

    Raises:
        ConfigError: neither is set, or both are, or the file cannot be used.
    """
    value, path = env.get(name), env.get(file_name)
    if value and path:
        raise ConfigError(f"{name} and {file_name} are both set: set one of them")
    if path:
        return read_credential(path, file_name)
    if not value:
        raise ConfigError(
            f"{ENV_ENDPOINT} is set but {name} is not: set both credentials, or files of them "
            f"({file_name})"
        )
    return value


def credential_files() -> tuple[Path, ...]:
    """Return the files that the environment names for credentials."""
    given = (os.environ.get(name) for name in (ENV_ACCESS_KEY_FILE, ENV_SECRET_KEY_FILE))
    return tuple(Path(path) for path in given if path)


def is_in_pod() -> bool:
    """Return whether this process runs in a pod of Kubernetes."""
    return bool(os.environ.get(ENV_IN_POD))


def require_store_settings() -> StoreSettings:
    """Return the store that the environment names.

    Raises:
        ConfigError: it names none.
    """
    settings = store_settings()
    if settings is None:
        raise ConfigError(
            f"no object store: set {ENV_ENDPOINT}, {ENV_ACCESS_KEY} and {ENV_SECRET_KEY}"
        )
    return settings


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
    )


def default_store_uri() -> str:
    """Return the store address that the environment names, or `s3://accrete`."""
    return os.environ.get(ENV_STORE) or DEFAULT_STORE


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
    return _seconds(ENV_SNAPSHOT_INTERVAL, "60")


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
    return _seconds(ENV_LINGER, "60")


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


def parse_duration(text: str, what: str) -> timedelta:
    """Return the time of a text such as `30m`, `24h` or `7d`.

    Raises:
        ConfigError: not of that form, or over ten years.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or (found := timedelta(**{_TIMES[match[2]]: int(match[1])})).days > 3650:
        raise ConfigError(f"{what} is {text!r}: give a time such as 30m, 24h or 7d")
    return found


def parse_bytes(text: str, what: str) -> int:
    """Return the bytes of a quantity such as `512M`, `4G`, `1.5Gi` or `1000000`.

    Raises:
        ConfigError: not of that form, or under a megabyte.
    """
    match = _QUANTITY.fullmatch(text.strip())
    num_bytes = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if num_bytes < 1_000_000:
        raise ConfigError(f"{what} is {text!r}: give at least 1M, in a form such as 512M or 4Gi")
    return num_bytes


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
    if url is None or url.scheme not in ("http", "https") or not url.hostname or url.query:
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
