"""Kubernetes' own syntax: names, labels, taints and quantities, checked before a cluster sees them.

Source: kubernetes.io/docs/concepts/overview/working-with-objects, pages `names` and `labels`;
taints as kubectl writes them; quantities: kubernetes.io/docs/reference/kubernetes-api, Quantity.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from accrete.core.settings import without_user
from accrete.errors import ConfigError

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_MOUNTED = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(
    r"\+?(\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE]([+-]?\d{1,2})|([KMGTPE]i|[numkMGTPE])?)", re.ASCII
)
_SUFFIXES = {
    **{"n": (10, -9), "u": (10, -6), "m": (10, -3)},
    **{"k": (10, 3), "M": (10, 6), "G": (10, 9), "T": (10, 12), "P": (10, 15), "E": (10, 18)},
    **{"Ki": (2, 10), "Mi": (2, 20), "Gi": (2, 30), "Ti": (2, 40), "Pi": (2, 50), "Ei": (2, 60)},
}
"""Base and power of what each suffix multiplies by."""

_MOST = 2**63 - 1
"""Kubernetes counts in 64 bits."""

_LEAST_BYTES = 10**6
"""No container starts with less; `16` is meant to be 16G."""

_KFP_CPU = re.compile(r"\d+(\.\d+)?|\d+m", re.ASCII)
_KFP_MEMORY = re.compile(r"\d+([MGTPE]i?|Ki)?", re.ASCII)
"""What both kfp 2.17 and Kubernetes take, the first of which knows K and no k."""

_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REGISTRY = r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::[0-9]+)?"
_IMAGE = re.compile(
    rf"(?P<name>(?:(?:{_REGISTRY}|{_PART}(?::[0-9]+)?)/)?{_PART}(?:/{_PART})*)"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_IMAGE_CHARACTERS = 255
"""Of its name, without tag and digest; source: github.com/distribution/reference."""

VOLUME_NAMES = frozenset(
    (
        *("kfp-launcher", "ca-bundle", "custom-ca", "kfp-workspace"),
        *("gcs-scratch", "s3-scratch", "minio-scratch"),
        *("dot-local-scratch", "dot-cache-scratch", "dot-config-scratch"),
        *("var-run-argo", "tmp-dir-argo"),
        "dshm",
    )
)
"""Volumes that a step's pod has already: Kubeflow's (2.17), Argo's and ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint that a pod does not mind."""

    key: str
    """The taint's key."""
    value: str | None
    """The taint's value; None: any."""
    effect: str
    """`NoSchedule`, `PreferNoSchedule` or `NoExecute`."""


def check_image(what: str, image: str) -> None:
    """Refuse what is no reference to a container image: `registry:5000/team/name:tag`.

    Raises:
        ConfigError: it is none.
    """
    found = _IMAGE.fullmatch(image)
    if found is None or len(found["name"]) > _IMAGE_CHARACTERS:
        shown = without_user(image) if "://" in image else image
        raise ConfigError(
            f"{what} is {shown!r}: give a reference such as accrete-trainer:0.1.0 or "
            "registry.example.com/team/trainer:1"
        )


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


def check_mounted_name(what: str, name: str) -> None:
    """Refuse what cannot be the name of a ConfigMap or claim that a step mounts.

    Kubeflow Pipelines names the pod's volume like it (2.17, its driver), and a volume's name is a
    DNS-1123 label, of which a pod has each once.

    Raises:
        ConfigError: it cannot.
    """
    check_object_name(what, name)
    if not _MOUNTED.fullmatch(name):
        raise ConfigError(
            f"{what} is {name!r}: Kubernetes allows that, but Kubeflow Pipelines names the pod's "
            "volume like it, and a volume's name has at most 63 of a-z, 0-9 and '-': give the "
            "object such a name"
        )
    if name in VOLUME_NAMES:
        raise ConfigError(
            f"{what} is {name!r}: a step's pod has a volume of this name already, and Kubeflow "
            "Pipelines names another like the object: give it another name"
        )


def check_resource_name(what: str, name: str) -> None:
    """Refuse what cannot be the name of a GPU: an extended resource, `domain/name`.

    Raises:
        ConfigError: it cannot.
    """
    check_label_key(what, name)
    domain, slash, _ = name.rpartition("/")
    is_own = domain == "kubernetes.io" or domain.endswith(".kubernetes.io")
    if not slash or is_own or domain.startswith("requests.") or len(domain) > 244:
        raise ConfigError(
            f"{what} is {name!r}: give the name that nodes offer it by, domain/name, such as "
            "nvidia.com/gpu"
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
        ConfigError: it is none, or has a finer part than a thousandth, which Kubernetes refuses.
    """
    number = parse_quantity(quantity)
    if number is None or number <= 0 or number * 1000 > _MOST or (number * 1000) % 1:
        raise ConfigError(
            f"{what} is {quantity!r}: give a number of CPUs such as 4, 0.5 or 500m, in whole "
            "thousandths"
        )


def check_memory(what: str, quantity: str) -> None:
    """Refuse what is no amount of memory that a container could start with: `16G`, `512Mi`.

    Raises:
        ConfigError: it is none, or under a megabyte.
    """
    number = parse_quantity(quantity)
    if number is None or not _LEAST_BYTES <= number <= _MOST:
        raise ConfigError(
            f"{what} is {quantity!r}: give an amount of bytes, such as 16G or 512Mi, from 1M"
        )


def plain_cpu(quantity: str) -> str:
    """Return a number of CPUs as kfp takes it, which knows less of the syntax than Kubernetes."""
    if _KFP_CPU.fullmatch(quantity):
        return quantity
    number = parse_quantity(quantity)
    assert number is not None, "it was checked"
    return f"{int(number * 1000)}m"


def plain_memory(quantity: str) -> str:
    """Return an amount of memory as kfp takes it, in whole bytes."""
    if _KFP_MEMORY.fullmatch(quantity):
        return quantity
    number = parse_quantity(quantity)
    assert number is not None, "it was checked"
    return str(ceil(number))


def parse_quantity(quantity: str) -> Fraction | None:
    """Return the number that a quantity stands for, None where it is none, or below zero."""
    found = _QUANTITY.fullmatch(quantity)
    if found is None:
        return None
    digits, exponent, suffix = found.groups()
    number = Fraction(f"0{digits}" if digits.startswith(".") else digits.removesuffix("."))
    base, power = (10, int(exponent)) if exponent else _SUFFIXES.get(suffix, (1, 1))
    return number * Fraction(base) ** power


def check_node_selector(selector: Sequence[tuple[str, str]]) -> None:
    """Check labels that a node must have.

    Raises:
        ConfigError: one is none, or is to have two values.
    """
    chosen: dict[str, str] = {}
    for key, value in selector:
        check_label_key("the key of the node selector", key)
        check_label_value(f"the value of the node selector {key}", value)
        if chosen.setdefault(key, value) != value:
            raise ConfigError(
                f"node selector {key} is both {chosen[key]!r} and {value!r}: a node has one "
                "value of a label"
            )
