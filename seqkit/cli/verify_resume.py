"""`seqkit verify-resume`: kill and resume a run of a recipe, and compare it with an uninterrupted one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from seqkit.cli.options import QUIET, RECIPE, SET, Device, OutputFolder
from seqkit.cli.output import echo, echo_json


@click.command("verify-resume")
@RECIPE
@click.option("--kills", type=click.IntRange(min=1), default=3, show_default=True, help="How often it is killed.")
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    default=60,
    show_default=True,
    help="Shorten the run to this many steps, with evaluations and saves in between.",
)
@click.option("--full", is_flag=True, help="Do not shorten the run: train and save as the recipe says.")
@click.option("--nproc", type=click.IntRange(min=1), default=1, help="Train with this many processes on this machine.")
@SET
@click.option("--device", type=Device(), help="What to train on; by default as the recipe says.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the random moments of the kills.")
@click.option("--out", type=OutputFolder(is_new=True), help="Keep the runs in this new folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
@QUIET
def command(
    recipe: str,
    kills: int,
    steps: int,
    full: bool,
    nproc: int,
    sets: tuple[str, ...],
    device: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train RECIPE (a file, or a name) once without interruption, and once killed with SIGKILL at random steps and in
    the middle of saves, and resumed each time. Both must end alike, bit for bit: weights, optimiser, random states,
    positions, metrics.jsonl, TensorBoard points, the model folder.

    Prints a certificate, or the first number or tensor that differs; exits with 1 if one does.
    """
    from seqkit import recipe as recipes
    from seqkit.io.atomic import write_json

    if device is not None:
        sets = (*sets, f"device={device}")
    checked = recipes.load(recipe, sets)  # reports mistakes before anything is started

    import tempfile

    from seqkit.runtime.device import choose_device

    choose_device(checked.device)  # and a device that is not there
    from seqkit.verification.resume import verify_resume

    folder = out or Path(tempfile.mkdtemp(prefix="seqkit-verify-resume-"))
    certificate = verify_resume(
        recipe,
        sets,
        kills=kills,
        steps=None if full else steps,
        seed=seed,
        nproc=nproc,
        folder=folder,
        tell=lambda sentence: None if quiet else echo(sentence, err=True),
    )
    if out is not None:
        write_json(out / "certificate.json", certificate.facts())
    elif certificate.equal:
        shutil.rmtree(folder)
    if as_json:
        echo_json(certificate.facts())
    else:
        echo(str(certificate))
    if not certificate.equal:
        sys.exit(1)
