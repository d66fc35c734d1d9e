"""Training steps of a tagger that reads the characters of each word by an LSTM of its own (Lample et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target
from benchmarks.groups.training import TrainingCase, bilstm, crf_of, load, loop, packed_over, table_of, whole_loop

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seqkit.interfaces import Batch

CASE = "NCBI diseases"
RECIPE = """seed: 1
tasks:
  ner: {source: ncbi-disease, drop: 0.0, char_hidden: 50, head: {use: crf, constrain: false}}
encoder: {use: lstm, dim: 200, hidden: 150, bidirectional: true}
train: {steps: STEPS, batch: 32, histograms: false, log_every: 100}
"""


def setup_of(steps: int) -> TrainingCase:
    return TrainingCase(CASE, RECIPE.replace("STEPS", str(steps)))


def seqkit(steps: int) -> Prepared:
    return whole_loop(setup_of(steps))


def torch_packed(steps: int) -> Prepared:
    """Words as they come, their characters packed, then sentences packed."""
    import torch
    from torch import nn

    setup = setup_of(steps)

    def make(weights: Mapping[str, Tensor]) -> Any:
        prefix = f"layers.{setup.name}."
        words = table_of(weights, f"{prefix}weight")
        letters, spelling = (
            table_of(weights, f"{prefix}spelling.letters.weight"),
            bilstm(weights, f"{prefix}spelling.cells."),
        )
        lstm, crf = bilstm(weights, "encoder.cells."), crf_of(weights, f"heads.{setup.name}.")
        out = nn.Linear(2 * lstm.hidden_size, crf.num_tags)
        load(out, weights, f"heads.{setup.name}.out.")

        def loss_of(batch: Batch) -> Tensor:
            ids = batch.x.long()
            x = torch.cat([words(ids[..., 0]), spell(letters, spelling, ids[..., 2:])], dim=-1)
            steps, _ = packed_over(lstm, x, batch.lengths)
            return -crf(out(steps), batch.y, mask=batch.mask, reduction="sum") / batch.lengths.sum()

        modules: list[nn.Module] = [words, letters, spelling, lstm, out, crf]
        return [p for module in modules for p in module.parameters()], loss_of

    return loop(setup, make)


def spell(letters: nn.Embedding, lstm: nn.LSTM, characters: Tensor) -> Tensor:
    """(B, T, M) ids of characters -> (B, T, 2 H), zero where there is no word."""
    lengths = (characters != 0).sum(dim=2)
    is_word = lengths > 0
    _, ends = packed_over(lstm, letters(characters[is_word]), lengths[is_word])
    return ends.new_zeros(*is_word.shape, ends.shape[1]).masked_scatter(is_word[..., None], ends)


HERE = __name__
GROUP = Group(
    "characters",
    "Training steps of a BiLSTM-CRF of 150 on the NCBI disease corpus that reads each word's vector (150) and its "
    "characters, by an LSTM of 25 in either direction: from the same weights on the same batches, without dropout. "
    "torch runs over packed characters and packed sentences, with pytorch-crf; seqkit runs its whole loop, with run "
    "folder and logs, and reads the characters of each different word of a batch once.",
    [Case(CASE, {"steps": 60}, quick=True, quick_options={"steps": 4})],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("torch packed", f"{HERE}:torch_packed", needs=("torchcrf",)),
    ],
    [Target("entities, BiLSTM-CRF 150, characters by an LSTM", CASE, "torch packed", 2, 4)],
    rounds=7,
)
