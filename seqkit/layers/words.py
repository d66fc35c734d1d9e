"""The input layer of `Words`: a vector for each word, and one made of its characters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.kernels import real_rows, run_padded, upload
from seqkit.layers.initialisers import initialise_cell
from seqkit.layers.pretrained_vectors import Key, vectors_of


class WordLayer(nn.Module):
    """Words and their characters to steps; see `seqkit.fields.Words` for the rows that come in and the options.

    A step is the word's vector and what its characters become, side by side. Vectors from a file have their own width:
    then a linear map brings the two to `dim`; else the word's vector is as wide as the characters leave room for.

    Only real words are looked at, and of a word only its real characters, so that no padding of either kind can touch
    anything.

    Args:
        dim: D, width of a step.
        words: how many words, the unknown ones and the padding included.
        letters: how many characters, the unknown one and the padding included.
        columns: how many numbers of a row stand before those of the characters.
        width: of the vectors in the file; None: there is no file.
        fixed: how many words, the last ones, have vectors that are not learned on.
        file: where the vectors of the last `len(names)` words come from when training starts.
        names: those words.
        key: what a word of the file is known by.
    """

    def __init__(
        self,
        dim: int,
        *,
        words: int,
        letters: int,
        columns: int,
        characters: Literal["none", "lstm", "conv"],
        char_dim: int,
        char_hidden: int,
        drop: float = 0.0,
        width: int | None = None,
        fixed: int = 0,
        file: Path | None = None,
        names: Sequence[str] = (),
        key: Key = str,
    ) -> None:
        super().__init__()
        self.dim, self.columns, self.drop = dim, columns, drop
        self.sparse = (
            False  # whether the gradient of `weight` holds only the rows that were read: seqkit.optim.lazy_adamw
        )
        self.file, self.names, self.key = file, tuple(names), key
        spelled = 0 if characters == "none" else char_hidden
        if width is None and spelled >= dim:
            raise UsageError(
                f"the characters of a word become {spelled} numbers and leave no room for the word in steps of {dim}; "
                "lower char_hidden, or give encoder.dim more"
            )
        width = width or dim - spelled
        # Spread 1 / sqrt(width): vectors about as long as one.
        self.weight = nn.Parameter(torch.randn(words - fixed, width) * width**-0.5)
        self.fixed: Tensor | None
        self.register_buffer("fixed", torch.zeros(fixed, width) if fixed else None)
        self.spelling: nn.Module | None = None
        if characters == "lstm":
            self.spelling = Recurrence(letters, char_dim, char_hidden)
        elif characters == "conv":
            self.spelling = Convolution(letters, char_dim, char_hidden)
        self.join = nn.Linear(width + spelled, dim) if width + spelled != dim else None

    @torch.no_grad()
    def start(self) -> None:
        """Before training: the vectors of the file. A word that it has in lower case only starts from that.

        Raises:
            DataError: the file is missing or is none.
        """
        if self.file is None:
            return
        found = vectors_of(self.file, {*self.names, *(name.lower() for name in self.names)}, self.key)
        table = torch.stack([torch.from_numpy(found.get(name, found.get(name.lower()))) for name in self.names])
        whole = self.weight if self.fixed is None else self.fixed
        whole[len(whole) - len(table) :].copy_(table)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 2 + M) whole numbers, (B,) -> (B, T, dim), zero past each sequence's end."""
        batch, time = x.shape[:2]
        real = upload(real_rows(lengths, time), x.device)
        rows = x.flatten(0, 1).index_select(0, real).long()
        steps = self.read(rows[:, 0], rows[:, 1])
        if self.spelling is not None:
            steps = torch.cat([steps, self.spell(rows[:, self.columns :]).to(steps.dtype)], dim=-1)
        if self.join is not None:
            steps = self.join(steps)
        out = steps.new_zeros(batch * time, self.dim).index_copy(0, real, steps)
        return out.view(batch, time, self.dim), lengths

    def read(self, words: Tensor, unknown: Tensor) -> Tensor:
        """(N,) words and their unknown readings -> (N, W). In training some are read as unknown."""
        if self.training and self.drop > 0.0:
            words = torch.where(torch.rand(words.shape, device=words.device) < self.drop, unknown, words)
        if self.fixed is None:
            return functional.embedding(words, self.weight, sparse=self.sparse)
        first = len(self.weight)
        own = functional.embedding(words.clamp(max=first - 1), self.weight, sparse=self.sparse)
        given = functional.embedding((words - first).clamp(min=0), self.fixed)
        return torch.where((words < first)[:, None], own, given.to(own.dtype))

    def spell(self, spelled: Tensor) -> Tensor:
        """(N, M) characters, zeros behind -> (N, H).

        On a CPU a word that stands there many times is worked out once, and the shorter half of the words apart from
        the longer one, so that they are not all as long as the longest: a third of the time. Elsewhere, to look at the
        words would be to wait for them.
        """
        assert self.spelling is not None
        if spelled.device.type != "cpu":
            return cast(Tensor, self.spelling(spelled))
        distinct, which = torch.unique(spelled, dim=0, return_inverse=True)
        sizes = (distinct != 0).sum(1)
        order = sizes.argsort(stable=True)
        distinct, sizes = distinct[order], sizes[order]
        half = len(distinct) // 2
        parts = [part for part in (slice(0, half), slice(half, None)) if len(sizes[part])]
        found = torch.cat([self.spelling(distinct[part, : int(sizes[part][-1])]) for part in parts])
        return found.index_select(0, order.argsort()[which])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, drop={self.drop}"


