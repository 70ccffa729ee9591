"""Scenarios: bytes that are not what they were, in the store or in the node cache.

What the product says is then done: the error names what is damaged, that is deleted, and the steps
are run again. The result must be the undisturbed run's.
"""

import re
from collections.abc import Callable

from trial import BUCKET, RUN, Attempt, Trial

_NAMED = re.compile(rf"s3://{BUCKET}/(\S+?)(?:[,:;]|\.(?=\s)|\s|$)")
_CAUSES = (r"was changed", r"other bytes than its manifest names", r"gone or has another size")
_MOST_ROUNDS = 6
"""A damaged object may lead to its manifest, and that to the one that names it."""


def damaged_shard(trial: Trial) -> None:
    """A shard in the store."""
    _damage(trial, lambda key: key.startswith("objects/") and key in trial.reference.prepared)
    _repair(trial)


def damaged_checkpoint(trial: Trial) -> None:
    """The parent's checkpoint in the store."""
    _damage(trial, lambda key: key.startswith("objects/") and _is_checkpoint(trial, key))
    _repair(trial)


def damaged_manifest(trial: Trial) -> None:
    """The manifest of the data set or of the first stage, or the note that leads to the former."""
    kind = trial.rng.choice(["datasets/", "stages/", "prepared/"])
    _damage(trial, lambda key: key.startswith(kind))
    _repair(trial)


def damaged_record(trial: Trial) -> None:
    """The record of the run."""
    _damage(trial, lambda key: key.startswith("runs/"))
    _repair(trial)


def damaged_snapshot(trial: Trial) -> None:
    """The furthest snapshot, once its attempt is killed: the one before counts, or none."""
    trial.put(trial.reference.parent)
    first = trial.train()
    if trial.wait_for_steps(first):
        first.process.wait(trial.rng.uniform(0.3, 0.6) * trial.reference.train_s)
    first.process.kill()
    first.process.wait(10)
    found = sorted(key for key in trial.stored() if key.startswith("snapshots/"))
    trial.verdict.struck = bool(found)
    if found:
        trial.put({found[-1]: _broken(trial, trial.stored()[found[-1]])})
    trial.well(trial.train())
    trial.conclude()


def damaged_cache(trial: Trial) -> None:
    """Files of the node cache: shards and the parent's checkpoint, some of them or all."""
    trial.put(trial.reference.parent)
    trial.well(trial.train())
    files = sorted(trial.cache.glob("objects/*/*"))
    for path in trial.rng.sample(files, trial.rng.randint(1, len(files))):
        path.write_bytes(_broken(trial, path.read_bytes()))
    trial.delete(trial.reference.stage)
    trial.well(trial.train())
    # The final checkpoint was pushed and need not come back: the cache may keep it damaged.
    for path in files:
        if path.name in trial.reference.stage_objects:
            path.unlink(missing_ok=True)
    trial.conclude()


def _is_checkpoint(trial: Trial, key: str) -> bool:
    return len(trial.reference.parent[key]) > 50_000


def _damage(trial: Trial, matches: Callable[[str], bool]) -> None:
    """Store what the first stage left, one object of it damaged."""
    trial.put(trial.reference.parent)
    key = trial.rng.choice(sorted(filter(matches, trial.reference.parent)))
    trial.put({key: _broken(trial, trial.reference.parent[key])})


def _broken(trial: Trial, data: bytes) -> bytes:
    """Return bytes with a bit flipped, or without their end, or none."""
    kind = trial.rng.random()
    if kind < 0.5:
        place = trial.rng.randrange(len(data))
        flipped = bytes([data[place] ^ (1 << trial.rng.randrange(8))])
        return data[:place] + flipped + data[place + 1 :]
    return data[: trial.rng.randrange(len(data))] if kind < 0.95 else b""


def _repair(trial: Trial) -> None:
    """Run all steps, as a pipeline does that is submitted again, and do what its errors say."""
    run_name = RUN
    for _ in range(_MOST_ROUNDS):
        attempt = _first_failure(trial, run_name)
        if attempt is None:
            break
        line = trial.error(attempt, *_CAUSES, "choose another --name")
        if "choose another --name" in line:
            run_name = f"{RUN}-again"
        for key in _NAMED.findall(line):
            trial.delete(key.removeprefix(trial.prefix))
    else:
        trial.verdict.wrong.append(f"after {_MOST_ROUNDS} errors it was not well")
    trial.conclude(injured=run_name != RUN)


def _first_failure(trial: Trial, run_name: str) -> Attempt | None:
    """Run the steps in order, each on a node of its own; return the first that fails."""
    folder = trial.folder
    steps: list[Callable[[], Attempt]] = [
        lambda: trial.prepare(run_name=run_name, cache=folder / "node-0"),
        lambda: trial.train(stage=1, artifacts=folder, run_name=run_name, cache=folder / "node-1"),
        lambda: trial.train(stage=2, artifacts=folder, run_name=run_name, cache=folder / "node-2"),
    ]
    for step in steps:
        attempt = step()
        if trial.ended(attempt) != 0:
            return attempt
    return None
