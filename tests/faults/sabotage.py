"""Ways to break resuming, to show that the campaigns can fail. Each is called in a child before anything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seqkit.io import atomic
from seqkit.runs import checkpoint, event_files, run_folder
from seqkit.training import state
from seqkit.training.state import TrainingState


def random_numbers() -> None:
    """The examples of a step draw the numbers of another step."""
    real = state.by_example
    state.by_example = lambda seed, step, numbers: real(seed, step + 1, numbers)


def optimizer() -> None:
    """The optimiser starts with an empty state."""
    torch.optim.Optimizer.load_state_dict = lambda *arguments: None


def batch_skipped() -> None:
    """One batch is skipped."""
    _change_counters(lambda counters: setattr(counters, "turn", counters.turn + 1))


def counters() -> None:
    """The scores of past evaluations, which decide about early stopping, are lost."""
    _change_counters(lambda counters: counters.to_minimise.clear())


def sums() -> None:
    """The loss sums since the last log are lost."""
    real = checkpoint.load

    def load(path: Path) -> Any:
        tensors, state = real(path)
        return {**tensors, "sums": {name: tensor * 0 for name, tensor in tensors["sums"].items()}}, state

    checkpoint.load = load


def carried() -> None:
    """The state that is carried from one window to the next is lost."""
    real = checkpoint.load

    def load(path: Path) -> Any:
        tensors, state = real(path)
        return {stem: named for stem, named in tensors.items() if stem != "carried"}, state

    checkpoint.load = load


def metrics() -> None:
    """What was written after the checkpoint stays in metrics.jsonl."""
    run_folder.Run.rewind = lambda self, step: None


def board() -> None:
    """What was written after the checkpoint stays on TensorBoard, and is written again."""
    event_files.rewrite = lambda folder, last_step=None: event_files.DuplicateFilter()


def _change_counters(change: Callable[[Any], None]) -> None:
    real = TrainingState.load

    def load(self: TrainingState, path: Path, **options: bool) -> bool:
        answer = real(self, path, **options)
        change(self.counters)
        return answer

    TrainingState.load = load


RESUMED = {
    "random numbers of another step are drawn": random_numbers,
    "the optimiser is not restored": optimizer,
    "a batch is skipped": batch_skipped,
    "the counters of early stopping are lost": counters,
    "losses since the last log are lost": sums,
    "the carried state is lost": carried,
    "metrics.jsonl is not rewound": metrics,
    "TensorBoard is not rewound": board,
}
"""What can be broken in a resumed run."""


def naive_write() -> None:
    """Files are written in place, and a folder has its name from the start."""
    real = os.open
    os.open = lambda path, flags, *more, **how: real(path, flags & ~os.O_EXCL, *more, **how)
    os.replace = lambda source, target: None
    atomic.temporary = lambda path: path
    atomic.remove_unfinished = lambda folder: None
    checkpoint.clean_up = lambda folder: None
    checkpoint._publish = lambda temporary, path: None


class PowerCut:
    """Keeps what a disk has after a power cut: only what was synced.

    In a child, it records at each fsync the content of the synced file or the names in the synced folder. `restore`
    makes a folder of these records.

    Args:
        notes: the folder of the records.
        skip_folders: syncs of folders have no effect, although the program believes they have.
    """

    def __init__(self, notes: Path, *, skip_folders: bool = False) -> None:
        self.notes, self.skip_folders = notes, skip_folders
        notes.mkdir(parents=True)

    def __call__(self) -> None:
        real = os.fsync

        def fsync(handle: int) -> None:
            real(handle)
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            if path.is_dir():
                if not self.skip_folders:
                    names = sorted(path.iterdir())
                    text = "".join(f"{entry.stat().st_ino} {int(entry.is_dir())} {entry.name}\n" for entry in names)
                    self._note(os.fstat(handle).st_ino, "names", text.encode())
            else:
                self._note(os.fstat(handle).st_ino, "data", path.read_bytes())

        os.fsync = fsync

    def restore(self, inode: int, path: Path) -> None:
        """Make the folder with this inode number as it is on the disk."""
        path.mkdir()
        listed = self.notes / f"{inode}.names"
        for line in listed.read_text().splitlines() if listed.exists() else ():
            number, folder, name = line.split(" ", 2)
            if int(folder):
                self.restore(int(number), path / name)
            else:
                data = self.notes / f"{number}.data"
                (path / name).write_bytes(data.read_bytes() if data.exists() else b"")

    def _note(self, inode: int, kind: str, content: bytes) -> None:
        temporary = self.notes / f"part-{os.getpid()}"
        temporary.write_bytes(content)
        os.rename(temporary, self.notes / f"{inode}.{kind}")
