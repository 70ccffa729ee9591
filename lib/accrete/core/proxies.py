"""Which proxy leads to an address: the usual variables, HTTP(S)_PROXY, ALL_PROXY and NO_PROXY."""

import ipaddress
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote, urlsplit

from accrete.core.settings import split_address, without_user
from accrete.errors import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy that requests go through."""

    address: str
    """`http(s)://host:port`, without name and password."""
    variable: str
    """What names it."""
    authorization: str | None = field(default=None, repr=False)
    """The value of `Proxy-Authorization`; None: it wants none."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat."""
        if self.authorization is None:
            return ()
        coded = self.authorization.removeprefix("Basic ")
        return coded, b64decode(coded).decode().partition(":")[2]


def proxy_to(endpoint: str, env: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that requests to an endpoint go through, None where they go straight.

    This machine itself is never reached through one: the embedded store and port-forwards are here.

    Args:
        endpoint: `http(s)://host[:port]`.
        env: variables. Lower case goes first, as in curl; HTTP_PROXY in upper case is not read
            where REQUEST_METHOD is set (a CGI client could set it).

    Raises:
        ConfigError: the variable holds something else.
    """
    url = urlsplit(endpoint)
    host = url.hostname or ""
    if _is_here(host):
        return None
    for variable in (f"{url.scheme}_proxy", "all_proxy"):
        for name in (variable, variable.upper()):
            if name == "HTTP_PROXY" and "REQUEST_METHOD" in env:
                continue
            if value := env.get(name, "").strip():
                exceptions = env.get("no_proxy") or env.get("NO_PROXY") or ""
                port = url.port or _DEFAULT_PORTS.get(url.scheme)
                return None if _is_excepted(host, port, exceptions) else _proxy(value, name)
    return None


def _proxy(value: str, variable: str) -> Proxy:
    url = split_address(value if "://" in value else f"http://{value}")
    if (
        url is None
        or url.scheme not in ("http", "https")
        or not url.hostname
        or "@" in f"{url.path}{url.query}{url.fragment}"  # a password with "/", "?" or "#" in it
    ):
        raise ConfigError(
            f"{variable} is {without_user(value)!r}: give http://[user:password@]host:port, "
            "other signs than letters and digits as %XX (a SOCKS proxy cannot be used)"
        )
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    port = url.port or (443 if url.scheme == "https" else 80)
    authorization = None
    if url.username is not None:
        pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
        authorization = f"Basic {b64encode(pair.encode()).decode()}"
    return Proxy(
        address=f"{url.scheme}://{host}:{port}", variable=variable, authorization=authorization
    )


def _is_here(host: str) -> bool:
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Return whether NO_PROXY names a host: `*`, a name or domain, an address or a network."""
    address = _address(host)
    for each in exceptions.replace(" ", ",").split(","):
        name = each.strip().lower()
        if not name:
            continue
        if name == "*":
            return True
        if address is not None:
            if _has(name, address, port):
                return True
            continue
        bare, _, its_port = name.partition(":")
        domain = bare.removeprefix("*").strip(".")
        if (host == domain or host.endswith(f".{domain}")) and its_port in ("", str(port or "")):
            return True
    return False


def _has(name: str, address: IPv4Address | IPv6Address, port: int | None) -> bool:
    bare, its_port = name, ""
    if name.startswith("["):
        bare, _, its_port = name[1:].partition("]")
    elif name.count(":") == 1:
        bare, _, its_port = name.partition(":")
    try:
        is_in = address in ipaddress.ip_network(bare, strict=False)
    except ValueError:
        return False
    return is_in and its_port.lstrip(":") in ("", str(port or ""))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
