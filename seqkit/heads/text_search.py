"""From a decoder to texts: by search, or drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqkit.decoding.beam_search import Hypothesis, beam_search
from seqkit.decoding.sampling import sample
from seqkit.heads.decoder import Decoder
from seqkit.heads.joining import JointDecoder
from seqkit.heads.option_types import SearchOptions
from seqkit.interfaces import Encoded
from seqkit.types import END, PAD, START, UNKNOWN, Prediction
from seqkit.uploads import read_back, upload

MAX_NUMBERS = 1 << 23
"""Numbers in one block of scores outside of training, 32 MiB of them: larger batches are done in slices."""


def split_rows(count: int, numbers_per_row: int) -> Iterator[slice]:
    """Slices of `count` rows, each with at most `MAX_NUMBERS` numbers, but at least one row."""
    size = max(1, MAX_NUMBERS // max(1, numbers_per_row))
    return (slice(start, min(count, start + size)) for start in range(0, count, size))


def length_limits(lengths: Tensor, options: SearchOptions) -> Tensor:
    """(B,) lengths of the inputs -> (B,) most symbols of each text, the end counted.

    The limit depends on an example's own length only, so that a batch gives the texts that its examples give alone.
    """
    limits = torch.full_like(lengths, options.max_length + 1)
    if options.max_ratio is None:
        return limits
    return torch.minimum(limits, (lengths * options.max_ratio).ceil().to(torch.int64) + 1)


def search(decoder: Decoder | JointDecoder, encoded: Encoded, options: SearchOptions) -> list[list[Hypothesis]]:
    """The best texts of each example, the best first."""
    source, state = decoder.begin(encoded)
    limits = length_limits(encoded.lengths, options)
    device = encoded.last.device

    def step(source: Any, state: Any, symbols: Tensor) -> tuple[Tensor, Any, Tensor | None]:
        readout, state, weights = decoder.step(source, state, upload(symbols, device))
        return decoder.logits(readout), state, None if weights is None else largest_weight(weights)

    hypotheses = []
    for rows in split_rows(len(limits), options.beam_width * len(decoder.bias)):
        index = torch.arange(rows.start, rows.stop, device=device)
        hypotheses += beam_search(
            step,
            source.take_rows(index),
            state.take_rows(index),
            limits=limits[rows],
            start=START,
            end=END,
            beams=options.beam_width,
            alpha=options.length_penalty,
            best=options.text_count,
            min_length=1,
            forbidden=options.forbidden,
            early_stop=options.early_stop,
        )
    return hypotheses


def largest_weight(weights: Tensor) -> Tensor:
    """(B, K, T) weights of attention -> (B, K) the step with the largest one, the first of several.

    Steps of equal content have equal weights but for rounding, which differs between processors and batch sizes. So a
    weight within 1e-5 of the largest, relative to it, counts as equal.
    """
    return (weights >= weights.amax(dim=-1, keepdim=True) * (1 - 1e-5)).int().argmax(dim=-1)


def to_prediction(target: Any, hypotheses: list[Hypothesis], options: SearchOptions) -> Prediction:
    """The prediction for one example from its texts, the best first; see `seqkit.heads.seq2seq.Seq2Seq`."""
    best = hypotheses[0]
    scores: dict[str, Any] = {}
    if best.alignment is not None:
        scores["alignment"] = best.alignment[: len(best.symbols)]
    if best.cut:
        scores["cut"] = True
    if options.text_count > 1:
        scores["best"] = [[_text(target, text.symbols), exp(text.total)] for text in hypotheses]
    return Prediction(_text(target, best.symbols), exp(best.total), scores or None)


def _text(target: Any, symbols: list[int]) -> str:
    return str(target.decode(np.array(symbols, dtype=np.int64)))


@torch.no_grad()
def draw(
    decoder: Decoder | JointDecoder,
    target: Any,
    encoded: Encoded,
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> list[str]:
    """A text for each example, each symbol drawn from the decoder's distribution; never the unknown symbol.

    Args:
        decoder: the decoder.
        target: the field that turns symbols into a text.
        encoded: the encoded examples.
        length: most symbols of a text.
        temperature: see `seqkit.decoding.sampling.probabilities`, for the next two as well.
        top_k: how many symbols are kept.
        top_p: the share of the probability that is kept.
        generator: draws the numbers.
    """
    state: Any
    source: Any
    source, state = decoder.begin(encoded)
    symbols = torch.full((len(encoded.lengths), 1), START, device=encoded.last.device)
    texts: list[list[int]] = [[] for _ in encoded.lengths]
    unfinished = set(range(len(texts)))
    for number in range(length):
        readout, state, _ = decoder.step(source, state, symbols)
        (scores,) = read_back(decoder.logits(readout).squeeze(1))
        scores[:, [PAD, UNKNOWN, START, *((END,) if number == 0 else ())]] = -torch.inf
        drawn = sample(scores, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        for row, symbol in enumerate(drawn.tolist()):
            if symbol == END:
                unfinished.discard(row)
            elif row in unfinished:
                texts[row].append(symbol)
        if not unfinished:
            break
        symbols = upload(drawn, encoded.last.device)[:, None]
    return [_text(target, text) for text in texts]
