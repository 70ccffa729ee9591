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
ENV_SESSION_TOKEN = "ACCRETE_S3_SESSION_TOKEN"  # noqa: S105
ENV_SESSION_TOKEN_FILE = "ACCRETE_S3_SESSION_TOKEN_FILE"  # noqa: S105
ENV_CREDENTIALS = "ACCRETE_S3_CREDENTIALS"
ENV_REGION = "ACCRETE_S3_REGION"
ENV_CA_BUNDLE = "ACCRETE_S3_CA_BUNDLE"
ENV_ADDRESSING = "ACCRETE_S3_ADDRESSING"
ENV_HTTP_PROXY = "HTTP_PROXY"
ENV_HTTPS_PROXY = "HTTPS_PROXY"
ENV_ALL_PROXY = "ALL_PROXY"
ENV_NO_PROXY = "NO_PROXY"
ENV_STORE = "ACCRETE_STORE"
ENV_CACHE = "ACCRETE_CACHE"
ENV_HOME = "ACCRETE_HOME"
ENV_PROGRESS = "ACCRETE_PROGRESS_DIR"
ENV_STORE_WAIT = "ACCRETE_STORE_WAIT"
ENV_SNAPSHOT_INTERVAL = "ACCRETE_SNAPSHOT_INTERVAL_S"
ENV_LINGER = "ACCRETE_STORE_LINGER_S"
ENV_FETCH_AHEAD = "ACCRETE_FETCH_AHEAD"
ENV_PROCESSES = "ACCRETE_PROCESSES"
ENV_RESTARTS = "ACCRETE_RESTARTS"
ENV_METRICS_PORT = "ACCRETE_METRICS_PORT"
ENV_PUSHGATEWAY = "ACCRETE_PUSHGATEWAY"
ENV_KFP_ENDPOINT = "KFP_ENDPOINT"
ENV_KFP_TOKEN = "KFP_TOKEN"  # noqa: S105
ENV_KFP_COOKIE = "KFP_COOKIE"
ENV_KFP_SA_TOKEN = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105
ENV_KFP_IAP_CLIENT = "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"
ENV_KFP_APP_CLIENT = "KF_PIPELINES_APP_OAUTH2_CLIENT_ID"
ENV_KFP_APP_SECRET = "KF_PIPELINES_APP_OAUTH2_CLIENT_SECRET"  # noqa: S105
ENV_KFP_UI = "KF_PIPELINES_UI_ENDPOINT"
ENV_KFP_EXPERIMENT = "KF_PIPELINES_OVERRIDE_EXPERIMENT_NAME"
ENV_KFP_CLIENT_ENDPOINT = "KF_PIPELINES_ENDPOINT"
ENV_REQUESTS_CA = "REQUESTS_CA_BUNDLE"
ENV_SYSTEM_CA = "SSL_CERT_FILE"
ENV_KUBECONFIG = "KUBECONFIG"
ENV_POD_NAME = "ACCRETE_POD_NAME"
ENV_POD_UID = "ACCRETE_POD_UID"
ENV_KFP_RUN_ID = "ACCRETE_KFP_RUN_ID"
AWS_ACCESS_KEY = "AWS_ACCESS_KEY_ID"
AWS_SECRET_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105
AWS_SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105
AWS_WEB_TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105
AWS_ROLE = "AWS_ROLE_ARN"
AWS_SESSION_NAME = "AWS_ROLE_SESSION_NAME"
AWS_REGION = "AWS_REGION"
AWS_DEFAULT_REGION = "AWS_DEFAULT_REGION"
AWS_ENDPOINT = "AWS_ENDPOINT_URL"
AWS_STS_ENDPOINT = "AWS_ENDPOINT_URL_STS"
AWS_CA_BUNDLE = "AWS_CA_BUNDLE"
AWS_PROFILE = "AWS_PROFILE"
AWS_DEFAULT_PROFILE = "AWS_DEFAULT_PROFILE"
AWS_CREDENTIALS_FILE = "AWS_SHARED_CREDENTIALS_FILE"
AWS_CONFIG_FILE = "AWS_CONFIG_FILE"
AWS_CONTAINER_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
AWS_CONTAINER_PATH = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
AWS_CONTAINER_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105
AWS_CONTAINER_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105
AWS_METADATA_ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
AWS_METADATA_DISABLED = "AWS_EC2_METADATA_DISABLED"
OF_TESTS = "ACCRETE_TEST_CIFAR100"
ENV_IN_POD = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets this in every container."""

DEFAULT_REGION = "us-east-1"
DEFAULT_STORE = "s3://accrete"
DEFAULT_STORE_WAIT_S = "900"
MOST_STORE_WAIT_S = 30 * 24 * 3600
DEFAULT_SNAPSHOT_INTERVAL_S = "60"
DEFAULT_LINGER_S = "60"
DEFAULT_RESTARTS = "5"


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
        "Address of the S3 store, `http(s)://host[:port][/path]`.",
        "commands on this machine start the embedded store",
    ),
    Variable(ENV_ACCESS_KEY, "Its access key."),
    Variable(ENV_SECRET_KEY, "Its secret key."),
    Variable(ENV_ACCESS_KEY_FILE, "File with the access key, as a mounted Secret has it."),
    Variable(ENV_SECRET_KEY_FILE, "File with the secret key."),
    Variable(ENV_SESSION_TOKEN, "The session token that belongs to temporary keys."),
    Variable(ENV_SESSION_TOKEN_FILE, "File with the session token."),
    Variable(
        ENV_CREDENTIALS,
        "Where the keys come from: `keys`, the variables above; `aws`, AWS's own variables, web "
        "identity, profiles and container agents; `instance`, the role of an EC2 instance.",
        "`keys` where one is set, else `aws` where that names some",
    ),
    Variable(
        ENV_REGION,
        "Its region; most stores of one's own do not care.",
        f"AWS: what the endpoint says; else {DEFAULT_REGION}",
    ),
    Variable(
        ENV_ADDRESSING,
        "`path`: `endpoint/bucket/key`; `virtual`: the bucket is part of the host's name.",
        "`auto`: virtual for AWS and Aliyun, else path",
    ),
    Variable(ENV_CA_BUNDLE, "File of CA certificates for https.", "the system's"),
    Variable(
        ENV_HTTPS_PROXY,
        "Proxy to a store or a Kubeflow with https, `http(s)://[user:password@]host[:port]`.",
        "none",
    ),
    Variable(ENV_HTTP_PROXY, "The same for those with http.", "none"),
    Variable(ENV_ALL_PROXY, "The same for both, where those are not set.", "none"),
    Variable(
        ENV_NO_PROXY, "What is reached without: names, domains, addresses, networks, `*`.", "none"
    ),
    Variable(ENV_STORE, "`s3://bucket[/prefix]` of shards and checkpoints.", DEFAULT_STORE),
    Variable(
        ENV_HOME,
        "State folder: the embedded store, the node cache, local runs.",
        "`~/.accrete`",
    ),
    Variable(ENV_CACHE, "Folder of the node cache; a volume on a cluster.", f"`${ENV_HOME}/cache`"),
    Variable(
        ENV_STORE_WAIT,
        "Seconds that what needs the store waits for one that is away; 0: it fails at once.",
        DEFAULT_STORE_WAIT_S,
    ),
    Variable(
        ENV_SNAPSHOT_INTERVAL,
        "Seconds between snapshots of a stage in training.",
        f"{DEFAULT_SNAPSHOT_INTERVAL_S}, or down to 15 where they cost little",
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
        ENV_RESTARTS,
        "Times in a row, 0 to 100, that a step starts its killed training again without it getting "
        "further; `0`: never, and one process trains in the step's own.",
        DEFAULT_RESTARTS,
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
    Variable(ENV_KFP_TOKEN, "Token for what guards it; better a file of it, `--token-file`."),
    Variable(ENV_KFP_COOKIE, "Cookie of a login there, `name=value`; better `--cookie-file`."),
    Variable(ENV_KFP_SA_TOKEN, "File of a service account's token for it, as kfp has it."),
    Variable(ENV_KFP_IAP_CLIENT, "Client of Google's Identity-Aware Proxy, as kfp has it."),
    Variable(ENV_KFP_APP_CLIENT, "OAuth client of a user's login there, with the next."),
    Variable(ENV_KFP_APP_SECRET, "Its secret."),
    Variable(ENV_KFP_UI, "Address of its UI, for the page of a run.", "the API's"),
    Variable(ENV_KFP_EXPERIMENT, "KFP experiment, whatever `--experiment` says, as kfp has it."),
    Variable(
        ENV_KFP_CLIENT_ENDPOINT,
        "Has no effect here, where it would send a run away; a remark says so.",
    ),
    Variable(ENV_REQUESTS_CA, "File of CA certificates for it, without `--endpoint-ca`."),
    Variable(ENV_SYSTEM_CA, "The same, after that.", "the system's"),
    Variable(
        ENV_KUBECONFIG,
        "The cluster where `--watch` and `status` look for why a run waits, as kubectl has it.",
        "`~/.kube/config`",
    ),
    Variable(AWS_ACCESS_KEY, f"As AWS's tools have it: with {AWS_SECRET_KEY}, an access key."),
    Variable(AWS_SECRET_KEY, "The secret key that belongs to it."),
    Variable(AWS_SESSION_TOKEN, "The session token that belongs to both."),
    Variable(AWS_WEB_TOKEN_FILE, "File of a web identity token, as EKS mounts it (IRSA)."),
    Variable(AWS_ROLE, "The role that such a token is for."),
    Variable(AWS_SESSION_NAME, "The session's name in AWS's logs.", "accrete"),
    Variable(
        AWS_STS_ENDPOINT,
        f"Address of the token service; `{AWS_ENDPOINT}` is read too.",
        f"AWS's, in `{AWS_REGION}` or `{AWS_DEFAULT_REGION}`",
    ),
    Variable(AWS_CA_BUNDLE, "File of CA certificates for the token service.", "the system's"),
    Variable(AWS_PROFILE, f"Profile of the files below; `{AWS_DEFAULT_PROFILE}` too.", "default"),
    Variable(AWS_CREDENTIALS_FILE, "File of profiles' keys.", "`~/.aws/credentials`"),
    Variable(AWS_CONFIG_FILE, "File of profiles' settings.", "`~/.aws/config`"),
    Variable(AWS_CONTAINER_URI, "Address of a container's credentials (EKS Pod Identity, ECS)."),
    Variable(AWS_CONTAINER_PATH, "The same on ECS, as a path at 169.254.170.2."),
    Variable(AWS_CONTAINER_TOKEN, "What such a request is authorized with."),
    Variable(AWS_CONTAINER_TOKEN_FILE, "File with that, which is read again for each request."),
    Variable(
        AWS_METADATA_ENDPOINT, "Address of an instance's metadata.", "`http://169.254.169.254`"
    ),
    Variable(AWS_METADATA_DISABLED, "`true`: an instance's metadata is never asked."),
    Variable(ENV_PROGRESS, "Set by a local run for its steps: where they say how far they are."),
    Variable("ACCRETE_S3_BUCKET", "Set by `manifests/`, which make `ACCRETE_STORE` of it."),
    Variable(ENV_POD_NAME, "Set by the pipeline for a step that makes a TrainJob: its pod's name."),
    Variable(ENV_POD_UID, "The same: its pod's unique id."),
    Variable(ENV_KFP_RUN_ID, "The same: Kubeflow's id of the run, a label of the job's pods."),
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
