"""`seqkit ensemble`: one model of several trained ones."""

from __future__ import annotations

from pathlib import Path

import click

from seqkit.cli.options import JSON_OBJECT, ModelFolder, OutputFolder
from seqkit.cli.output import echo, echo_json
from seqkit.errors import UsageError


@click.command("ensemble")
@click.argument("folders", type=ModelFolder(), nargs=-1, required=True, metavar="DIR...")
@click.option("--out", type=OutputFolder(is_new=True), required=True, help="The folder of the new model.")
@JSON_OBJECT
def command(folders: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Make one model of the models in DIR... (run folders, or their model/), which averages what they predict.

    The models must be of one task, trained on the same data, and may differ in all else: seed, encoder, size. What is
    made is a model folder: evaluate, predict, stream, generate, prove and serve take it as any other. It computes all
    its members, so it takes as long as they do together.

    Averaged are the probabilities of labels, of tags, of the next symbol and of the symbols of a text that is written;
    the scores of a CRF's paths; numbers, and the Gaussians, mixtures or quantiles of them.
    """
    if len(folders) < 2:
        raise UsageError("DIR...: an ensemble needs two models or more")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("DIR...: a folder is named twice")

    from seqkit.model import make_ensemble

    model = make_ensemble(folders, out)
    facts = {"folder": str(out), "members": model.member_count, "parameters": model.count_parameters()}
    if as_json:
        echo_json(facts)
        return
    echo(f"{out}: an ensemble of {model.member_count} models, {model.count_parameters():,} parameters")
