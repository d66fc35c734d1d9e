"""`seqkit.run` and the `Run` that it returns: training from Python."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from seqkit.api.recipes import RecipeLike, Settings, flags_of, load_recipe
from seqkit.errors import Interrupted, MissingExtra, RunError, UsageError
from seqkit.types import ProgressCallback

if TYPE_CHECKING:
    import pandas

    from seqkit.api.model import Model

_TURN = threading.Lock()
"""Runs of one process take turns: they share its random generators and its settings of torch."""


def run(
    recipe: RecipeLike | None = None,
    *,
    set: Settings | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    accept_changes: bool = False,
    strict: bool = False,
    progress: bool | ProgressCallback | None = None,
) -> Run:
    """Train a recipe, as `seqkit run` does, with the same numbers; returns when it has finished.

    Ctrl-C (in a notebook: the button that interrupts) saves and raises Interrupted; a second one raises
    KeyboardInterrupt at once. Both runs can be resumed. Several calls at once, from threads, take turns.

    Args:
        recipe: a file, the name of a recipe that comes with seqkit, or a mapping.
        set: options to set: `{"train.epochs": 3}`.
        out: the run folder, new or empty. None: `runs/<recipe>-<time>-<hash>`.
        resume: a run folder: go on with it instead of starting a new one. A finished run is returned as it is, unless
            `set` gives it more epochs, steps or patience.
        accept_changes: with `resume`: go on although data, options, code or versions have changed.
        strict: warnings are errors, and so is a score that the recipe expects and the run misses.
        progress: None: a bar, in a notebook or on stderr. False: nothing but warnings. A function: it is called as
            `progress(done, total, stage)`, a few times a second; `total` is None where it is not known.

    Raises:
        Interrupted: stopped by Ctrl-C or SIGTERM; everything is saved.
        RecipeError: the recipe is wrong; all mistakes are listed, and no data has been read.
        SeqkitError: anything else that went wrong; the run folder says what.
    """
    if (recipe is None) == (resume is None):
        raise UsageError("give either a recipe or resume= with a run folder")
    if resume is not None and out is not None:
        raise UsageError("resume= continues the run in its own folder; it cannot be combined with out=")
    if accept_changes and resume is None:
        raise UsageError("accept_changes= is for resume=: a new run has nothing that could have changed")
    from seqkit.experiments.expectations import check_scores_exist, unmet

    if resume is not None:
        folder, checked = _resumed(Path(resume).expanduser(), set, accept_changes, strict, progress)
    else:
        assert recipe is not None
        checked = load_recipe(recipe, set)
        target = None if out is None else Path(out).expanduser()
        folder = _carry_out(checked, target, None, False, strict, progress)
    finished = Run(folder)
    check_scores_exist(checked.expect, finished.scores)
    if strict and (sentences := [*unmet(checked.expect, finished.scores), *finished.warnings]):
        raise RunError("\n".join(sentences))
    return finished


def _resumed(
    folder: Path, set: Settings | None, accept_changes: bool, strict: bool, progress: bool | ProgressCallback | None
) -> tuple[Path, Any]:
    """Go on with a run. Returns its folder and its recipe."""
    from seqkit.experiments.resumption import asks_for_more, is_complete, load_recipe
    from seqkit.experiments.same_run import Resumption
    from seqkit.runs import run_folder

    flags = flags_of(set)
    opened = run_folder.Run.open(folder)
    checked = load_recipe(opened, flags)
    if not is_complete(opened) or any(asks_for_more(flag) for flag in flags):
        _carry_out(checked, None, folder, Resumption(flags, accept_changes), strict, progress)
    return opened.folder, checked


def _carry_out(
    recipe: Any,
    out: Path | None,
    resume: Path | None,
    resumption: Any,
    strict: bool,
    progress: bool | ProgressCallback | None,
) -> Path:
    """Train in a new folder, or go on in the one to resume; returns the folder."""
    from seqkit.api.display import progress_of
    from seqkit.experiments.run_recipe import run_recipe
    from seqkit.runs import run_folder
    from seqkit.runs.interrupts import Interrupts
    from seqkit.runtime.caller import protected

    with _TURN, protected(), Interrupts(leave=_interrupt) as stop, progress_of(progress) as shown:
        if resume is not None:
            held = run_folder.Run.resume(resume)
        else:
            held = run_folder.Run.create(recipe.name, text=recipe.text, resolved=recipe.resolved(), out=out)
        shown.say(f"run folder: {held.folder}")
        try:
            run_recipe(recipe, held, shown, resume=resumption, strict=strict, stop=stop)
        except (Interrupted, KeyboardInterrupt) as error:
            error.add_note(f"go on with seqkit.run(resume={str(held.folder)!r})")
            raise
    stop.check("stopped after everything was trained and written; nothing is left to resume")
    return held.folder


def _interrupt(code: int) -> NoReturn:
    raise KeyboardInterrupt


class Run:
    """A run folder, finished or not. Made by `seqkit.run`, or from the folder of any run.

    What it says is read when it is asked for, so a run that is still going on may be watched.

    Args:
        folder: the run folder.

    Raises:
        UsageError: it is not a run folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        from seqkit.runs import run_folder

        self._run = run_folder.Run.open(Path(folder).expanduser())

    @property
    def folder(self) -> Path:
        """The run folder, absolute."""
        return self._run.folder

    @property
    def state(self) -> str:
        """created, running, interrupted, failed or finished."""
        return str(self._status().get("state", "created"))

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the best checkpoint, `task/split/score` to number.

        Until the run has finished they are those on dev so far, none before the first evaluation.
        """
        from seqkit.runs.records import read_scores

        return read_scores(self.folder)

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint; None until the run has finished."""
        step = self._status().get("best_step")
        return None if step is None else int(step)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looks wrong about the scores, in sentences."""
        return tuple(self._status().get("warnings", ()))

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe with every option written out; `seqkit.run(run.recipe)` gives the same numbers again."""
        from seqkit.recipe import read_sections

        return read_sections(self.folder / "resolved.yaml")

    @overload
    def history(self, *, frame: Literal[False] = False) -> list[dict[str, float]]: ...

    @overload
    def history(self, *, frame: Literal[True]) -> pandas.DataFrame: ...

    def history(self, *, frame: bool = False) -> Any:
        """The numbers of training by step, in order: step, epoch, time, losses and scores, whichever were logged.

        Args:
            frame: a pandas.DataFrame with a row for each step, instead of a list of mappings.

        Raises:
            MissingExtra: pandas is not installed.
        """
        from seqkit.runs.records import read_history

        rows = read_history(self.folder)
        if not frame:
            return rows
        try:
            import pandas
        except ImportError:
            raise MissingExtra("history(frame=True)", "notebook") from None
        return pandas.DataFrame(rows)

    def model(self, device: str = "auto") -> Model:
        """The model of the best checkpoint; see `seqkit.load`."""
        from seqkit.api.model import load

        return load(self.folder, device)

    def report(self, out: str | os.PathLike[str] | None = None) -> Path:
        """Write all that is known of the run into one page of HTML, as `seqkit report` does; returns its path.

        Args:
            out: the page. None: `report.html` in the run folder.

        Raises:
            RunError: the run cannot be read, or the page cannot be written.
        """
        from seqkit.reports.pages import report_page, write_page
        from seqkit.runs.progress import Progress
        from seqkit.runtime.caller import protected

        path = self.folder / "report.html" if out is None else Path(out).expanduser()
        with protected():
            page = report_page([self.folder], progress=Progress(quiet=True), tell=lambda line: None)
        write_page(path, page)
        return path

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): {self.state}"

    def _repr_html_(self) -> str:
        from seqkit.api.display import html_table

        facts = {"state": self.state, "best step": self.best_step}
        warnings = {f"warning {number}": text for number, text in enumerate(self.warnings, start=1)}
        return html_table(str(self.folder), facts | self.scores | warnings)

    def _status(self) -> dict[str, Any]:
        from seqkit.runs.records import read_status

        return read_status(self.folder)
