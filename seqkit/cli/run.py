"""`seqkit run`: train a recipe."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from seqkit.cli.options import QUIET, SET, STRICT, NewRunFolder, RecipeName, UserPath
from seqkit.cli.output import echo, echo_json
from seqkit.errors import QuietExit, SeqkitError, UsageError

if TYPE_CHECKING:
    from seqkit.recipe import Recipe
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run


@click.command("run")
@click.argument("recipe", required=False, type=RecipeName())
@SET
@click.option("--out", type=NewRunFolder(), help="The run folder. Default: runs/<recipe>-<overrides>-<time>-<hash>.")
@click.option("--resume", type=UserPath(exists=True, file_okay=False), help="Continue this run.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON object.")
@click.option(
    "--accept-changes",
    is_flag=True,
    help="With --resume: go on although data, options, code or versions have changed; both are recorded.",
)
@click.option(
    "--nproc",
    type=click.IntRange(min=1),
    help="Train with this many processes on this machine. (torchrun does the same on several machines.)",
)
@QUIET
@STRICT
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option("--tensorboard", is_flag=True, help="Start TensorBoard on 127.0.0.1 and print its address.")
def command(
    recipe: str | None,
    sets: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    as_json: bool,
    accept_changes: bool,
    nproc: int | None,
    quiet: bool,
    strict: bool,
    offline: bool,
    tensorboard: bool,
) -> None:
    """Train RECIPE: a file, or the name of a recipe that comes with seqkit.

    Progress goes to stderr, the scores of the best checkpoint to stdout, everything else to the run folder.

    Several processes train together under torchrun: torchrun --nproc-per-node 2 -m seqkit run RECIPE.
    """
    _check_flags(recipe, resume, out, accept_changes=accept_changes)

    from seqkit.runs.interrupts import Interrupts
    from seqkit.runtime.garbage import no_collections_of_imports
    from seqkit.runtime.ranks import joined, named_by_environment
    from seqkit.runtime.rendezvous import remember_run, run_before_restart

    rank, size = named_by_environment()
    if nproc is not None and size > 1:
        raise UsageError("--nproc starts processes, and torchrun has started some already; leave one of them out")
    quiet = quiet or rank > 0
    if size > 1:  # else torch shows its own stack for each process that is gone, beside our sentence
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with Interrupts(at_once=True), _quiet_errors(rank):  # imports take seconds, and nothing has to be saved yet
        from seqkit import recipe as recipes
        from seqkit.experiments.resumption import asks_for_more, is_complete, load_recipe
        from seqkit.runs.claim import check_claimable, check_writable
        from seqkit.runs.run_folder import NEW_RUNS, Run, check_not_running, wait_until_left

        begun = run_before_restart() if resume is None else None
        if begun is not None:
            resume, sets = wait_until_left(begun), ()
        if resume is not None:
            opened = Run.open(resume)
            check_not_running(opened.folder, opened.opened_status)
            checked = load_recipe(opened, sets)
            if is_complete(opened) and not any(asks_for_more(flag) for flag in sets):
                scores = _show_finished(opened, checked, as_json)
                _check_result(checked, scores, opened.opened_status.get("warnings", ()), strict=strict)
                return
        else:
            assert recipe is not None
            if out is None:
                check_writable(NEW_RUNS, "new runs go to")
            else:
                check_claimable(out)
            checked = recipes.load(recipe, sets)
        if nproc is not None and nproc > 1:
            _start_processes(nproc, resume)

        with no_collections_of_imports():
            from seqkit.experiments.run_recipe import run_recipe
            from seqkit.experiments.same_run import Resumption
            from seqkit.runs.progress import Progress
            from seqkit.runtime.device import choose_device

        if offline:
            _go_offline()
        uses_gpu = choose_device(checked.device).type == "cuda"
        shown = Progress(quiet=quiet, warns=rank == 0)
        with Interrupts(announce=rank == 0) as stop, joined(uses_gpu=uses_gpu) as ranks, shown as progress:

            def open_run() -> Run:
                if resume is not None:
                    return Run.resume(resume)
                text, resolved = checked.text, checked.resolved()
                return Run.create(checked.name, text=text, resolved=resolved, out=out, overrides=sets)

            own = open_run() if ranks.is_first else None
            if own is not None and resume is None:
                remember_run(own.folder)
            folder = ranks.share(lambda: None if own is None else own.folder)
            assert folder is not None
            run = own or Run.follow(folder)
            ranks.when_lost.append(run.fail)
            again = "" if begun is None else " (started again by torchrun: the run goes on from its last checkpoint)"
            progress.say(f"run folder: {run.folder}{again}")
            resumption = Resumption(sets, accept_changes) if resume is not None else False
            address = _show_tensorboard(run, progress, start=tensorboard and ranks.is_first)
            result = run_recipe(checked, run, progress, resume=resumption, strict=strict, stop=stop, ranks=ranks)
        stop.check("stopped after everything was trained and written; nothing is left to resume")
    if not ranks.is_first:
        return
    _show_scores(checked, result.folder, result.scores, result.best_step, as_json)
    if address is not None and sys.stdin.isatty():
        echo(f"TensorBoard stays at {address} until you press Enter", err=True)
        sys.stdin.readline()
    _check_result(checked, result.scores, result.warnings, strict=strict)


@contextlib.contextmanager
def _quiet_errors(rank: int) -> Iterator[None]:
    """Of several processes, which all find the same mistake before they are connected, the first tells it."""
    try:
        yield
    except SeqkitError as error:
        if rank and not isinstance(error, QuietExit) and not error.is_for_all:
            raise QuietExit(error.exit_code) from error
        raise


def _check_flags(recipe: str | None, resume: Path | None, out: Path | None, *, accept_changes: bool) -> None:
    """Refuse what does not go together.

    Raises:
        UsageError: there is neither a recipe nor a run to resume, or both, or an option that is not for it.
    """
    if (recipe is None) == (resume is None):
        raise UsageError("give either a recipe or --resume with a run folder")
    if resume is not None and out:
        raise UsageError("--resume continues the run in its own folder; it cannot be combined with --out")
    if accept_changes and resume is None:
        raise UsageError("--accept-changes is for --resume: a new run has nothing that could have changed")


def _start_processes(count: int, resume: Path | None) -> NoReturn:
    """Run this command in so many processes, and end as they end."""
    from seqkit.runs.origin import recorded_threads
    from seqkit.runtime.launch import launch, without_option

    arguments = without_option(click.get_current_context().find_root().obj or sys.argv[1:], "--nproc")
    raise QuietExit(launch(arguments, count, threads=None if resume is None else recorded_threads(resume)))


def _go_offline() -> None:
    """Download nothing as long as this command runs."""
    before = os.environ.get("SEQKIT_OFFLINE", "")
    os.environ["SEQKIT_OFFLINE"] = "1"
    click.get_current_context().call_on_close(lambda: os.environ.update(SEQKIT_OFFLINE=before))


def _show_tensorboard(run: Run, progress: Progress, *, start: bool) -> str | None:
    """Say how to watch the run. If `start`, start TensorBoard for as long as this command runs; return its address."""
    from seqkit.cli.tensorboard import serve, watch_command
    from seqkit.errors import RunError

    if start:
        try:
            address = click.get_current_context().with_resource(serve(run.folder.parent))
            progress.say(f"TensorBoard: {address}")
            return address
        except RunError as error:  # the training is worth more
            progress.warn(f"warning: {error}")
    progress.say(f"watch it: {watch_command(run.folder)}")
    return None


def _show_finished(run: Run, recipe: Recipe, as_json: bool) -> dict[str, float]:
    """Say that there is nothing left to do, and what to do for more; print the scores, and return them."""
    from seqkit.runs.records import read_final_scores

    steps, train = run.opened_status.get("steps", 0), recipe.train
    length = f"train.steps={2 * int(steps)}" if train.steps is not None else f"train.epochs={2 * train.epochs}"
    patience = f" (train.patience is {train.patience}; set it too if it has ended training)" if train.patience else ""
    echo(
        f"{run.folder}: finished after {steps:,} steps; nothing is left to do. To train on: "
        f"seqkit run --resume {shlex.quote(str(run.folder))} --set {length}{patience}",
        err=True,
    )
    scores = read_final_scores(run.folder)
    _show_scores(recipe, run.folder, scores, int(run.opened_status.get("best_step", 0)), as_json)
    return scores


def _check_result(recipe: Recipe, scores: Mapping[str, float], warnings: Sequence[str], *, strict: bool) -> None:
    """Refuse a recipe that expects scores which do not exist; if `strict`, fail if an expectation is not met, or if
    there are warnings about the scores.
    """
    from seqkit.errors import RunError
    from seqkit.experiments.expectations import check_scores_exist, unmet

    check_scores_exist(recipe.expect, scores)
    if strict and (sentences := [*unmet(recipe.expect, scores), *warnings]):
        raise RunError("\n".join(sentences))


def _show_scores(recipe: Recipe, folder: Path, scores: Mapping[str, float], best_step: int, as_json: bool) -> None:
    """Print the scores of the best checkpoint, with what the recipe expects of them."""
    from seqkit.experiments.expectations import ExpectedRange
    from seqkit.score_names import with_baselines

    if as_json:
        echo_json({**scores, "run": str(folder), "best_step": best_step})
        return
    for key, value, beside in with_baselines(scores):
        expected = ExpectedRange.of(recipe.expect.get(key, {}))
        verdict = "" if expected is None else f"   expected {expected}: {expected.judge(value)}"
        echo(f"{key:<40} {value:.4f}{beside}{verdict}")
    echo(f"{'best checkpoint at step':<40} {best_step}")
    echo(f"{'run folder':<40} {folder}")
