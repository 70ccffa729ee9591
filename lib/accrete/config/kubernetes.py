"""Kubernetes' own syntax: names, labels, taints and quantities, checked before a cluster sees them.

Source: kubernetes.io/docs/concepts/overview/working-with-objects, pages `names` and `labels`;
taints as kubectl writes them; quantities as `kfp.dsl.PipelineTask` accepts them.
"""

import re
from dataclasses import dataclass

from accrete.errors import ConfigError

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_CPU = re.compile(r"(\d+(\.\d+)?|\d+m)", re.ASCII)
_MEMORY = re.compile(r"\d+([KMGTPE]i?)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint that a pod does not mind."""

    key: str
    """The taint's key."""
    value: str | None
    """The taint's value; None: any."""
    effect: str
    """`NoSchedule`, `PreferNoSchedule` or `NoExecute`."""


def check_object_name(what: str, name: str) -> None:
    """Refuse what cannot be the name of a Secret, ConfigMap or claim (a DNS-1123 subdomain).

    Raises:
        ConfigError: it cannot.
    """
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise ConfigError(
            f"{what} is {name!r}: a Kubernetes name has lower-case letters, digits, '-' and '.', "
            "such as accrete-store"
        )


def check_label_key(what: str, key: str) -> None:
    """Refuse what cannot be the key of a label, a taint or a resource: `name` or `domain/name`.

    Raises:
        ConfigError: it cannot.
    """
    prefix, slash, name = key.rpartition("/")
    good_prefix = not slash or (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix))
    if not good_prefix or len(name) > 63 or not _LABEL.fullmatch(name):
        raise ConfigError(
            f"{what} is {key!r}: give a name such as zone or example.com/zone, of letters, digits "
            "and '-_.', with an optional domain before one '/'"
        )


def check_label_value(what: str, value: str) -> None:
    """Refuse what cannot be the value of a label or a taint.

    Raises:
        ConfigError: it cannot.
    """
    if value and (len(value) > 63 or not _LABEL.fullmatch(value)):
        raise ConfigError(
            f"{what} is {value!r}: give up to 63 letters, digits and '-_.', a letter or digit at "
            "both ends"
        )


def parse_node_label(text: str) -> tuple[str, str]:
    """Return key and value of a node selector `key=value`.

    Raises:
        ConfigError: not of that form.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"node selector is {text!r}: give key=value, such as disk=ssd")
    check_label_key("the key of the node selector", key)
    check_label_value(f"the value of the node selector {key}", value)
    return key, value


def parse_toleration(text: str) -> Toleration:
    """Return a toleration of `key[=value]:Effect`; without a value it tolerates any.

    Raises:
        ConfigError: not of that form.
    """
    taint, colon, effect = text.rpartition(":")
    key, equals, value = taint.partition("=")
    if not colon or effect not in EFFECTS:
        raise ConfigError(
            f"toleration is {text!r}: give key[=value]:Effect, the effect one of "
            f"{', '.join(EFFECTS)}"
        )
    check_label_key("the key of the toleration", key)
    check_label_value(f"the value of the toleration {key}", value)
    return Toleration(key=key, value=value if equals else None, effect=effect)


def check_cpu(what: str, quantity: str) -> None:
    """Refuse what is no number of CPUs above zero: `4`, `0.5`, `500m`.

    Raises:
        ConfigError: it is none.
    """
    if not _CPU.fullmatch(quantity) or not float(quantity.removesuffix("m")):
        raise ConfigError(f"{what} is {quantity!r}: give a number of CPUs such as 4, 0.5 or 500m")


def check_memory(what: str, quantity: str) -> None:
    """Refuse what is no amount of memory above zero: `16G`, `512Mi`.

    Raises:
        ConfigError: it is none.
    """
    if not _MEMORY.fullmatch(quantity) or not int(re.sub(r"\D", "", quantity)):
        raise ConfigError(f"{what} is {quantity!r}: give a whole amount such as 16G or 512Mi")
