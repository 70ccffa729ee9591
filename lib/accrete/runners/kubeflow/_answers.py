"""What an HTTP answer in Kubeflow's place is: a login, a gateway's refusal, a page, somebody else.

Pure: an answer in, a refusal in words out. KFP's API answers errors as grpc-gateway does: JSON with
`code` and `message` (backend/src/apiserver/main.go of 2.17.0); what else answers has no such form.
"""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urljoin

from accrete.core.settings import split_address
from accrete.errors import one_line
from accrete.runners.kubeflow._address import host_of

Kind = Literal["access", "away", "gone", "elsewhere", "refused"]
"""`access`: credentials are asked for or refused. `away`: another try may help. `gone`: KFP knows
nothing of this id. `elsewhere`: not KFP's API. `refused`: KFP or its gateway will not do it."""

_AWAY = (408, 425, 499, 500, 502, 503, 504)
"""Of gateways; 520 to 530 are Cloudflare's."""
_LATE = (408, 499, 504, 522, 524)
"""Who answers so has waited in vain for the API server, which may still be at work."""
_REFUSED = (400, 401, 403, 404, 405, 407, 409, 411, 413, 422, 429)
_MAX_WORDS = 300
_LOGIN = re.compile(
    r"type=[\"']?password|\b(log|sign)[ -]?(in|on)\b|oauth2?|authenticat|keycloak|\bdex\b",
    re.IGNORECASE,
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_UI = re.compile(r"kubeflow", re.IGNORECASE)
_PLAIN_TO_TLS = re.compile(r"http request (was sent )?to (an )?https (server|port)", re.IGNORECASE)
PROXY_LOGIN = (
    "is behind a proxy that asks for a login (407): name user and password in HTTP_PROXY or "
    "HTTPS_PROXY, or the host in NO_PROXY"
)
_HINT = "give the address of the KFP API; behind Kubeflow's dashboard it ends in /pipeline"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of a request."""

    url: str
    """That was asked."""
    status: int
    """HTTP's."""
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes
    """Decoded, or the beginning of it."""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    @property
    def json(self) -> Any:
        """The body's JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def is_page(self) -> bool:
        """Whether it is HTML."""
        begins = self.body[:200].lstrip().lower()
        is_html = self.headers.get("content-type", "").lower().startswith("text/html")
        return is_html or begins.startswith((b"<!doctype html", b"<html"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an answer in KFP's place means."""

    kind: Kind
    """What may help."""
    words: str
    """Who answered, with what, and what to give: continues `Kubeflow Pipelines at URL `."""


def refusal_of(answer: Answer, base: str, sent: str) -> Refusal | None:
    """Return what an answer is, None where it is a JSON object of success.

    Args:
        answer: to a request to KFP's API.
        base: where the API was looked for.
        sent: the credentials that went with it, in words; empty: none did.
    """
    status = answer.status
    if 200 <= status < 300:
        return None if isinstance(answer.json, dict) else _no_json(answer, sent)
    if 300 <= status < 400:
        return _redirected(answer, base, sent)
    if status in (401, 403, 407) or (status == 400 and answer.is_page and _is_login(answer)):
        return _denied(answer, sent)
    if status == 404:
        return _missing(answer)
    return _unable(answer)


def outcome_of(answer: Answer) -> Literal["refused", "unknown", "late"]:
    """Return what became of a request that was to make something, and did not get its answer."""
    if answer.status in _LATE:
        return "late"
    return "refused" if answer.status in _REFUSED else "unknown"


def _unable(answer: Answer) -> Refusal:
    """Return what an answer is that has nothing to do with who asks, and what."""
    status, message = answer.status, kfp_message(answer)
    if status == 429:
        return Refusal("away", f"{_says(answer)}: it is asked too often")
    if message is None and (status in _AWAY or 520 <= status <= 530):
        return Refusal("away", f"{_says(answer)}: its gateway is there, its API server is not")
    if status == 400 and _PLAIN_TO_TLS.search(answer.text):
        return Refusal("elsewhere", "speaks TLS: give https:// instead of http://")
    if status == 413:
        return Refusal(
            "refused",
            f"{_says(answer)}: the gateway before it takes no pipeline of this size; have its "
            "limit of a request's body raised (nginx: proxy-body-size)",
        )
    hint = ""
    if message and "namespace" in message.lower() and "multi-user" in message.lower():
        hint = ": give --namespace"
    return Refusal("away" if status in (503, 504) else "refused", f"{_says(answer)}{hint}")


def _redirected(answer: Answer, base: str, sent: str) -> Refusal:
    try:
        target = urljoin(answer.url, answer.headers.get("location", ""))
    except ValueError:
        target = ""
    there, here, root = map(split_address, (target, answer.url, base))
    if there is None or here is None or root is None or not answer.headers.get("location"):
        return Refusal("elsewhere", f"answers {answer.status} without saying where to: {_HINT}")
    asked, led = here.path.removeprefix(root.path), there.path.rstrip("/")
    is_ours = led == here.path or (led.endswith(asked) and host_of(target) == host_of(base))
    if is_ours and there.query == here.query:
        moved = f"{there.scheme}://{host_of(target)}{led.removesuffix(asked)}"
        if moved == base:
            return Refusal(
                "elsewhere",
                f"redirects in a circle, to {_shown(moved + there.path[len(root.path) :], 200)} "
                f"({answer.status}): a gateway before it changes its paths; {_HINT}",
            )
        return Refusal(
            "elsewhere", f"redirects to {_shown(moved, 200)} ({answer.status}): give that"
        )
    place = _shown(host_of(target) or host_of(base), 100)
    return Refusal("access", f"redirects to a login at {place} ({answer.status}): {_enter(sent)}")


def _no_json(answer: Answer, sent: str) -> Refusal:
    if answer.is_page and _is_login(answer):
        return Refusal("access", f"{_page(answer)}: {_enter(sent)}")
    if answer.is_page:
        is_ui = _UI.search(_title(answer))
        hint = (
            f"that is a UI without its API: {_HINT}" if is_ui else f"it is not KFP's API: {_HINT}"
        )
        return Refusal("elsewhere", f"{_page(answer)}: {hint}")
    what = f"{_shown(answer.text, 60)!r}" if answer.body else "nothing"
    return Refusal("elsewhere", f"answers {what}{_server(answer)}, where JSON was due: {_HINT}")


def _denied(answer: Answer, sent: str) -> Refusal:
    if answer.status == 407:
        return Refusal("access", PROXY_LOGIN)
    if answer.is_page and _is_login(answer):
        return Refusal("access", f"{_page(answer)}: {_enter(sent)}")
    message, text = kfp_message(answer), _shown(answer.text, 80)
    if text.startswith("RBAC: access denied"):
        return Refusal(
            "access",
            f"is behind Istio, which refuses ({answer.status} RBAC: access denied): "
            f"{_enter(sent)}; a pod has the token of its account for pipelines.kubeflow.org",
        )
    if message is not None and answer.status == 403:
        return Refusal(
            "access",
            f"{_says(answer)}: check --namespace, or have its owner grant the right",
        )
    if message is not None:
        return Refusal("access", f"{_says(answer)}: {_enter(sent)}")
    scheme = answer.headers.get("www-authenticate", "").partition(" ")[0]
    asks = f", which asks for {_shown(scheme, 20)}" if scheme else ""
    return Refusal("access", f"{_says(answer)}{asks}: {_enter(sent)}")


def _missing(answer: Answer) -> Refusal:
    is_run = "/runs/" in answer.url
    if is_run and kfp_message(answer) is not None and answer.json.get("code") == 5:
        return Refusal("gone", _says(answer))
    return Refusal("elsewhere", f"{_says(answer)}: no API of KFP 2 is there; {_HINT}")


def kfp_message(answer: Answer) -> str | None:
    """Return what KFP's API says of its refusal, None where the answer is not of its form."""
    value = answer.json
    if isinstance(value, dict) and isinstance(value.get("code"), int):
        message = value.get("message") or value.get("error")
        if isinstance(message, str) and value.get("kind") != "Status":
            return message
    return None


def _says(answer: Answer) -> str:
    """Return status and words of an answer."""
    message = kfp_message(answer)
    if message is not None:
        return f"says {answer.status} ({_shown(message, _MAX_WORDS)})"
    value = answer.json
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        who = "the Kubernetes API" if value.get("kind") == "Status" else "not KFP"
        return f"says {answer.status} ({who}: {_shown(value['message'], _MAX_WORDS)})"
    words = _title(answer) if answer.is_page else _shown(answer.text, 80)
    quoted = f" {words!r}" if words else ""
    return f"says {answer.status}{quoted}{_server(answer)}"


def _page(answer: Answer) -> str:
    title = _title(answer)
    of = f' "{title}"' if title else ""
    return f"answers with a page{of}{_server(answer)} in place of the API's JSON ({answer.status})"


def _server(answer: Answer) -> str:
    name = _shown(answer.headers.get("server", ""), 40)
    return f" (server {name})" if name else ""


def _title(answer: Answer) -> str:
    found = _TITLE.search(answer.text)
    return _shown(html.unescape(found[1]), 80) if found else ""


def _is_login(answer: Answer) -> bool:
    return bool(_LOGIN.search(answer.text[:20_000]))


def _enter(sent: str) -> str:
    if sent:
        return f"it does not take {sent}: give a new one, for this Kubeflow"
    return "give a token (--token-file) or the cookie of a login (--cookie-file)"


def _shown(text: str, length: int) -> str:
    line = one_line(text)
    return line if len(line) <= length else f"{line[: length - 1]}…"
