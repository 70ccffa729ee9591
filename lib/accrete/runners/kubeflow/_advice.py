"""What is said of the things that a pod or an Argo node may wait for, and what to do about each."""

import re

IMAGE_REASONS = {
    *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
    *("ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"),
}
CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}

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


def quota_words(words: str) -> str | None:
    """Return what is said of a pod that a quota keeps out, None where none does.

    Args:
        words: of the Kubernetes API: `exceeded quota: …` or `failed quota: …: must specify …`.
    """
    low = words.lower()
    if "failed quota" in low and "must specify" in low:
        return (
            f"gets no pod: {words}; the quota asks every container for that: give --cpu and "
            "--memory (--prepare-cpu and --prepare-memory for prepare and report); the containers "
            "that Kubeflow adds, such as wait, need a LimitRange (docs/cluster.md)"
        )
    if "exceeded quota" in low or "failed quota" in low or "insufficient quota" in low:
        return (
            f"waits for quota: {words}; ask for less (--cpu, --memory, --gpus), or have the quota "
            "raised"
        )
    return None