class Recurrence(nn.Module):
    """An LSTM over the characters in each direction; its two final outputs side by side (Lample et al. 2016).

    Words are turned round and their ends are found on the device, from the zeros that follow them: where a word ends
    need not be known on the CPU, as the length of a sequence is.
    """

    def __init__(self, letters: int, dim: int, hidden: int) -> None:
        super().__init__()
        if hidden % 2:
            raise UsageError(f"char_hidden is {hidden}; with a recurrence in both directions it must be even")
        self.letters = letter_vectors(letters, dim)
        self.cells = nn.ModuleList(nn.LSTM(dim, hidden // 2) for _ in range(2))
        for cell in self.cells:
            assert isinstance(cell, nn.LSTM)
            initialise_cell(cell, "xavier_uniform", "orthogonal", forget_bias=1.0)

    def forward(self, spelled: Tensor) -> Tensor:
        """(N, M) characters, zeros behind -> (N, H)."""
        sizes = (spelled != 0).sum(1).clamp(min=1)
        time = torch.arange(spelled.shape[1], device=spelled.device)
        turned = spelled.gather(1, torch.where(time < sizes[:, None], sizes[:, None] - 1 - time, time))
        found = []
        for cell, order in zip(self.cells, (spelled, turned), strict=True):
            assert isinstance(cell, nn.LSTM)
            steps = self.letters(order.t())
            zero = steps.new_zeros(len(spelled), cell.hidden_size)
            full = torch.full((len(spelled),), spelled.shape[1])
            said = run_padded(cell, steps, full, (zero, zero)).steps
            found.append(said.gather(0, (sizes - 1)[None, :, None].expand(1, -1, cell.hidden_size))[0])
        return torch.cat(found, dim=-1)


class Convolution(nn.Module):
    """A convolution over three characters and its largest value over the word (Ma and Hovy 2016, arXiv:1603.01354)."""

    def __init__(self, letters: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.letters = letter_vectors(letters, dim)
        self.filters = nn.Linear(3 * dim, hidden)

    def forward(self, spelled: Tensor) -> Tensor:
        """(N, M) characters, zeros behind -> (N, H)."""
        steps = functional.pad(self.letters(spelled), (0, 0, 1, 1))
        windows = torch.cat([steps[:, :-2], steps[:, 1:-1], steps[:, 2:]], dim=-1)
        said: Tensor = self.filters(windows).masked_fill((spelled == 0)[..., None], -torch.inf)
        return said.amax(1).tanh()


def letter_vectors(letters: int, dim: int) -> nn.Embedding:
    """A vector for each character; that of padding is zero and stays so."""
    table = nn.Embedding(letters, dim, padding_idx=0)
    nn.init.normal_(table.weight, std=dim**-0.5)
    with torch.no_grad():
        table.weight[0].zero_()
    return table
