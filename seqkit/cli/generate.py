"""`seqkit generate`: text from a language model, or texts from a model that writes them from an input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("generate", short_help="Text from a trained model.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--prompt", default="", help="What the text goes on from, or is written from.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many texts.")
@click.option("--length", type=click.IntRange(min=1), default=500, show_default=True, help="Symbols at most.")
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.8, show_default=True, help="0: always the likeliest."
)
@click.option("--top-k", type=click.IntRange(min=1), help="Only the k likeliest symbols.")
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), help="Only the likeliest that make up p.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--task", help="Which task of a joint model.")
@click.option("--device", default="auto", show_default=True)
def command(
    folder: Path,
    prompt: str,
    count: int,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    task: str | None,
    device: str,
) -> None:
    """Write text with the model in FOLDER (a run folder, or its model/).

    A language model goes on from the prompt. A model of another kind takes the prompt as its input (a language, say,
    where it writes names) and writes what belongs to it, one text a line.
    """
    from seqkit.cli.predict import pick
    from seqkit.inference.generate import generate, write
    from seqkit.model import load_model
    from seqkit.runtime.device import choose_device

    model, _, tasks = load_model(folder, choose_device(device))
    able = [name for name in tasks if model.head(name).generates or model.head(name).writes]
    name = pick(task, able or list(tasks))
    options: Any = {"length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    if model.head(name).writes:
        for text in write(model, name, tasks[name], prompt=prompt, count=count, seed=seed, **options):
            click.echo(text)
        return
    for number in range(count):
        click.echo(prompt, nl=False)
        for symbol in generate(model, name, tasks[name][1], prompt=prompt, seed=seed + number, **options):
            click.echo(symbol, nl=False)
        click.echo()
