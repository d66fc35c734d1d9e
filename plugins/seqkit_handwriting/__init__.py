"""How does the pen move? Drawings written movement by movement, for a text or by themselves: the task `handwriting`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqkit import GIVEN, Count, Field, NonNegative, Positive, Prediction, Share, Size, Task, Tokens, only_with
from seqkit.heads import serves
from seqkit.readers import FileNames
from seqkit_handwriting import sources
from seqkit_handwriting.fields import Movements

if TYPE_CHECKING:
    from torch import nn

    from seqkit import Head

__all__ = ["handwriting", "pen"]


@only_with("train", "dev", "test", "text", "grid", "stretch", folder=GIVEN)
def handwriting(
    *,
    source: Literal["kanji", "cursive-words"] = "kanji",
    folder: Path | None = None,
    train: FileNames = "train.jsonl",
    dev: FileNames | None = "dev.jsonl",
    test: FileNames | None = None,
    text: str | None = "text",
    grid: tuple[NonNegative, NonNegative] = (0.0, 0.0),
    stretch: Positive = 1.0,
    max_length: Count | None = None,
) -> Task:
    """How does the pen move, step by step, to write this text (or, without one, any drawing of this kind)?

    Scores, on dev and test: `nats`, the negative log-likelihood of a step, its movement and what the pen does then;
    `movement_nats` and `pen_nats`, its two parts. Movements are in units of their standard deviation in training. Where
    they are measured on a grid, a density of them has no bound, so each gets uniform noise of the grid's width first:
    the same noise for the same drawing, drawn from the numbers of the drawing itself.

    `seqkit generate RUN --prompt TEXT > picture.svg` draws.

    Args:
        source: kanji, Japanese characters, without a text; cursive-words, words of one writer with their text.
        folder: a folder of your own files, used instead of source: JSON lines with the key `strokes`, a list of
            strokes, each a list of points [x, y] in the order in which they were drawn.
        train: file name of the training drawings; a pattern (`part-*.jsonl`) or a list of names reads several files.
        dev: file name of those that choose the checkpoint (null: there are none).
        test: file name of the test drawings (null: there are none).
        text: of your files, the key of the text (null: there is none).
        grid: of your files, the distances in x and in y between neighbouring numbers that were measured (0: the numbers
            are not rounded).
        stretch: of your files, how many times as wide as the numbers say pictures are drawn: the width of a page by its
            height, where x and y are shares of these.
        max_length: drawings with more steps are left out and reported (null: none is).
    """
    if folder is None:
        data = sources.kanji() if source == "kanji" else sources.cursive_words()
    else:
        data = sources.own(folder, {"train": train, "dev": dev, "test": test}, text, grid, stretch)
    return Task(
        read=lambda split: data.examples(split, max_length),
        input=Tokens("characters" if data.has_text else "words"),
        target=Movements(data.grid, data.stretch),
        head="pen",
        metric=parts_of_nats,
        scores=("movement_nats", "pen_nats"),
        best="nats",
        splits=data.splits,
        files=data.files,
        parse=None if data.has_text else sources.parse_nothing,
        about=data.facts,
        read_file=lambda path, split, labelled: sources.read_other(path, split, labelled, data),
        suffixes=(".jsonl",),
    )


def parts_of_nats(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """The nats of movements and of the pen, per step: what the head `pen` says of the true drawings."""
    known = [prediction.scores["nats"] for prediction in predictions if "nats" in (prediction.scores or {})]
    steps = max(1, sum(part["steps"] for part in known))
    return {f"{name}_nats": sum(part[name] for part in known) / steps for name in ("movement", "pen")}


@serves(Movements, loss_name="nats")
def pen(
    dim: int,
    target: Field,
    layer: nn.Module,
    /,
    *,
    hidden: Count = 200,
    layers: Count = 1,
    mixtures: Count = 20,
    window: Size = 0,
    dropout: Share = 0.0,
    max_length: Count = 600,
) -> Head:
    """A recurrent decoder that writes pen movements from a mixture of two-dimensional Gaussians (Graves 2013).

    Each step reads the movement before it. What it writes is one of `mixtures` Gaussians with correlation, and one of
    three: the pen stays on the paper, is lifted after the movement, or the drawing is over (Graves 2013,
    arXiv:1308.0850; Ha and Eck 2017, arXiv:1704.03477).

    With `window`, a first layer moves a soft window over the encoded steps, and only forwards: the weight of step u is
    the sum over K Gaussian bumps of alpha exp(-beta (kappa - u)^2), where kappa grows at each step (Graves 2013,
    equations 46 to 51). Without it, the encoder's last vector is part of every step's input. Its models cannot be
    exported.

    Args:
        hidden: width of the decoder's state.
        layers: recurrent layers above the first one of the window, or in all without a window.
        mixtures: how many Gaussians.
        window: K, how many bumps the window has; 0: there is none.
        dropout: share of values dropped between the decoder and the mixture.
        max_length: most steps of a predicted drawing.
    """
    from seqkit_handwriting.head import Pen

    return Pen(
        dim,
        target,
        hidden=hidden,
        layers=layers,
        mixtures=mixtures,
        window=window,
        dropout=dropout,
        max_length=max_length,
    )
