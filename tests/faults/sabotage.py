"""Resume broken on purpose, so that it is seen that the harness can fail. Each is called in a child, first of all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seqkit.io import atomic
from seqkit.runs import checkpoint, event_files, run_folder
from seqkit.runtime import random_state as generators
from seqkit.training.state import TrainingState


def random_state() -> None:
    """The generators are left as they are."""
    generators.restore_random_state = lambda *given: None


def optimizer() -> None:
    """The optimiser starts anew."""
    torch.optim.Optimizer.load_state_dict = lambda *given: None


def batch_skipped() -> None:
    """One batch is passed over."""
    _change_counters(lambda counters: setattr(counters, "turn", counters.turn + 1))


def counters() -> None:
    """How many evaluations were without a better score is forgotten, and what they were."""
    _change_counters(lambda counters: counters.to_minimise.clear())


def sums() -> None:
    """The losses since the last log are forgotten."""
    real = checkpoint.load

    def load(path: Path) -> Any:
        tensors, state = real(path)
        return {**tensors, "sums": {name: tensor * 0 for name, tensor in tensors["sums"].items()}}, state

    checkpoint.load = load


def carried() -> None:
    """The state that one window hands to the next is forgotten."""
    real = checkpoint.load

    def load(path: Path) -> Any:
        tensors, state = real(path)
        return {stem: named for stem, named in tensors.items() if stem != "carried"}, state

    checkpoint.load = load


def metrics() -> None:
    """What was written after the checkpoint, half a line at the end of it, stays in metrics.jsonl."""
    run_folder.Run.rewind = lambda self, step: None


def board() -> None:
    """What was written after the checkpoint stays on TensorBoard, and is written again."""
    event_files.rewrite = lambda folder, last_step=None: event_files.DuplicateFilter()


def _change_counters(change: Callable[[Any], None]) -> None:
    real = TrainingState.load

    def load(self: TrainingState, path: Path) -> None:
        real(self, path)
        change(self.counters)

    TrainingState.load = load


RESUMED = {
    "a random state is not restored": random_state,
    "the optimiser is not restored": optimizer,
    "a batch is skipped": batch_skipped,
    "the counters of early stopping are lost": counters,
    "losses since the last log are lost": sums,
    "the carried state is lost": carried,
    "metrics.jsonl is not rewound": metrics,
    "TensorBoard is not rewound": board,
}
"""What can be broken in a run that goes on."""


def naive_write() -> None:
    """Files are written in their place, and a folder has its name from the start."""
    real = os.open
    os.open = lambda path, flags, *more, **how: real(path, flags & ~os.O_EXCL, *more, **how)
    os.replace = lambda part, goal: None
    atomic.temporary = lambda goal: goal
    atomic.remove_unfinished = lambda folder: None
    checkpoint.clean_up = lambda folder: None
    checkpoint._publish = lambda temporary, path: None


class PowerCut:
    """What a disk holds after a power cut: what was synced, and no more.

    Installed in a child, it notes in a folder of its own, at each fsync, what the synced file holds or which names the
    synced folder has. `restore` makes a folder of that.

    Args:
        notes: where it notes them, outside of what it watches.
        deaf: folders are not synced in truth, although the program believes they are.
    """

    def __init__(self, notes: Path, *, deaf: bool = False) -> None:
        self.notes, self.deaf = notes, deaf
        notes.mkdir(parents=True)

    def __call__(self) -> None:
        real = os.fsync

        def fsync(handle: int) -> None:
            real(handle)
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            if path.is_dir():
                if not self.deaf:
                    names = sorted(path.iterdir())
                    text = "".join(f"{entry.stat().st_ino} {int(entry.is_dir())} {entry.name}\n" for entry in names)
                    self._note(os.fstat(handle).st_ino, "names", text.encode())
            else:
                self._note(os.fstat(handle).st_ino, "data", path.read_bytes())

        os.fsync = fsync

    def restore(self, inode: int, goal: Path) -> None:
        """The folder with this number as the disk has it, made at `goal`."""
        goal.mkdir()
        listed = self.notes / f"{inode}.names"
        for line in listed.read_text().splitlines() if listed.exists() else ():
            number, folder, name = line.split(" ", 2)
            if int(folder):
                self.restore(int(number), goal / name)
            else:
                data = self.notes / f"{number}.data"
                (goal / name).write_bytes(data.read_bytes() if data.exists() else b"")

    def _note(self, inode: int, kind: str, content: bytes) -> None:
        part = self.notes / f"part-{os.getpid()}"
        part.write_bytes(content)
        os.rename(part, self.notes / f"{inode}.{kind}")
