"""The table of the runs in a folder, and removing runs from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.reports.run_facts import RunFacts, describe_options, find_differences, find_runs, read_facts
from seqkit.runs.lock import LIVE_STATES, describe_holder, locked
from seqkit.types import JSON

SORT_KEYS: Final = ("name", "state", "dev", "test", "minutes", "started")

_REMOVED: Final = ".removed-"
"""The name of a run folder begins so while what is in it is being removed."""


@dataclass(frozen=True)
class RunTable:
    """Runs with what differs between those of the same tasks.

    Attributes:
        folder: where they were looked for.
        runs: in the order of the table.
        differing: of each run, the options in which runs of its tasks differ.
    """

    folder: Path
    runs: Sequence[RunFacts]
    differing: Mapping[Path, Sequence[str]]

    def name_of(self, run: RunFacts) -> str:
        """The run's folder as the table shows it."""
        return os.path.relpath(run.folder, self.folder) if run.folder != self.folder else run.folder.name

    def facts(self) -> JSON:
        """As JSON."""
        return [
            {
                "folder": str(run.folder),
                "name": run.name,
                "differs": {key: run.options[key] for key in self.differing[run.folder] if key in run.options},
                "state": run.state,
                "reason": run.reason,
                "score": None if run.chosen_by is None else run.chosen_by.key(),
                "lower_is_better": None if run.chosen_by is None else run.chosen_by.lower,
                "dev": run.dev,
                "test": run.test,
                "scores": dict(run.scores),
                "step": run.step,
                "best_step": run.best_step,
                "minutes": run.minutes,
                "started": run.started or None,
            }
            for run in self.runs
        ]

    def lines(self, width: int | None = None) -> list[str]:
        """The table for a human, a line a run.

        Args:
            width: columns of the terminal: what differs is shortened so that the lines fit. None: nothing is.
        """
        names = {run.chosen_by.name for run in self.runs if run.chosen_by is not None}
        same = names.pop() if len(names) == 1 else ""
        header = ["run", "state", f"dev {same}".rstrip(), f"test {same}".rstrip(), "minutes", "what differs"]
        rows = [header]
        for run in self.runs:
            name = "" if same or run.chosen_by is None else f" {run.chosen_by.name}"
            state = run.state + (f", step {run.step:,}" if run.is_alive and run.step is not None else "")
            differs = describe_options(run.options, self.differing[run.folder])
            differs += ("  " if differs and run.reason else "") + (f"({first_line(run.reason)})" if run.reason else "")
            scores = [f"{value:.4f}{name}" if value is not None else "-" for value in (run.dev, run.test)]
            minutes = f"{run.minutes:.1f}" if run.minutes is not None else "-"
            rows.append([self.name_of(run), state, *scores, minutes, differs])
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        lines = []
        for row in rows:
            cells = [f"{cell:<{widths[i]}}" if i in (0, 1, 5) else f"{cell:>{widths[i]}}" for i, cell in enumerate(row)]
            line = "  ".join(cells).rstrip()
            lines.append(line if width is None or len(line) <= width else line[: width - 1] + "…")
        return lines


def make_table(folder: Path, *, sort: str = "name", reverse: bool = False) -> RunTable:
    """The runs in a folder and below it.

    Args:
        folder: with run folders in it, or a run folder.
        sort: one of SORT_KEYS. Scores are sorted from the best; runs without the value come last.
        reverse: the other way round.

    Raises:
        UsageError: there is no such folder.
    """
    runs = [read_facts(path) for path in find_runs(folder)]
    by_tasks: dict[Any, list[RunFacts]] = {}
    for run in runs:
        by_tasks.setdefault(run.tasks, []).append(run)
    differing = {
        run.folder: names
        for similar in by_tasks.values()
        for names in [find_differences([run.options for run in similar])]
        for run in similar
    }
    return RunTable(folder, _sorted(runs, sort, reverse), differing)


def _sorted(runs: list[RunFacts], sort: str, reverse: bool) -> list[RunFacts]:
    if sort == "name":  # they come by name
        return runs[::-1] if reverse else runs

    def value(run: RunFacts) -> Any:
        value = getattr(run, sort)
        if sort in ("dev", "test") and value is not None:
            assert run.chosen_by is not None
            return value if run.chosen_by.lower else -value
        return value

    known = [run for run in runs if value(run) not in (None, "")]
    return sorted(known, key=value, reverse=reverse) + [run for run in runs if value(run) in (None, "")]


def first_line(text: str) -> str:
    """The first line of a message, shortened."""
    line = text.partition("\n")[0]
    return line if len(line) <= 80 else line[:79] + "…"


def remove_run(folder: Path, states: Sequence[str], *, tell: Callable[[str], None]) -> bool:
    """Remove a run folder whose run is in one of these states, never one that a process works on.

    Whether it is, is asked again while the run is locked: it may have been resumed since its state was shown.

    Args:
        folder: the run's.
        states: failed, for example.
        tell: gets the reason if it is not removed.

    Returns:
        Whether it was removed.

    Raises:
        RunError: it cannot be removed.
    """
    if folder.is_symlink():
        tell(f"{folder}: is a link; remove the link itself, or the folder that it leads to")
        return False
    try:
        with locked(folder):
            status = atomic.read_json(folder / "status.json")
            holder = describe_holder(status) if isinstance(status, dict) else None
            if holder is not None:
                tell(f"{folder}: is running again ({holder}); not removed")
                return False
            state = "damaged" if not isinstance(status, dict) else str(status.get("state", "created"))
            if (state := "died" if state in LIVE_STATES else state) not in states:
                tell(f"{folder}: is {state} now; not removed")
                return False
            # Under another name it is no run any more, even if removing it is interrupted.
            removed = folder.rename(folder.with_name(f"{_REMOVED}{folder.name}"))
            (removed / "status.json").unlink()
        shutil.rmtree(removed)
    except FileNotFoundError:
        tell(f"{folder}: is gone already")
        return False
    except OSError as error:
        raise RunError(f"{folder}: cannot be removed: {(error.strerror or str(error)).lower()}") from None
    return True
