"""What the processes of the bench do: the pipeline's own steps, and notes of what they did.

A training step's notes are lines that a SIGKILL does not take away: `begin POSITION`, `step`,
`take POSITION` and `saved`, each with the seconds of the monotonic clock. Noting changes nothing.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def prepare(**arguments: Any) -> None:
    """Run the step that prepares."""
    from accrete.steps.prepare import prepare_step

    prepare_step(**arguments)


def train(notes: str, **arguments: Any) -> None:
    """Run the step that trains, with notes."""
    from accrete.steps.train import train_step

    _note_training(notes)
    train_step(**arguments)


def _note_training(path: str) -> None:
    import torch

    from accrete.stages import run as stage
    from accrete.stages import snapshots

    torch.set_num_threads(1)  # 8×8 images gain nothing from threads that wait for each other
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(*words: object) -> None:
        os.write(file, f"{' '.join(map(str, words))} {time.monotonic():.6f}\n".encode())

    watcher: Any = snapshots.SnapshotWatcher
    wants_state, take_state, save = watcher.wants_state, watcher.take_state, watcher._save
    train_all: Any = stage.train

    def noted_train(*inputs: Any, state: Any, **options: Any) -> Any:
        note("begin", state.position)
        return train_all(*inputs, state=state, **options)

    def noted_wants(self: Any) -> bool:
        note("step")
        return bool(wants_state(self))

    def noted_take(self: Any, state: Any) -> None:
        note("take", state.position)
        take_state(self, state)

    def noted_save(self: Any, *inputs: Any) -> None:
        before = self._saved_position
        save(self, *inputs)
        note("saved" if self._saved_position != before else "unsaved", self._saved_position)

    setattr(stage, "train", noted_train)  # noqa: B010  mypy knows it as a function
    watcher.wants_state, watcher.take_state, watcher._save = noted_wants, noted_take, noted_save


@dataclass(slots=True)
class Done:
    """What a training attempt did, by its notes."""

    first: int | None = None
    """Step that it went on from; None: it trained nothing."""
    last: int = 0
    """Step that it got to."""
    saved: int = 0
    """Furthest step that it knew to be stored."""
    unsaved_s: float = 0.0
    """Most time for which it trained with a snapshot due and none on its way."""
    longest_step_s: float = 0.0
    """Most time between two steps."""


def read_notes(path: Path, interval_s: float) -> Done:
    """Return what an attempt did at last, with what it owed by its interval between snapshots."""
    lives = read_lives(path, interval_s)
    return lives[-1] if lives else Done()


def read_lives(path: Path, interval_s: float) -> list[Done]:
    """Return the same of each process that trained for an attempt, in order."""
    lives: list[list[str]] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("begin ") or not lives:
            lives.append([])
        lives[-1].append(line)
    return [_done_by(lines, interval_s) for lines in lives]


def _done_by(lines: list[str], interval_s: float) -> Done:
    done = Done()
    due = under_way_until = last_step = 0.0
    is_under_way = False
    for line in lines:
        word, *rest = line.split()
        at = float(rest[-1])
        if word == "begin":
            done.first = done.last = int(rest[0])
            due, last_step = at + interval_s, at
        elif word == "take":
            due, is_under_way = at + interval_s, True
        elif word == "saved":
            done.saved = max(done.saved, int(rest[0]))
        elif word == "step":
            done.last += 1
            done.longest_step_s = max(done.longest_step_s, at - last_step)
            last_step = at
            if not is_under_way:
                done.unsaved_s = max(done.unsaved_s, at - max(due, under_way_until))
        if word in ("saved", "unsaved"):
            is_under_way, under_way_until = False, at
    return done
