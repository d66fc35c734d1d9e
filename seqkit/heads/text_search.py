"""From a decoder to texts: searched for, or drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqkit.decoding.beam_search import Hypothesis, beam_search
from seqkit.decoding.sampling import sample
from seqkit.fields.vocabulary import END, PAD, START, UNKNOWN
from seqkit.heads.decoder import Decoder, DecoderInput, DecoderState
from seqkit.heads.option_types import Search
from seqkit.interfaces import Encoded
from seqkit.types import Prediction

ROOM = 1 << 23
"""Numbers that a block of scores may have outside of training, 32 MiB of them: examples are taken in parts."""


@dataclass(frozen=True)
class SearchOptions:
    """How a text is looked for; see `seqkit.heads.attend` for what the options mean."""

    search: Search = "greedy"
    beams: int = 5
    best: int = 1
    alpha: float = 0.6
    max_length: int = 200
    max_ratio: float | None = None
    unknown: bool = True

    @property
    def width(self) -> int:
        return 1 if self.search == "greedy" else max(self.beams, self.best)

    @property
    def wanted(self) -> int:
        return 1 if self.search == "greedy" else self.best

    @property
    def forbidden(self) -> tuple[int, ...]:
        return (PAD, START) if self.unknown else (PAD, UNKNOWN, START)

    def limits(self, lengths: Tensor) -> Tensor:
        """(B,) most symbols of each text, the end counted. An example's own length decides, and nothing else."""
        most = torch.full_like(lengths, self.max_length + 1)
        if self.max_ratio is None:
            return most
        return torch.minimum(most, (lengths * self.max_ratio).ceil().to(torch.int64) + 1)


def split_rows(count: int, a_row: int) -> Iterator[slice]:
    """Slices of so many examples as there is room for, each of which needs `a_row` numbers."""
    size = max(1, ROOM // max(1, a_row))
    return (slice(start, min(count, start + size)) for start in range(0, count, size))


def search(decoder: Decoder, encoded: Encoded, searching: SearchOptions) -> list[list[Hypothesis]]:
    """The best texts of each example, the best first."""
    source, at = decoder.begin(encoded)
    limits = searching.limits(encoded.lengths)

    def step(source: DecoderInput, at: DecoderState, symbols: Tensor) -> tuple[Tensor, DecoderState, Tensor | None]:
        readout, at, weights = decoder.step(source, at, symbols.to(readable))
        return decoder.logits(readout), at, None if weights is None else most_looked_at(weights)

    readable = encoded.last.device
    found = []
    for part in split_rows(len(limits), searching.width * len(decoder.bias)):
        index = torch.arange(part.start, part.stop, device=readable)
        found += beam_search(
            step,
            source.rows(index),
            at.rows(index),
            limits=limits[part],
            start=START,
            end=END,
            beams=searching.width,
            alpha=searching.alpha if searching.search == "beam" else 0.0,
            best=searching.wanted,
            shortest=1,
            forbidden=searching.forbidden,
        )
    return found


def most_looked_at(weights: Tensor) -> Tensor:
    """(B, K, T) weights of attention -> (B, K) the step with the largest, of several the first.

    Steps of equal content have equal weights but for rounding, which differs between processors and batch sizes: what
    is within 1e-5 of the largest counts as equal to it.
    """
    return (weights >= weights.amax(dim=-1, keepdim=True) * (1 - 1e-5)).int().argmax(dim=-1)


def to_prediction(target: Any, texts: list[Hypothesis], searching: SearchOptions) -> Prediction:
    """What a head says of one example's texts; see `seqkit.heads.seq2seq.Attend`."""
    first = texts[0]
    scores: dict[str, Any] = {}
    if first.alignment is not None:
        scores["alignment"] = first.alignment[: len(first.symbols)]
    if first.cut:
        scores["cut"] = True
    if searching.wanted > 1:
        scores["best"] = [[_text(target, each.symbols), exp(each.total)] for each in texts]
    return Prediction(_text(target, first.symbols), exp(first.total), scores or None)


def _text(target: Any, symbols: list[int]) -> str:
    return str(target.decode(np.array(symbols, dtype=np.int64)))


@torch.no_grad()
def draw(
    decoder: Decoder,
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
        decoder: what writes.
        target: the field of its texts.
        encoded: what is written from.
        length: most symbols of a text.
        temperature: see `seqkit.decoding.sampling.probabilities`; so are the next two.
        top_k: how many symbols stay.
        top_p: what share of the probability stays.
        generator: draws the numbers.
    """
    source, at = decoder.begin(encoded)
    symbols = torch.full((len(encoded.lengths), 1), START, device=encoded.last.device)
    texts: list[list[int]] = [[] for _ in encoded.lengths]
    going = set(range(len(texts)))
    for number in range(length):
        readout, at, _ = decoder.step(source, at, symbols)
        scores = decoder.logits(readout).squeeze(1).cpu()
        scores[:, [PAD, UNKNOWN, START, *((END,) if number == 0 else ())]] = -torch.inf
        drawn = sample(scores, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        for row, symbol in enumerate(drawn.tolist()):
            if symbol == END:
                going.discard(row)
            elif row in going:
                texts[row].append(symbol)
        if not going:
            break
        symbols = drawn.to(encoded.last.device)[:, None]
    return [_text(target, each) for each in texts]
