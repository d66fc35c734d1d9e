"""`seqkit sweep`: train a recipe many times with other options, and find the best."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from seqkit.cli.options import JSON_OBJECT, QUIET, UserPath
from seqkit.cli.output import echo, echo_json


@click.command("sweep")
@click.argument("file", type=UserPath(exists=True, dir_okay=False))
@click.option("--out", type=UserPath(file_okay=False), help="Folder of the sweep.  [default: sweeps/<name of FILE>]")
@JSON_OBJECT
@QUIET
def command(file: Path, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Train a recipe with many settings of its options, as FILE says, and write the best recipe.

    The same command goes on with a sweep that was stopped or killed. Started several times, on one machine or on
    several that share the folder, the processes share the trials.
    """
    from seqkit.sweeps.spec import load_sweep

    sweep = load_sweep(file)

    from seqkit.runs.claim import check_writable
    from seqkit.runs.progress import Progress
    from seqkit.sweeps.study import BEST, import_optuna, run_sweep

    folder = out or Path("sweeps") / sweep.name
    check_writable(folder)
    import_optuna()
    with Progress(quiet=quiet) as progress:
        result = run_sweep(sweep, folder, progress, tell=lambda line: echo(line, err=True))
    if as_json:
        echo_json(result.facts())
        return
    counts = [f"{sum(trial.state == state for trial in result.trials)} {state}" for state in _states(result)]
    echo(f"{len(result.trials)} trials: {', '.join(counts)}")
    if result.best is not None:
        echo(f"best: trial {result.best.number}, {result.key} {result.best.value:.4f}")
        for key, value in result.best.options.items():
            echo(f"  {key}: {value}")
        echo(f"its recipe: {folder / BEST}")
    quoted = shlex.quote(str(folder))
    echo(f"all trials: seqkit runs {quoted} --sort dev; tensorboard --logdir {quoted}")


def _states(result: object) -> list[str]:
    from seqkit.sweeps.study import SweepResult

    assert isinstance(result, SweepResult)
    return list(dict.fromkeys(trial.state for trial in result.trials))
