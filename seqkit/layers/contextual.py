"""Vectors of words from language models of characters that read the whole sentence (Akbik et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from seqkit.interfaces import Encoder
from seqkit.layers.embedding import Embedding
from seqkit.registry import registry
from seqkit.types import Choice

KEPT_BYTES: Final = 1 << 30
"""Vectors of sentences are kept up to so many bytes: they are computed once and not in every epoch."""


@dataclass(frozen=True)
class ReaderSpec:
    """A language model: how many symbols it knows, the width of its steps, its encoder, and its direction."""

    size: int
    dim: int
    encoder: Choice
    backwards: bool


class ContextualStrings(nn.Module):
    """For each word of a sentence, what language models of characters know when they have read it.

    A model that reads forwards gives its output at the character after the word, one that reads backwards its output at
    the character before it; both have read the word and all on their side of the sentence (contextual string
    embeddings; Akbik, Blythe and Vollgraf 2018, "Contextual String Embeddings for Sequence Labeling"). Sentences are
    apart: each begins and ends with a boundary. The weights are not trained.

    On a CPU, the vectors of a sentence are kept, so that they are computed once.

    Args:
        readers: the models.
        space: the id of the character between words.
        boundary: the id of the character before the first word and after the last.
    """

    def __init__(self, readers: Sequence[ReaderSpec], *, space: int, boundary: int) -> None:
        super().__init__()
        self.space, self.boundary = space, boundary
        self.backwards = tuple(reader.backwards for reader in readers)
        self.layers, self.encoders = nn.ModuleList(), nn.ModuleList()
        for reader in readers:
            self.layers.append(Embedding(reader.size, reader.dim))
            self.encoders.append(registry.load("encoders", reader.encoder.use)(reader.dim, **reader.encoder.options))
        self.width = sum(_out_dim(encoder) for encoder in self.encoders)
        self.requires_grad_(requires_grad=False)
        self._kept = _Kept()
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda module, keys: self._kept.clear()
        )
        self.train(mode=False)

    def train(self, mode: bool = True) -> Self:
        """The models never draw dropout: what they say of a sentence is always the same."""
        return super().train(mode=False)

    @torch.no_grad()
    def load(self, number: int, layer: dict[str, Any], encoder: dict[str, Any]) -> None:
        """Take the trained weights of a model."""
        self.layers[number].load_state_dict(layer)
        self.encoders[number].load_state_dict(encoder)
        self._kept.clear()

    @torch.no_grad()
    def forward(self, letters: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, M) ids of the characters of each word, zeros behind, and (B,) words -> (B, T, width)."""
        with torch.autocast(letters.device.type, enabled=False):
            if letters.device.type != "cpu":
                return self.read(letters)
            return self._read_unknown(letters, lengths.tolist())

    def _read_unknown(self, letters: Tensor, lengths: Sequence[int]) -> Tensor:
        """(B, T, width): kept vectors, and those of sentences that were not read yet."""
        keys = [row[:length].numpy().tobytes() for row, length in zip(letters, lengths, strict=True)]
        new = {key: number for number, key in enumerate(keys) if key not in self._kept.vectors}
        read_now: dict[bytes, Tensor] = {}
        if new:
            rows = list(new.values())
            longest = max(lengths[row] for row in rows)
            vectors = self.read(letters[rows, :longest])
            read_now = {key: vectors[i, : lengths[row]].clone() for i, (key, row) in enumerate(new.items())}
            self._kept.add(read_now)
        out = self.layers[0].weight.new_zeros(*letters.shape[:2], self.width)  # type: ignore[operator]
        for number, key in enumerate(keys):
            vectors = read_now[key] if key in read_now else self._kept.vectors[key]
            out[number, : len(vectors)] = vectors
        return out

    def read(self, letters: Tensor) -> Tensor:
        """(B, T, M) ids -> (B, T, width), of a word without characters anything."""
        text = _Text.of(letters, self.space, self.boundary)
        outputs = []
        for backwards, layer, encoder in zip(self.backwards, self.layers, self.encoders, strict=True):
            ids, places = text.backwards() if backwards else (text.ids, text.after)
            # On a GPU its length is not known without waiting. What follows the text changes nothing before it.
            lengths = text.lengths if letters.device.type == "cpu" else torch.full((len(ids),), ids.shape[1])
            steps = encoder(layer(ids, lengths)[0], lengths).steps
            outputs.append(steps.gather(1, places[..., None].expand(-1, -1, steps.shape[2])))
        return torch.cat(outputs, dim=-1)


