"""`seqkit prove` passes on what is right and catches what is planted: the defects of other toolkits among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from seqkit.cli import main
from seqkit.encoders import gru, lstm, none, rnn
from seqkit.fields import Label
from seqkit.model import Model
from seqkit.modules import Batch, Encoded, Encoder, Head, State
from seqkit.prove import Finding, prove_encoder, prove_task, worst
from seqkit.types import Prediction

D, H = 5, 6


# ---- defects


class OverTheBatch(Encoder):
    """The recurrence runs over the batch axis: a transposed input (Selene's DanQ)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(D, H, batch_first=True)
        self.out_dim, self.causal = H, True

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        steps, _ = self.cell(x.transpose(0, 1).contiguous())
        steps = steps.transpose(0, 1)
        mask = torch.arange(x.shape[1])[None] < lengths[:, None]
        steps = steps * mask[..., None]
        last = steps[torch.arange(len(lengths)), lengths - 1]
        return Encoded(steps, lengths, last, lambda: (last,))


class Simple(Encoder):
    """A GRU that is right, from which the other defects are made."""

    def __init__(self, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.cell = nn.GRU(D, H, batch_first=True, bidirectional=bidirectional)
        self.out_dim, self.causal = H * (1 + bidirectional), not bidirectional

    def seen(self, lengths: Tensor, steps: int) -> Tensor:
        return lengths

    def last(self, steps: Tensor, lengths: Tensor) -> Tensor:
        return steps[torch.arange(len(lengths)), lengths - 1]

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        seen = self.seen(lengths, x.shape[1])
        start = None if state is None else state[0][None].contiguous()
        steps, _ = self.cell(x, start)
        mask = torch.arange(x.shape[1])[None] < seen[:, None]
        steps = steps * mask[..., None]
        last = self.last(steps, lengths)
        return Encoded(steps, lengths, last, lambda: (self.handed_on(steps, last),))

    def handed_on(self, steps: Tensor, last: Tensor) -> Tensor:
        return last


class RelativeLengths(Simple):
    """Lengths as shares of the longest, cut to integers: 7 / 23 of 23 is 6 (SpeechBrain's packing)."""

    def seen(self, lengths: Tensor, steps: int) -> Tensor:
        return ((lengths.float() / steps) * steps - 1e-4).int()


class LastAtMinusOne(Simple):
    def last(self, steps: Tensor, lengths: Tensor) -> Tensor:
        return steps[:, -1]


class ReadsPaddingBackwards(Simple):
    """A bidirectional layer on a padded batch: its backward direction reads the padding first."""

    def __init__(self) -> None:
        super().__init__(bidirectional=True)


class HandsOnThePaddedEnd(Simple):
    def handed_on(self, steps: Tensor, last: Tensor) -> Tensor:
        return steps[:, -1]


class LooksAhead(Simple):
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        return super().forward(x + 0.1 * x.mean(dim=1, keepdim=True), lengths, state)


class Mean(Head):
    """A classifier on the mean of the steps, right or with a defect."""

    accepts = (Label,)

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect = defect
        self.out = nn.Linear(H, 3)

    def logits(self, encoded: Encoded) -> Tensor:
        steps = encoded.steps
        if self.defect == "mask":  # Ludwig's reducers: the mask is accepted and never used
            pooled = steps.mean(dim=1)
        else:
            pooled = steps.sum(dim=1) / encoded.lengths[:, None]
        if self.defect == "batch":
            pooled = pooled - pooled.mean(dim=0)
        out: Tensor = self.out(pooled)
        return out

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.y is not None
        reduction = "mean" if self.defect == "loss" else "sum"
        total = nn.functional.cross_entropy(self.logits(encoded), batch.y, reduction=reduction)
        count = encoded.steps.shape[1] * batch.size if self.defect == "count" else batch.size
        return total, torch.tensor(count)

    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(None, None, row) for row in self.logits(encoded).softmax(dim=-1).tolist()]


class Scaled(nn.Module):
    """An input layer, right or with a defect."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect = defect
        self.linear = nn.Linear(D, D)
        self.register_buffer("scale", torch.full((1,), 1.7), persistent=defect != "saved")

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if self.defect == "length":
            x = x * lengths[:, None, None] / x.shape[1]
        return self.linear(x) * self.scale, lengths


class Forgetful(Model):
    """Rebuilt from its saved state, it has lost a buffer that is not saved."""

    def __deepcopy__(self, memo: object) -> Model:
        fresh = Forgetful({"t": Scaled("saved")}, Simple(), {"t": Mean()})
        fresh.layers["t"].scale.fill_(1.0)  # type: ignore[union-attr, operator]
        return fresh.eval()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([7, 5, 5, 2, 1])
    x = torch.randn(5, 7, D, generator=generator) * (torch.arange(7)[None] < lengths[:, None])[..., None]
    return Batch(x, lengths, torch.tensor([0, 1, 2, 0, 1]), None, ids=[f"x:{k}" for k in range(5)])


def found(encoder: Encoder | None = None, head: Head | None = None, layer: nn.Module | None = None) -> list[Finding]:
    torch.manual_seed(3)
    model = Model({"t": layer or Scaled()}, encoder or Simple(), {"t": head or Mean()})
    return list(worst(prove_task(model, "t", batch())))


def failed(findings: list[Finding]) -> dict[str, str]:
    return {finding.contract: finding.cause for finding in findings if not finding.passed}


# ---- what is right passes


def test_a_model_that_is_right_passes_every_contract() -> None:
    findings = found()
    assert failed(findings) == {}
    assert len(findings) == 10


@pytest.mark.parametrize("factory", [rnn, lstm, gru])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_seqkits_own_encoders_pass(factory, bidirectional: bool) -> None:
    encoder = factory(D, hidden=4, layers=2, bidirectional=bidirectional, dropout=0.5, initial="learned")
    assert failed(list(prove_encoder(encoder, D, "own"))) == {}
    assert failed(list(prove_encoder(none(D), D, "none"))) == {}


# ---- what is planted is caught

PADDING, MORE = "what stands in the padding does not matter", "how much padding there is does not matter"
MATES, ALONE = "other examples in the batch do not matter", "a batch of one equals a batch of many"
ORDER = "the order of examples does not matter"


def test_a_recurrence_over_the_batch_axis_is_caught_and_named() -> None:
    causes = failed(found(OverTheBatch()))
    assert {MATES, ALONE, ORDER} <= causes.keys()
    assert "the encoder of example 0 moved by" in causes[ORDER] or "the encoder of example" in causes[MATES]
    assert "runs over the batch axis" in causes[MATES]


def test_an_ignored_mask_in_pooling_is_caught_at_the_prediction() -> None:
    causes = failed(found(head=Mean("mask")))
    assert {MORE, ALONE} <= causes.keys()
    assert causes[MORE].startswith("the prediction of example")


def test_relative_lengths_are_caught() -> None:
    causes = failed(found(RelativeLengths()))
    assert causes
    assert "two halves with the state carried equal the whole" in causes or ALONE in causes


def test_the_last_step_at_minus_one_is_caught_at_the_final_vector() -> None:
    causes = failed(found(LastAtMinusOne()))
    assert causes[ALONE].startswith("the final vector of example")


def test_a_backward_direction_that_reads_padding_is_caught() -> None:
    torch.manual_seed(0)
    causes = failed(list(worst(prove_encoder(ReadsPaddingBackwards(), D, "bad"))))
    assert {PADDING, MORE, ALONE} <= causes.keys()
    assert "backward direction" in causes[PADDING]


def test_a_wrong_state_is_caught() -> None:
    assert set(failed(found(HandsOnThePaddedEnd()))) == {"two halves with the state carried equal the whole"}


def test_looking_ahead_is_caught() -> None:
    assert "the future does not move the past" in failed(found(LooksAhead()))


def test_a_mean_over_the_batch_is_caught() -> None:
    assert MATES in failed(found(head=Mean("batch")))


@pytest.mark.parametrize("defect", ["loss", "count"])
def test_a_loss_that_is_a_mean_or_counts_padding_is_caught(defect: str) -> None:
    causes = failed(found(head=Mean(defect)))
    assert "the loss of a batch is the sum over its examples" in causes


def test_a_scale_by_the_padded_length_is_caught_at_the_input_layer() -> None:
    causes = failed(found(layer=Scaled("length")))
    assert causes[MORE].startswith("the input layer of example")


def test_gradient_in_the_padding_is_caught() -> None:
    class Leaks(Simple):
        def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
            encoded = super().forward(x, lengths, state)
            encoded.last = encoded.last + 0.1 * x.sum(dim=1).mean(dim=1, keepdim=True)
            encoded.steps = encoded.steps + 0.1 * x.sum(dim=(1, 2), keepdim=True)
            return encoded

    assert "no gradient reaches the padding" in failed(found(Leaks()))


def test_what_is_not_saved_is_caught() -> None:
    torch.manual_seed(3)
    model = Forgetful({"t": Scaled("saved")}, Simple(), {"t": Mean()})
    causes = failed(list(worst(prove_task(model, "t", batch()))))
    assert set(causes) == {"a saved and reloaded model says the same"}


# ---- the verb


def test_the_verb_on_a_recipe_and_on_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("she sells sea shells on the sea shore. " * 40)
    path = tmp_path / "r.yaml"
    path.write_text(
        f"tasks: {{lm: {{use: charlm, file: {tmp_path}/text.txt, window: 16, piece: 100}}}}\n"
        "encoder: {use: gru, dim: 8, hidden: 12}\ntrain: {steps: 3, batch: 4}\n"
    )
    done = CliRunner().invoke(main, ["prove", str(path)])
    assert done.exit_code == 0, done.output
    assert "ok    lm: other examples in the batch do not matter" in done.stdout
    assert "encoder gru" in done.stdout
    assert CliRunner().invoke(main, ["run", str(path), "--out", str(tmp_path / "run"), "--quiet"]).exit_code == 0
    done = CliRunner().invoke(main, ["prove", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    assert all(json.loads(line)["passed"] for line in done.stdout.splitlines())
