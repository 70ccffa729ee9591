"""The variables of the environment, declared once: names, what they say, what holds without them.

`settings.py` and `store/settings.py` read them, `docs/options.md` lists them. Options of commands
have variables, too, which `cli/_adapter.py` derives from their names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

PREFIX = "ACCRETE_"

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
OF_TESTS = "ACCRETE_TEST_CIFAR100"
ENV_IN_POD = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets this in every container."""

DEFAULT_REGION = "us-east-1"
DEFAULT_STORE = "s3://accrete"
DEFAULT_SNAPSHOT_INTERVAL_S = "60"
DEFAULT_LINGER_S = "60"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that users, manifests or the steps of a run set."""

    name: str
    """As the environment has it."""
    help: str
    """One or two sentences, with the unit."""
    default: str = "–"
    """What holds without it."""


VARIABLES = (
    Variable(
        ENV_ENDPOINT,
        "Address of the S3 store, `http(s)://host[:port]`.",
        "commands on this machine start the embedded store",
    ),
    Variable(ENV_ACCESS_KEY, "Its access key."),
    Variable(ENV_SECRET_KEY, "Its secret key."),
    Variable(ENV_ACCESS_KEY_FILE, "File with the access key, as a mounted Secret has it."),
    Variable(ENV_SECRET_KEY_FILE, "File with the secret key."),
    Variable(ENV_REGION, "Its region; most stores of one's own do not care.", DEFAULT_REGION),
    Variable(ENV_CA_BUNDLE, "File of CA certificates for https.", "the system's"),
    Variable(ENV_STORE, "`s3://bucket[/prefix]` of shards and checkpoints.", DEFAULT_STORE),
    Variable(
        ENV_HOME,
        "State folder: the embedded store, the node cache, local runs.",
        "`~/.accrete`",
    ),
    Variable(ENV_CACHE, "Folder of the node cache; a volume on a cluster.", f"`${ENV_HOME}/cache`"),
    Variable(
        ENV_SNAPSHOT_INTERVAL,
        "Seconds between snapshots of a stage in training.",
        DEFAULT_SNAPSHOT_INTERVAL_S,
    ),
    Variable(
        ENV_LINGER,
        "Seconds that the embedded store stays after its last user.",
        DEFAULT_LINGER_S,
    ),
    Variable(
        ENV_FETCH_AHEAD,
        "`1`: fetch the next stage's shards meanwhile; of use where the cache outlives a step.",
        "in local runs, and with `--cache-claim`",
    ),
    Variable(
        ENV_PROCESSES,
        "Processes that train a step together, 1 to 64.",
        "one for each GPU",
    ),
    Variable(
        ENV_METRICS_PORT, "Port on which a step serves its metrics.", "none; 9464 in the image"
    ),
    Variable(
        ENV_PUSHGATEWAY,
        "Prometheus Pushgateway for a step's last metrics, `http(s)://[user:password@]host[:port]`.",
        "none",
    ),
    Variable(ENV_KFP_ENDPOINT, "Kubeflow Pipelines API, as `--endpoint`.", "run on this machine"),
    Variable(ENV_PROGRESS, "Set by a local run for its steps: where they say how far they are."),
    Variable("ACCRETE_S3_BUCKET", "Set by `manifests/`, which make `ACCRETE_STORE` of it."),
    Variable(ENV_POD_NAME, "Set by the pipeline for a step that makes a TrainJob: its pod's name."),
    Variable(ENV_POD_UID, "The same: its pod's unique id."),
)

_OF_SERVICE = re.compile(
    r"(.*?)_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)"
)
"""Kubernetes sets these for each Service of a namespace, so for one called accrete-store."""


def unknown_variables(names: Iterable[str], known: Iterable[str]) -> list[tuple[str, str | None]]:
    """Return this program's variables that nothing reads, each with one that may be meant.

    Args:
        names: of the environment.
        known: variables that something reads beside those of VARIABLES.
    """
    every = set(names)
    readable = {variable.name for variable in VARIABLES} | set(known) | {OF_TESTS}
    nearly = {name.removeprefix(PREFIX): name for name in readable}
    found: list[tuple[str, str | None]] = []
    for name in sorted(every - readable):
        service = _OF_SERVICE.fullmatch(name)
        is_service = service is not None and f"{service[1]}_SERVICE_HOST" in every
        if name.startswith(PREFIX) and not is_service:
            near = get_close_matches(name.removeprefix(PREFIX), nearly, n=1, cutoff=0.8)
            found.append((name, nearly[near[0]] if near else None))
    return found
