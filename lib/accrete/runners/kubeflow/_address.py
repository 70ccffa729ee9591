"""Addresses of Kubeflow Pipelines as people have them: of the API, the UI, or a page of it."""

import re
from dataclasses import dataclass

from accrete.core.settings import split_address, without_user
from accrete.errors import ConfigError

_API = re.compile(r"/apis(/v\d\w*(/.*)?)?$")
_PAGE = re.compile(r"/(index\.html)?$")
_OF_DASHBOARD = "/pipeline"
"""Where Kubeflow's central dashboard has the UI of Pipelines, which passes its API on."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API is looked for."""

    base: str
    """`scheme://host[:port][/prefix]`; the API's paths, from `/apis` on, come behind it."""
    others: tuple[str, ...]
    """Where else on this host it may be meant."""


def parse_endpoint(text: str) -> Endpoint:
    """Return where an address says that the API is.

    Args:
        text: of the API, or of a page of the UI as a browser shows it.

    Raises:
        ConfigError: it is no http address, or has credentials in it.
    """
    text = text.strip()
    url = split_address(text)
    shown = without_user(text).partition("?")[0]
    has_user = "@" in re.split("[?#]", text)[0]  # a password may have a `/`
    if url is None or url.scheme not in ("http", "https") or not url.hostname or has_user:
        raise ConfigError(f"endpoint is {shown!r}: give http://host:port of the KFP API")
    if not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
        raise ConfigError(f"endpoint is {shown!r}, which has a character that no address has")
    root = f"{url.scheme}://{url.netloc}"
    path = _PAGE.sub("", _API.sub("", url.path.rstrip("/")).rstrip("/"))
    path = path.removeprefix("/_")  # the dashboard shows the UI in a frame of its own page
    others = (path.removesuffix(_OF_DASHBOARD) + _OF_DASHBOARD, "", _OF_DASHBOARD)
    return Endpoint(
        base=root + path,
        others=tuple(dict.fromkeys(root + other for other in others if other != path)),
    )


def host_of(address: str) -> str:
    """Return the host of an address with its port, for messages; empty where it has none."""
    url = split_address(address)
    return url.netloc.rpartition("@")[2] if url else ""


def run_page(base: str, run_id: str) -> str:
    """Return a run's page in the UI."""
    return f"{without_user(base).rstrip('/')}/#/runs/details/{run_id}"


def recurring_run_page(base: str, recurring_run_id: str) -> str:
    """Return a recurring run's page in the UI."""
    return f"{without_user(base).rstrip('/')}/#/recurringrun/details/{recurring_run_id}"


def runs_page(base: str) -> str:
    """Return the page of all runs in the UI."""
    return f"{without_user(base).rstrip('/')}/#/runs"


def is_in_cluster(base: str) -> bool:
    """Return whether an address is that of a Service, as pods of its cluster have it."""
    url = split_address(base)
    labels = ((url.hostname if url else None) or "").split(".")
    return labels[2:3] == ["svc"] or (labels[0].startswith("ml-pipeline") and len(labels) <= 2)
