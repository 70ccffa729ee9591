"""What the tests on a kind cluster submit: their options, which a quick test reads too."""

SMALL = (
    *("--cpu", "500m", "--memory", "2G", "--shared-memory", "256Mi", "--model", "small"),
    *("--step-overhead", "0"),  # digits are quick: their stages would share a step
)
"""For a cluster on a machine of two cores. GPUs that are not there place the steps all the same."""

LONG = ("--stages", "5,5", "--budget-epochs", "400")
"""Digits for minutes a stage: there is time to harm the second one after its first snapshot, which
comes within a minute."""

SCENARIOS: dict[str, tuple[str, ...]] = {
    "digits": ("run", "--watch", "--cache-claim", "accrete-cache", "--gpu-kind", "none"),
    "killed process": ("run", *LONG, "--retries", "0"),
    "deleted pod": ("run", *LONG, "--retries", "0"),
    "terminated": ("run", *LONG),
    "no such GPUs": ("run", "--watch", "--gpus", "8", "--stages", "10"),
    "no such image": ("run", "--watch", "--stages", "10", "--image", "accrete-trainer:nowhere"),
    "store away": ("run", *LONG, "--retries", "0"),
    "old classes": ("run", "--watch", "--stages", "5,3"),
    "new classes": ("extend", "--watch", "--source", "digits"),
    "compare": ("compare", "--watch", "--stages", "5,5", "--seeds", "1", "--no-figure"),
    "two nodes": ("run", "--watch", "--stages", "5,5", "--gpus", "2", "--nodes", "2"),
}
"""A command and its options, beside those that all get."""
