"""What is said of the things that a pod or an Argo node may wait for, and what to do about each."""

import re
from collections.abc import Iterator
from fractions import Fraction

from accrete.config.kubernetes import parse_quantity

IMAGE_REASONS = {
    *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
    *("ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"),
}
CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}

_QUOTA = re.compile(r"requested: (.*?), used: .*?, limited: (\S*)")
"""How the API words what was asked of a quota, and what it has (`name=amount,name=amount`)."""

IMAGE = "check --image, and --pull-secret where the registry asks for one"


def no_node(words: str) -> tuple[str, str]:
    """Return kind and words of a pod that has no node, from the scheduler's words."""
    low = words.lower()
    if "schedulinggated" in low or "scheduling gate" in low:
        return (
            "node",
            f"is held back by a scheduling gate: {words}; what set it, such as Kueue, has to let "
            "it go (kubectl get workloads)",
        )
    if "volume node affinity conflict" in low:
        return (
            "volume",
            f"waits for a node that can reach its volume: {words}; the volume of --cache-claim is "
            "bound to nodes or a zone where there is no room for the step",
        )
    if "persistentvolumeclaim" in low:
        return "volume", f"waits for a volume: {words}; is the --cache-claim there, and bound?"
    return (
        "node",
        f"waits for a node that takes it: {words}; ask for what nodes have (--gpus, --gpu-kind, "
        "--cpu, --memory, --node-selector, --toleration)",
    )


def config_words(words: str) -> str:
    """Return what is said of a container that cannot be made, from the kubelet's words."""
    return f"cannot start: {words}{missing_hint(words)}"


def missing_hint(words: str) -> str:
    """Return what to make where the kubelet misses a Secret or ConfigMap, else nothing."""
    found = re.search(r"(secret|configmap) \"?([\w.-]+)\"? not found", words)
    return f"; create the {found[1]} {found[2]} in the run's namespace" if found else ""


def quota_words(words: str) -> tuple[str, str] | None:
    """Return kind and words of a pod that a quota keeps out, None where none does.

    Args:
        words: of the Kubernetes API: `exceeded quota: …` or `failed quota: …: must specify …`.
    """
    low = words.lower()
    if "failed quota" in low and "must specify" in low:
        return (
            "refused",
            f"gets no pod: {words}; the quota asks every container for that: give --cpu and "
            "--memory (--prepare-cpu and --prepare-memory for prepare and report); the containers "
            "that Kubeflow adds, such as wait, need a LimitRange (docs/cluster.md)",
        )
    if (
        "exceeded quota" not in low
        and "failed quota" not in low
        and "insufficient quota" not in low
    ):
        return None
    if _is_over_the_whole_quota(words):
        return (
            "refused",
            f"gets no pod: {words}; it asks for more than the whole quota: ask for less (--cpu, "
            "--memory, --gpus), or have the quota raised",
        )
    return (
        "quota",
        f"waits for quota: {words}; ask for less (--cpu, --memory, --gpus), or have the quota "
        "raised",
    )


def _is_over_the_whole_quota(words: str) -> bool:
    """Return whether a pod asks for more than a quota has when nothing of it is used."""
    found = _QUOTA.search(words)
    if found is None:
        return False
    asked, limited = (dict(_amounts(part)) for part in found.groups())
    return any(amount > limited.get(name, amount) for name, amount in asked.items())


def _amounts(text: str) -> Iterator[tuple[str, Fraction]]:
    for each in text.split(","):
        name, _, quantity = each.strip().rpartition("=")
        amount = parse_quantity(quantity)
        if amount is not None:
            yield name, amount