@dataclass(frozen=True)
class Contextual:
    """What the input layer of words needs of language models.

    Attributes:
        strings: the models.
        first: the column of a row at which the characters that they read begin.
        weights: gives the trained weights of each model, of its input layer and of its encoder.
    """

    strings: ContextualStrings
    first: int
    weights: Callable[[], Sequence[tuple[dict[str, Any], dict[str, Any]]]]

    def start(self) -> None:
        """Read the trained weights."""
        for number, (layer, encoder) in enumerate(self.weights()):
            self.strings.load(number, layer, encoder)


@dataclass(frozen=True)
class _Text:
    """The characters of sentences.

    Attributes:
        ids: (B, L) with a boundary at each end and a space between words, zeros behind.
        lengths: (B,), of the same device.
        before: (B, T) the place of the character before each word.
        after: (B, T) that of the character after it.
    """

    ids: Tensor
    lengths: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def of(cls, letters: Tensor, space: int, boundary: int) -> _Text:
        batch, words, most = letters.shape
        sizes = (letters != 0).sum(2)
        ends = (sizes + (sizes > 0)).cumsum(1)  # of word and space, before the boundary is counted
        after, before = ends, ends - sizes - (sizes > 0).long()
        lengths = ends[:, -1] + 1
        longest = int(lengths.max()) if letters.device.type == "cpu" else 1 + words * (most + 1)
        unused = longest  # a place behind the text, for what is no character
        places = before[..., None] + 1 + torch.arange(most, device=letters.device)
        places = torch.where(letters != 0, places, unused).flatten(1)
        ids = letters.new_zeros(batch, longest + 1, dtype=torch.long)
        ids.scatter_(1, torch.where(sizes > 0, after, unused), space)
        ids.scatter_(1, places, letters.flatten(1).long())
        ids[:, 0] = boundary
        ids.scatter_(1, (lengths - 1)[:, None], boundary)
        return cls(ids[:, :longest], lengths, before, after)

    def backwards(self) -> tuple[Tensor, Tensor]:
        """The characters from the last to the first, (B, L), and (B, T) where the one before each word is then."""
        steps = torch.arange(self.ids.shape[1], device=self.ids.device)
        last = (self.lengths - 1)[:, None]
        is_text = steps <= last
        ids = self.ids.gather(1, (last - steps).clamp(min=0)).masked_fill(~is_text, 0)
        return ids, last - self.before


class _Kept:
    """The vectors of sentences by their characters. A copy of a model has none."""

    def __init__(self) -> None:
        self.vectors: dict[bytes, Tensor] = {}
        self._bytes = 0

    def add(self, vectors: dict[bytes, Tensor]) -> None:
        """Keep these, as long as there is room."""
        for key, tensor in vectors.items():
            size = tensor.numel() * tensor.element_size() + len(key)
            if self._bytes + size > KEPT_BYTES:
                return
            self.vectors[key] = tensor
            self._bytes += size

    def clear(self) -> None:
        self.vectors.clear()
        self._bytes = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> _Kept:
        return _Kept()

    def __getstate__(self) -> dict[str, Any]:
        return {"vectors": {}, "_bytes": 0}


def _out_dim(encoder: nn.Module) -> int:
    assert isinstance(encoder, Encoder)
    return encoder.out_dim
