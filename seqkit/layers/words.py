"""The input layer of `Words`: for each word a vector of its own and one computed from its characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.interfaces import mask_of
from seqkit.kernels import CellState, Dispatch, RowOrder, choose, draw_uniform, real_rows, run_padded, run_unpadded
from seqkit.layers.contextual import Contextual
from seqkit.layers.embedding import RowDropout
from seqkit.layers.initialisers import initialise_cell
from seqkit.layers.pretrained_vectors import WordKey, vector_file
from seqkit.layers.vector_table import open_table
from seqkit.types import WordVectors
from seqkit.uploads import from_lengths


class WordLayer(nn.Module):
    """Words and their characters to steps; `seqkit.fields.Words` documents the input rows and the options.

    A step is the word's vector and the vector of its characters, concatenated. Vectors from a file have their own
    width: then a linear map brings the two to `dim`. Otherwise the word's vector takes what the characters leave of
    `dim`.

    Only real words are computed, and of a word only its real characters, so padding of either kind has no effect.

    Args:
        dim: D, width of a step.
        words: number of words, the unknown ones and the padding included.
        letters: number of characters, the unknown one and the padding included.
        columns: how many numbers of a row come before those of the characters.
        characters: how characters are read: by an LSTM, by a convolution, or not at all.
        char_dim: width of a character's vector.
        char_hidden: width of the vector that is computed from the characters.
        drop: share of words that are replaced by their unknown reading during training.
        width: of the vectors in the file; None: there is no file.
        fixed: number of words, the last ones, that have vectors which are not trained.
        both: those words have trained vectors too, and a word's vector is the two side by side, as the two channels
            of Kim (2014, arXiv:1408.5882); zeros are beside the vectors of the other words.
        spelled: number of words, the first ones, to whose vectors a linear map of their characters is added. With
            those of the unknown words, and with `drop`, the characters of a word learn to stand for its vector, as in
            Pinter, Guthrie and Eisenstein (2017, arXiv:1707.06961), here from the loss of the task.
        vectors: where the vectors of the last `len(names)` words come from when training starts.
        names: those words.
        key: maps a word of the file to the form that `names` has.
        contextual: language models that read the whole text; what they say of a word is beside its other vectors.
        features: number of values of each feature, the unknown one and the padding included. Their ids come after the
            first two numbers of a row.
        feature_dim: width of the vector of a feature, which is beside the word's other vectors.
    """

    pointwise = True

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
        both: bool = False,
        spelled: int = 0,
        vectors: WordVectors | None = None,
        names: Sequence[str] = (),
        key: WordKey = str,
        contextual: Contextual | None = None,
        features: Sequence[int] = (),
        feature_dim: int = 0,
    ) -> None:
        super().__init__()
        self.dim, self.columns, self.drop = dim, columns, drop
        self.row_dropout = RowDropout()  # of words; `train.embedding_dropout` sets it
        self.sparse = False  # whether the gradient of `weight` holds only rows that were read; see optim.lazy_adamw
        self.vectors, self.names, self.key, self.word_count = vectors, tuple(names), key, words
        char_width = 0 if characters == "none" else char_hidden
        feature_width = feature_dim * len(features)
        if width is None and char_width + feature_width >= dim:
            sides, options = "characters", "char_hidden"
            if features:
                sides, options = f"{sides} and features", f"{options} or feature_dim"
            raise UsageError(
                f"the {sides} of a word become {char_width + feature_width} numbers and leave no room for the word in "
                f"steps of {dim}; lower {options}, or give encoder.dim more"
            )
        width = width or dim - char_width - feature_width
        # Standard deviation 1 / sqrt(width): vectors have a length of about 1.
        self.both = both
        self.weight = nn.Parameter(torch.empty(words if both else words - fixed, width))
        with torch.no_grad():
            self.weight.normal_().mul_(width**-0.5)
        self.fixed: Tensor | None
        self.register_buffer("fixed", torch.zeros(fixed, width) if fixed else None)
        self.spelling: nn.Module | None = None
        if characters == "lstm":
            self.spelling = CharacterLSTM(letters, char_dim, char_hidden)
        elif characters == "conv":
            self.spelling = CharacterCNN(letters, char_dim, char_hidden)
        self.spelled = spelled
        self.from_characters = nn.Linear(char_width, width) if spelled else None
        self.contextual, self.first_letter = contextual, 0 if contextual is None else contextual.first
        self.strings = None if contextual is None else contextual.strings
        self.features = nn.ModuleList(feature_embedding(size, feature_dim) for size in features)
        joined = (2 * width if both else width) + char_width + feature_width
        joined += 0 if self.strings is None else self.strings.width
        self.join = nn.Linear(joined, dim) if joined != dim else None
        if contextual is not None:
            self.pointwise = False
            self.not_in_pieces = "language models read the text of each word on both sides (contextual)"

    @torch.no_grad()
    def start(self) -> None:
        """Load the vectors of the file, and the weights of language models; called before training starts.

        A word that the file has in lower case only gets the vector of its lower-case form.

        Raises:
            DataError: the file is missing or is not a file of vectors.
        """
        if self.contextual is not None:
            self.contextual.start()
        if self.vectors is None:
            return
        table = open_table(vector_file(self.vectors))
        vectors = table.look_up({*self.names, *(name.lower() for name in self.names)}, self.key)
        rows = torch.stack([torch.from_numpy(vectors.get(name, vectors.get(name.lower()))) for name in self.names])
        if self.fixed is not None:
            self.fixed.copy_(rows)
        if self.fixed is None or self.both:
            self.weight[len(self.weight) - len(rows) :].copy_(rows)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, columns + M) ids, (B,) -> (B, T, dim), zero past each sequence's end.

        Raises:
            UsageError: the layer is being traced by `torch.jit.trace`.
        """
        if torch._C._get_tracing_state() is not None:
            # What is recorded for one batch is wrong for another, and running it can end the process.
            raise UsageError(
                "a model with words cannot be traced by torch.jit.trace: what it computes depends on the words of a "
                "batch, not only on its shape; call the model itself"
            )
        if torch.compiler.is_exporting():
            if self.strings is not None:
                raise UsageError("a model whose words are read by language models (contextual) cannot be exported")
            steps = self.steps(x.flatten(0, 1).long(), self.spelling)
            outside = ~mask_of(lengths, x.shape[1], x.device)[..., None]
            return steps.view(*x.shape[:2], self.dim).masked_fill(outside, 0.0), lengths
        batch, time = x.shape[:2]
        index = real_rows(lengths, time)
        real = from_lengths(real_rows, lengths, time, x.device)
        rows = x.flatten(0, 1).index_select(0, real).long()
        context = None
        if self.strings is not None:
            letters = x[..., self.first_letter : self.columns]
            context = self.strings(letters, lengths).flatten(0, 1).index_select(0, real)
        steps = self.steps(rows, self.character_vectors, RowOrder(time, index), context)
        out = steps.new_zeros(batch * time, self.dim).index_copy(0, real, steps)
        return out.view(batch, time, self.dim), lengths

    def steps(
        self,
        rows: Tensor,
        spell: Callable[[Tensor], Tensor] | None,
        order: RowOrder | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """(N, columns + M) ids -> (N, dim).

        Args:
            rows: of real words.
            spell: makes vectors of characters.
            order: where the rows are.
            context: (N, C) what language models say of the words.
        """
        words = self.words_read(rows[:, 0], rows[:, 1], order)
        steps = self.look_up(words)
        if self.training:
            steps = self.row_dropout(steps, words, self.word_count)
        if self.spelling is not None and spell is not None:
            characters = spell(rows[:, self.columns :]).to(steps.dtype)
            if self.from_characters is not None:
                steps = self.add_characters(steps, words, characters)
            steps = torch.cat([steps, characters], dim=-1)
        if context is not None:
            steps = torch.cat([steps, context.to(steps.dtype)], dim=-1)
        if self.features:
            features = [table(rows[:, column]) for column, table in enumerate(self.features, 2)]
            steps = torch.cat([steps, *features], dim=-1)
        return steps if self.join is None else cast(Tensor, self.join(steps))

    def words_read(self, words: Tensor, unknown: Tensor, order: RowOrder | None = None) -> Tensor:
        """(N,) ids of words and of their unknown readings -> (N,) ids. Training replaces some by the latter."""
        if self.training and self.drop > 0.0:
            drawn = draw_uniform((len(words), 1), words.device, order).squeeze(1)
            words = torch.where(drawn < self.drop, unknown, words)
        return words

    def look_up(self, words: Tensor) -> Tensor:
        """(N,) ids -> (N, W), or with `both` (N, 2 W): trained and fixed vectors."""
        if self.fixed is None:
            return functional.embedding(words, self.weight, sparse=self.sparse)
        first_fixed = len(self.weight) - (len(self.fixed) if self.both else 0)
        fixed = functional.embedding((words - first_fixed).clamp(min=0), self.fixed)
        if self.both:
            tuned = functional.embedding(words, self.weight, sparse=self.sparse)
            return torch.cat([tuned, fixed.to(tuned.dtype).masked_fill((words < first_fixed)[:, None], 0.0)], dim=-1)
        learned = functional.embedding(words.clamp(max=first_fixed - 1), self.weight, sparse=self.sparse)
        return torch.where((words < first_fixed)[:, None], learned, fixed.to(learned.dtype))

    def add_characters(self, vectors: Tensor, words: Tensor, characters: Tensor) -> Tensor:
        """(N, W) or (N, 2 W) -> the same: the first `spelled` words get what their characters (N, H) say of them."""
        assert self.from_characters is not None
        added = self.from_characters(characters).masked_fill((words >= self.spelled)[:, None], 0.0)
        return vectors + functional.pad(added, (0, vectors.shape[1] - added.shape[1]))

    def character_vectors(self, characters: Tensor) -> Tensor:
        """(N, M) ids of characters, zeros behind -> (N, H).

        On a CPU, a word that occurs many times is computed once, and where padding is computed, the shorter half of
        the words apart from the longer half, so that not all are padded to the longest. On a GPU, looking at the words
        would mean waiting for them.
        """
        assert self.spelling is not None
        if characters.device.type != "cpu":
            return cast(Tensor, self.spelling(characters))
        distinct, inverse = distinct_rows(characters)
        if isinstance(self.spelling, CharacterLSTM) and self.spelling.dispatch(characters.device).engine is not None:
            return cast(Tensor, self.spelling(distinct).index_select(0, inverse))
        lengths = (distinct != 0).sum(1)
        order = lengths.argsort(stable=True)
        distinct, lengths = distinct[order], lengths[order]
        half = len(distinct) // 2
        halves = [rows for rows in (slice(0, half), slice(half, None)) if len(lengths[rows])]
        vectors = torch.cat([self.spelling(distinct[rows, : int(lengths[rows][-1])]) for rows in halves])
        return vectors.index_select(0, order.argsort()[inverse])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, drop={self.drop}"


def distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(N, M) ids on the CPU -> the different rows in ascending order (K, M), and which of them each row is (N,).

    The same as `torch.unique` over rows, which compares number by number; here eight bytes are compared at once.
    """
    count, width = rows.shape
    number = np.min_scalar_type(int(rows.max()) if count else 0).newbyteorder(">")  # compared as bytes are
    together = 8 // number.itemsize
    packed = np.zeros((count, -(-width // together) * together), dtype=number)
    packed[:, :width] = rows.numpy()
    keys = packed.view(">u8").astype(np.uint64)
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    is_new = np.ones(count, dtype=bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(count, dtype=np.int64)
    inverse[order] = np.cumsum(is_new) - 1
    return rows[torch.from_numpy(order[is_new])], torch.from_numpy(inverse)


class CharacterLSTM(nn.Module):
    """An LSTM over the characters in each direction; their two final outputs, concatenated (Lample et al. 2016).

    On a CPU it runs over the real characters alone, where that is implemented. Elsewhere words are reversed and their
    ends are found on the device, from the zeros behind them, because the lengths of words are not on the CPU, unlike
    those of sequences.
    """

    def __init__(self, letters: int, dim: int, hidden: int) -> None:
        super().__init__()
        if hidden % 2:
            raise UsageError(f"char_hidden is {hidden}; with a recurrence in both directions it must be even")
        self.letters = character_embedding(letters, dim)
        self.cells = nn.ModuleList(nn.LSTM(dim, hidden // 2) for _ in range(2))
        for cell in self.cells:
            assert isinstance(cell, nn.LSTM)
            initialise_cell(cell, "xavier_uniform", "orthogonal", keep_bias=1.0)

    def dispatch(self, device: torch.device) -> Dispatch:
        """What runs the layer on `device`."""
        cell = cast(nn.RNNBase, self.cells[0])
        return choose(cell, device, cell.all_weights[0][1].dtype)

    def forward(self, characters: Tensor) -> Tensor:
        """(N, M) ids of characters, zeros behind -> (N, H)."""
        if characters.device.type == "cpu" and len(characters):
            dispatch = self.dispatch(characters.device)
            if dispatch.engine is not None:
                return self._run_unpadded(characters, dispatch)
        words, time = characters.shape
        lengths = _word_lengths(characters)
        t = torch.arange(time, device=characters.device)
        reverse = characters.gather(1, torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t))
        last, zero, final_outputs = (lengths - 1)[None, :, None], None, []
        for cell, ids in zip(self.cells, (characters, reverse), strict=True):
            assert isinstance(cell, nn.LSTM)
            x = self.letters(ids.t())
            zero = x.new_zeros(words, cell.hidden_size) if zero is None else zero
            steps = run_padded(cell, x, torch.full((words,), time), (zero, zero)).steps
            final_outputs.append(steps.gather(0, last.expand(1, -1, cell.hidden_size)).squeeze(0))
        return torch.cat(final_outputs, dim=-1)

    def _run_unpadded(self, characters: Tensor, dispatch: Dispatch) -> Tensor:
        """The same over rows, one for each character of a word."""
        assert dispatch.engine is not None
        lengths, device = _word_lengths(characters), characters.device
        layout = dispatch.lay_out(lengths, characters.shape[1], directions=len(self.cells), device=device)
        x = self.letters(characters.flatten().index_select(0, layout.flat_index))
        cells = [cast(nn.RNNBase, cell) for cell in self.cells]
        states: list[CellState | None] = [None] * len(cells)
        output = run_unpadded(cells, x, layout, states, engine=dispatch.engine, threads=torch.get_num_threads())
        return torch.cat([final_state()[0] for final_state in output.final_states], dim=-1)


def _word_lengths(characters: Tensor) -> Tensor:
    """(N, M) ids of characters, zeros behind -> (N,) how many there are; a word without any reads one zero."""
    return (characters != 0).sum(1).clamp(min=1)


class CharacterCNN(nn.Module):
    """A convolution over three characters and its maximum over the word (Ma and Hovy 2016, arXiv:1603.01354)."""

    def __init__(self, letters: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.letters = character_embedding(letters, dim)
        self.filters = nn.Linear(3 * dim, hidden)

    def forward(self, characters: Tensor) -> Tensor:
        """(N, M) ids of characters, zeros behind -> (N, H)."""
        steps = functional.pad(self.letters(characters), (0, 0, 1, 1))
        windows = torch.cat([steps[:, :-2], steps[:, 1:-1], steps[:, 2:]], dim=-1)
        activations: Tensor = self.filters(windows).masked_fill((characters == 0)[..., None], -torch.inf)
        return activations.amax(1).tanh()


def character_embedding(letters: int, dim: int) -> nn.Embedding:
    """A learned vector for each character; the vector of padding stays zero."""
    table = nn.Embedding(letters, dim, padding_idx=0)
    nn.init.normal_(table.weight, std=dim**-0.5)
    with torch.no_grad():
        table.weight[0].zero_()
    return table


def feature_embedding(features: int, dim: int) -> nn.Embedding:
    """A learned vector for each value of a feature; that of the unknown value is zero until training has read one."""
    table = nn.Embedding(features, dim, padding_idx=0)
    nn.init.normal_(table.weight, std=dim**-0.5)
    with torch.no_grad():
        table.weight[:2].zero_()
    return table
