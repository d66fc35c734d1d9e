"""`seqkit generate`: text from a language model, or texts and drawings from a model that makes them for an input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqkit.cli.options import DEVICE, MODEL_FOLDER, TASK, choose_task
from seqkit.cli.output import echo


@click.command("generate")
@MODEL_FOLDER
@click.option("--prompt", default="", help="The beginning of the text, or the input that it is written for.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many texts or drawings.")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Most symbols of a text, or movements of a drawing.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.8,
    show_default=True,
    help="How varied it is; 0: always the most likely symbol or movement.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Draw from the k most likely symbols.")
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Draw from the most likely symbols that have probability p together.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@TASK
@DEVICE
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
    """Write texts, or drawings, with the model in FOLDER (a run folder, or its model/).

    A language model continues the prompt. A model of another kind takes the prompt as its input (the language, for a
    model that writes names) and writes texts for it, one per line. A model of handwriting draws the prompt as SVG, a
    picture per line: seqkit generate RUN --prompt hello > hello.svg
    """
    from seqkit.inference.generate import generate, write
    from seqkit.model import load_model
    from seqkit.runtime.device import choose_device

    model, _, tasks = load_model(folder, choose_device(device))
    able = [name for name in tasks if model.head(name).generates or model.head(name).writes]
    name = choose_task(task, able or list(tasks))
    options: Any = {"length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    if model.head(name).writes:
        for text in write(model, name, tasks[name], prompt=prompt, count=count, seed=seed, **options):
            echo(text)
        return
    for number in range(count):
        echo(prompt, nl=False)
        for symbol in generate(model, name, tasks[name][1], prompt=prompt, seed=seed + number, **options):
            echo(symbol, nl=False)
        echo()
