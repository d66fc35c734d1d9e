"""`seqkit verify-resume`: kill a recipe's own run, resume it, and show that nothing moved."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click


@click.command("verify-resume", short_help="Kill a recipe's own run, resume it, show that nothing moved.")
@click.argument("recipe")
@click.option("--kills", type=click.IntRange(min=1), default=3, show_default=True, help="How often it is killed.")
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    default=60,
    show_default=True,
    help="Cut the run to so many steps, with evaluations and saves in between.",
)
@click.option("--full", is_flag=True, help="Do not cut the run: as long, and as seldom saved, as the recipe says.")
@click.option(
    "--set", "sets", multiple=True, metavar="A.B=C", help="Override an option of the recipe; may be repeated."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the moments of the kills.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Keep the runs in this new folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(
    recipe: str,
    kills: int,
    steps: int,
    full: bool,
    sets: tuple[str, ...],
    seed: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train RECIPE (a file, or a name) once in one go, and once killed with SIGKILL at random steps and in the middle
    of saves, and resumed each time. Both must end alike, bit for bit: weights, optimiser, random states, positions,
    metrics.jsonl, TensorBoard points, the model folder.

    Prints a certificate, or the first number or tensor that differs; leaves with 1 if one does.
    """
    from seqkit import recipe as recipes
    from seqkit.io.atomic import write_json

    recipes.load(recipe, sets)  # mistakes are told before anything is started

    import tempfile

    from seqkit.verification.resume import verify_resume

    folder = out or Path(tempfile.mkdtemp(prefix="seqkit-verify-resume-"))
    certificate = verify_resume(
        recipe,
        sets,
        kills=kills,
        steps=None if full else steps,
        seed=seed,
        folder=folder,
        tell=lambda sentence: None if quiet else click.echo(sentence, err=True),
    )
    if out is not None:
        write_json(out / "certificate.json", certificate.facts())
    elif certificate.equal:
        shutil.rmtree(folder)
    click.echo(json.dumps(certificate.facts(), indent=1) if as_json else str(certificate))
    if not certificate.equal:
        sys.exit(1)
