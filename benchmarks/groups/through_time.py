"""What measuring memory through time takes of training: the seconds spent in it, over those of all steps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.frame import Case, Contender, Group, Limit, Prepared

T = TypeVar("T")

STEPS = 400
"""Measurements are made at step 1 and at every hundredth."""
FIGURE = "largest share of the time of steps"


class Stopwatch:
    """Adds up the seconds of the calls that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., T]) -> Callable[..., T]:
        def timed(*arguments: Any, **options: Any) -> T:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def seqkit(recipe: str, steps: int = STEPS, sets: Sequence[str] = ()) -> Prepared:
    """One run, made once; a round answers the seconds that its steps took, evaluations left out."""
    from unittest import mock

    from seqkit.experiments import run_recipe
    from seqkit.recipe import load
    from seqkit.runs.memory_log import read_memory
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run
    from seqkit.training import loop
    from seqkit.training.memory_monitor import MemoryMonitor

    training, evaluating, measuring = Stopwatch(), Stopwatch(), Stopwatch()
    checked = load(recipe, [*sets, f"train.steps={steps}", f"train.evaluate_every={steps}", "expect=null"])
    with tempfile.TemporaryDirectory(prefix="seqkit-through-time-") as folder:
        run = Run.create("timed", text=checked.text, resolved=checked.resolved(), out=Path(folder) / "run")
        with (
            mock.patch.object(run_recipe, "train", training.wrap(run_recipe.train)),
            mock.patch.object(loop, "validate", evaluating.wrap(loop.validate)),
            mock.patch.object(MemoryMonitor, "observe", measuring.wrap(MemoryMonitor.observe)),
            mock.patch.object(MemoryMonitor, "finish", measuring.wrap(MemoryMonitor.finish)),
        ):
            run_recipe.run_recipe(checked, run, Progress(quiet=True))
        records = read_memory(Path(folder) / "run")
    seconds = training.seconds - evaluating.seconds
    notes = {
        "share": measuring.seconds / seconds,
        "measurements": len(records),
        "milliseconds": 1e3 * measuring.seconds / max(1, len(records)),
        "step": 1e3 * (seconds - measuring.seconds) / steps,
        "steps": steps,
    }
    return Prepared(lambda: seconds, None, notes)


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The share of each case, and the largest."""
    measured = [case for case in cases if case["notes"]]
    figures: dict[str, Any] = {
        case["name"]: f"{case['notes']['share']:.2%} of the time of {case['notes']['steps']:,} steps: "
        f"{case['notes']['measurements']} measurements of {case['notes']['milliseconds']:.1f} ms, and counting norms; "
        f"a step takes {case['notes']['step']:.1f} ms"
        for case in measured
    }
    return figures | ({FIGURE: round(max(case["notes"]["share"] for case in measured), 4)} if measured else {})


HERE = __name__
GROUP = Group(
    "through_time",
    f"Runs of {STEPS} steps as `seqkit run` makes them, with `train.memory` as it is by default: the seconds spent on "
    "measuring memory through time (gradients, gates, norms, records, curves and pictures), over those of all steps. "
    "Evaluations count for neither. A run that has its first step among few measures more often than a long one.",
    [
        Case("genome", {"recipe": "genome"}, quick=True, quick_options={"recipe": "genome", "steps": 120}),
        Case("ner", {"recipe": "ner"}),
        Case("charlm", {"recipe": "charlm"}),
        Case("sentiment", {"recipe": "sentiment"}),
        Case("speech", {"recipe": "speech"}),
        Case("translation", {"recipe": "translation"}),
    ],
    [Contender("seqkit", f"{HERE}:seqkit")],
    rounds=1,
    derive=derive,
    limits=[Limit("share of training time that measuring memory through time takes", FIGURE, 0.03, 0.015)],
)
