"""`seqkit prove` passes for correct models and catches defects, some of them from other toolkits."""

from __future__ import annotations

import copy
import json
import math
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from seqkit import recipe as recipes
from seqkit.cli import main
from seqkit.encoders import gru, lstm, none, rnn
from seqkit.fields import Label, Labels, Tags, Text, Tokens, Values
from seqkit.heads import attend, classify, crf, ctc, generate, regress, tag
from seqkit.interfaces import Batch, Encoded, Encoder, Head, State
from seqkit.model import Model
from seqkit.recipe import bundled
from seqkit.types import Prediction
from seqkit.verification import recipe_contracts
from seqkit.verification.contracts import prove_encoder, prove_task, worst_per_contract
from seqkit.verification.outputs import ContractResult
from seqkit.verification.recipe_contracts import prove_recipe
from seqkit.verification.reference_loss import reference_loss

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
    """A correct GRU, of which other defects are subclasses."""

    def __init__(self, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.cell = nn.GRU(D, H, batch_first=True, bidirectional=bidirectional)
        self.out_dim, self.causal = H * (1 + bidirectional), not bidirectional

    def used_lengths(self, lengths: Tensor, steps: int) -> Tensor:
        return lengths

    def last(self, steps: Tensor, lengths: Tensor) -> Tensor:
        return steps[torch.arange(len(lengths)), lengths - 1]

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        used = self.used_lengths(lengths, x.shape[1])
        start = None if state is None else state[0][None].contiguous()
        steps, _ = self.cell(x, start)
        mask = torch.arange(x.shape[1])[None] < used[:, None]
        steps = steps * mask[..., None]
        last = self.last(steps, lengths)
        return Encoded(steps, lengths, last, lambda: (self.final_state(steps, last),))

    def final_state(self, steps: Tensor, last: Tensor) -> Tensor:
        return last


class RelativeLengths(Simple):
    """Lengths as shares of the longest, cut to integers: 7 / 23 of 23 is 6 (SpeechBrain's packing)."""

    def used_lengths(self, lengths: Tensor, steps: int) -> Tensor:
        return ((lengths.float() / steps) * steps - 1e-4).int()


class LastAtMinusOne(Simple):
    def last(self, steps: Tensor, lengths: Tensor) -> Tensor:
        return steps[:, -1]


class ReadsPaddingBackwards(Simple):
    """A bidirectional layer on a padded batch: its backward direction reads the padding first."""

    def __init__(self) -> None:
        super().__init__(bidirectional=True)


class StateOfThePaddedEnd(Simple):
    def final_state(self, steps: Tensor, last: Tensor) -> Tensor:
        return steps[:, -1]


class LooksAhead(Simple):
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        return super().forward(x + 0.1 * x.mean(dim=1, keepdim=True), lengths, state)


class Mean(Head):
    """A classifier on the mean of the steps, correct or with a defect."""

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
    """An input layer, correct or with a defect."""

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
    """A copy of it lacks a buffer that is not saved."""

    def __deepcopy__(self, memo: object) -> Model:
        fresh = Forgetful({"t": Scaled("saved")}, Simple(), {"t": Mean()})
        fresh.layers["t"].scale.fill_(1.0)  # type: ignore[union-attr, operator]
        return fresh.eval()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([7, 5, 5, 2, 1])
    x = torch.randn(5, 7, D, generator=generator) * (torch.arange(7)[None] < lengths[:, None])[..., None]
    return Batch(x, lengths, torch.tensor([0, 1, 2, 0, 1]), None, ids=[f"x:{k}" for k in range(5)])


def check(
    encoder: Encoder | None = None, head: Head | None = None, layer: nn.Module | None = None
) -> list[ContractResult]:
    torch.manual_seed(3)
    model = Model({"t": layer or Scaled()}, encoder or Simple(), {"t": head or Mean()})
    return list(worst_per_contract(prove_task(model, "t", batch())))


def failed(results: list[ContractResult]) -> dict[str, str]:
    return {result.contract: result.cause for result in results if not result.passed}


# ---- correct models pass


def test_a_correct_model_passes_every_contract() -> None:
    results = check()
    assert failed(results) == {}
    assert len(results) == 12


@pytest.mark.parametrize("factory", [rnn, lstm, gru])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_seqkits_own_encoders_pass(factory, bidirectional: bool) -> None:
    encoder = factory(D, hidden=4, layers=2, bidirectional=bidirectional, dropout=0.5, initial="learned")
    assert failed(list(prove_encoder(encoder, D, "own"))) == {}
    assert failed(list(prove_encoder(none(D), D, "none"))) == {}


# ---- defects are caught

PADDING, MORE = "the content of the padding does not matter", "the amount of padding does not matter"
MATES, ALONE = "other examples in the batch do not matter", "a batch of one equals a batch of many"
ORDER = "the order of examples does not matter"


def test_a_recurrence_over_the_batch_axis_is_caught_and_named() -> None:
    causes = failed(check(OverTheBatch()))
    assert {MATES, ALONE, ORDER} <= causes.keys()
    assert "the encoder of example 0 differs by" in causes[ORDER] or "the encoder of example" in causes[MATES]
    assert "runs over the batch axis" in causes[MATES]


def test_an_ignored_mask_in_pooling_is_caught_at_the_prediction() -> None:
    causes = failed(check(head=Mean("mask")))
    assert {MORE, ALONE} <= causes.keys()
    assert causes[MORE].startswith("the prediction of example")


def test_relative_lengths_are_caught() -> None:
    causes = failed(check(RelativeLengths()))
    assert causes
    assert "two halves with the state carried over equal the whole" in causes or ALONE in causes


def test_the_last_step_at_minus_one_is_caught_at_the_final_vector() -> None:
    causes = failed(check(LastAtMinusOne()))
    assert causes[ALONE].startswith("the final vector of example")


def test_a_backward_direction_that_reads_padding_is_caught() -> None:
    torch.manual_seed(0)
    causes = failed(list(worst_per_contract(prove_encoder(ReadsPaddingBackwards(), D, "bad"))))
    assert {PADDING, MORE, ALONE} <= causes.keys()
    assert "backward direction" in causes[PADDING]


def test_a_wrong_state_is_caught() -> None:
    assert set(failed(check(StateOfThePaddedEnd()))) == {"two halves with the state carried over equal the whole"}


def test_looking_ahead_is_caught() -> None:
    assert "a causal encoder does not see the future" in failed(check(LooksAhead()))


def test_a_mean_over_the_batch_is_caught() -> None:
    assert MATES in failed(check(head=Mean("batch")))


@pytest.mark.parametrize("defect", ["loss", "count"])
def test_a_loss_that_is_a_mean_or_counts_padding_is_caught(defect: str) -> None:
    causes = failed(check(head=Mean(defect)))
    assert "the loss of a batch is the sum over its examples" in causes


def test_a_scale_by_the_padded_length_is_caught_at_the_input_layer() -> None:
    causes = failed(check(layer=Scaled("length")))
    assert causes[MORE].startswith("the input layer of example")


def test_gradient_in_the_padding_is_caught() -> None:
    class Leaks(Simple):
        def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
            encoded = super().forward(x, lengths, state)
            encoded.last = encoded.last + 0.1 * x.sum(dim=1).mean(dim=1, keepdim=True)
            encoded.steps = encoded.steps + 0.1 * x.sum(dim=(1, 2), keepdim=True)
            return encoded

    assert "no gradient reaches the padding" in failed(check(Leaks()))


def test_a_buffer_that_is_not_saved_is_caught() -> None:
    torch.manual_seed(3)
    model = Forgetful({"t": Scaled("saved")}, Simple(), {"t": Mean()})
    causes = failed(list(worst_per_contract(prove_task(model, "t", batch()))))
    assert set(causes) == {"a saved and reloaded model predicts the same"}


def test_relative_lengths_are_caught_even_where_they_seldom_lose_a_step() -> None:
    """As it was shipped: with a width of 23, 7 becomes 6; with widths of 7, 8 and 16 no length changes."""

    class AsShipped(Simple):
        def used_lengths(self, lengths: Tensor, steps: int) -> Tensor:
            return ((lengths.float() / steps) * steps).int()

    assert MORE in failed(check(AsShipped()))
    assert MORE in failed(list(worst_per_contract(prove_encoder(AsShipped(), D, "shipped"))))


def test_an_encoder_that_fails_at_one_step_is_caught() -> None:
    class NeedsTwo(Simple):
        def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
            if x.shape[1] < 2:
                raise ValueError("needs two steps")
            return super().forward(x, lengths, state)

    causes = failed(check_without_states(NeedsTwo()))
    assert "an input of 1 steps ends in ValueError" in causes["the shortest input works like any other"]


def test_nan_for_one_step_is_caught() -> None:
    """A standard deviation over the steps: for one step it is 0 / 0."""

    class Spread(Simple):
        def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
            encoded = super().forward(x, lengths, state)
            deviations = [
                encoded.steps[row, :length].std(dim=0) for row, length in enumerate(lengths.tolist()) if length > 1
            ]
            if len(deviations) == len(lengths):
                encoded.last = torch.stack(deviations)
            elif len(lengths) == 1:
                encoded.last = encoded.last * math.nan
            return encoded

    model = Model({"t": Scaled()}, Spread(), {"t": Mean()})
    examples = batch().take([0, 1, 2])
    causes = failed(list(worst_per_contract(prove_task(model, "t", examples))))
    assert "not finite" in causes["the shortest input works like any other"]


def check_without_states(encoder: Encoder) -> list[ContractResult]:
    """The results for an encoder with causal = False, on examples of two steps or more."""
    torch.manual_seed(3)
    encoder.causal = False
    model = Model({"t": Scaled()}, encoder, {"t": Mean()})
    return list(worst_per_contract(prove_task(model, "t", batch().take([0, 1, 2, 3]))))


REFERENCE = "the loss equals a reference computation"


@pytest.mark.parametrize(
    ("target", "head", "y"),
    [
        (Label().fit(["a", "b", "c"]), classify, [0, 2]),
        (Labels().fit([["a"], ["b"], ["a", "b"]]), classify, [[1, 0], [1, 1]]),
        (Tags().fit([["x", "y", "z"]]), tag, [[0, 1, 2, 1], [2, 0, 0, 0]]),
        (Tags(scheme="iob2").fit([["B-a", "I-a", "O"]]), crf, [[0, 1, 2, 2], [2, 0, 0, 0]]),
        (Values().fit([0.0, 2.0]), regress, [0.3, -1.0]),
        (Values().fit([0.0, 2.0]), partial(regress, loss="mae"), [0.3, -1.0]),
        (Values().fit([0.0, 2.0]), partial(regress, loss="huber"), [0.3, -2.0]),
        (Values().fit([0.0, 2.0]), partial(regress, loss="gaussian"), [0.3, -1.0]),
        (Text("characters").fit(["abc"]), ctc, [[4, 5, 3, 0], [6, 3, 0, 0]]),
        (Text("characters").fit(["abc"]), attend, [[4, 5, 3, 0], [6, 3, 0, 0]]),
        (Text("characters").fit(["abc"]), partial(attend, coverage=1.0, input_feeding=True), [[4, 3, 0], [6, 5, 3]]),
        (Text("characters").fit(["abc"]), generate, [[4, 5, 3, 0], [6, 3, 0, 0]]),
    ],
)
def test_a_loss_that_is_off_by_a_hundredth_is_caught(target: Any, head: Any, y: Any) -> None:
    """For every head: its loss equals the reference, and 1.01 times that does not."""
    torch.manual_seed(5)
    layer = nn.Linear(D, D)
    module = head(H, target, layer)
    values = torch.tensor(y)
    lengths = (values != 0).sum(dim=1) if isinstance(target, Text) else torch.tensor([4, 2])
    x = torch.randn(2, 4, D)
    examples = Batch(x, torch.tensor([4, 2]), values, lengths if values.ndim > 1 and target.ragged else None)
    model = Model({"t": Scaled()}, Simple(), {"t": module}).eval()
    reference = reference_loss(model, "t", examples)
    assert reference is not None
    assert reference.actual == pytest.approx(reference.expected, rel=1e-5), reference
    loss = module.loss
    module.loss = lambda encoded, batch: (loss(encoded, batch)[0] * 1.01, loss(encoded, batch)[1])  # type: ignore[method-assign]
    wrong = reference_loss(model, "t", examples)
    assert wrong is not None
    assert wrong.actual != pytest.approx(wrong.expected, rel=5e-4)


def test_label_smoothing_left_on_in_evaluation_is_caught() -> None:
    class Smoothed(Mean):
        target = Label().fit(["a", "b", "c"])

        def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
            assert batch.y is not None
            total = nn.functional.cross_entropy(
                self.logits(encoded), batch.y, reduction="sum", label_smoothing=0.1 if self.defect else 0.0
            )
            return total, torch.tensor(batch.size)

        def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
            rows = self.logits(encoded).softmax(dim=-1).tolist()
            return [Prediction("a", max(row), dict(zip("abc", row, strict=True))) for row in rows]

    assert REFERENCE not in failed(check(head=Smoothed()))
    assert "the loss and the predictions disagree" in failed(check(head=Smoothed("smoothing")))[REFERENCE]


# ---- recipes: models that are saved and loaded, and empty inputs


def small_recipe(folder: Path) -> str:
    for split in ("train", "dev", "test"):
        (folder / f"{split}.tsv").write_text("a good film\tyes\nno\tno\nnot good at all\tno\na film\tyes\n" * 3)
    path = folder / "r.yaml"
    path.write_text(
        f"tasks: {{mood: {{use: sentiment, folder: {folder}}}}}\nencoder: {{use: gru, dim: 8, hidden: 6}}\n"
        "train: {steps: 2}\n"
    )
    return str(path)


def test_what_a_folder_lacks_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two symbols are swapped in the vocabulary that is saved: the weights are equal, the predictions are not."""
    recipe = recipes.load(small_recipe(tmp_path))
    contract = "a model loaded from its folder predicts the same"
    assert contract not in failed(list(prove_recipe(recipe)))
    save_model = recipe_contracts.save_model

    def save_changed(model: Model, folder: Path, resolved: str, fields: Any) -> None:
        changed = {}
        for name, (input_field, target_field) in fields.items():
            state = copy.deepcopy(input_field.state())
            symbols = state["symbols"]
            symbols[0], symbols[1] = symbols[1], symbols[0]
            changed[name] = (input_field.restore(state), target_field)
        save_model(model, folder, resolved, changed)

    monkeypatch.setattr(recipe_contracts, "save_model", save_changed)
    assert contract in failed(list(prove_recipe(recipe)))


def test_an_empty_input_that_is_encoded_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.load(small_recipe(tmp_path))
    contract = "an empty input is refused"
    assert contract not in failed(list(prove_recipe(recipe)))
    encode = Tokens.encode
    monkeypatch.setattr(Tokens, "encode", lambda self, value: encode(self, value or "a"))
    assert "it was encoded like any other input" in failed(list(prove_recipe(recipe)))[contract]

    def broken(self: Tokens, value: Any) -> Any:
        return encode(self, value) if value else {}["missing"]

    monkeypatch.setattr(Tokens, "encode", broken)
    assert "ends in KeyError" in failed(list(prove_recipe(recipe)))[contract]


# ---- every bundled recipe


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(bundled.find_files()))
def test_every_bundled_recipe_passes_within_half_a_minute(name: str) -> None:
    """In a process of its own, whose CPU time is measured. Recipes whose data are missing are skipped."""
    usage_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(
        [sys.executable, "-m", "seqkit", "prove", name, "--json"],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"SEQKIT_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    usage_after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = usage_after.ru_utime + usage_after.ru_stime - usage_before.ru_utime - usage_before.ru_stime
    print(f"{name}: {seconds:.1f} s")
    missing_extra = "needs an extra" in process.stderr
    missing_data = "is not on this machine" in process.stderr and "SEQKIT_DATA" not in os.environ
    if process.returncode == 2 and (missing_data or missing_extra):
        pytest.skip(process.stderr.splitlines()[0])  # the message names what is missing and how to get it
    assert process.returncode == 0, process.stdout + process.stderr
    results = [json.loads(line) for line in process.stdout.splitlines()]
    assert len({result["contract"] for result in results}) >= 11
    assert seconds < 30, f"{seconds:.0f} s"


# ---- the command


def test_the_command_on_a_recipe_and_on_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("she sells sea shells on the sea shore. " * 40)
    path = tmp_path / "r.yaml"
    path.write_text(
        f"tasks: {{lm: {{use: charlm, file: {tmp_path}/text.txt, window: 16, piece: 100}}}}\n"
        "encoder: {use: gru, dim: 8, hidden: 12}\ntrain: {steps: 3, batch: 4}\n"
    )
    done = CliRunner().invoke(main, ["prove", str(path)])
    assert done.exit_code == 0, done.output
    assert "ok    other examples in the batch do not matter" in done.stdout
    assert "encoder gru" in done.stdout
    assert CliRunner().invoke(main, ["run", str(path), "--out", str(tmp_path / "run"), "--quiet"]).exit_code == 0
    done = CliRunner().invoke(main, ["prove", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    assert all(json.loads(line)["passed"] for line in done.stdout.splitlines())


@pytest.mark.parametrize("encoder", ["{use: slstm, hidden: 6, heads: 3}", "{use: lstm, layers: 3, highway: true}"])
def test_options_that_exclude_each_other_are_left_out(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    monkeypatch.setattr(recipe_contracts, "prove_encoder", lambda _, dim, label: labels.append(label) or iter(()))
    text = f"tasks: {{charlm: {{source: python-docs}}}}\nencoder: {encoder}\n"
    list(recipe_contracts._prove_encoder_options(recipes.parse(text.encode(), "r.yaml"), "cpu"))
    pairs = [(first, second) for first in (False, True) for second in (False, True)]
    shown = {pair: [label for label in labels if "residual={}, highway={}".format(*pair) in label] for pair in pairs}
    assert not shown[True, True]
    counts = {pair: {label.rpartition("layers=")[2] for label in of_pair} for pair, of_pair in shown.items()}
    assert "1)" not in counts[False, True], "the width of one layer differs from that of its input"
    assert "2)" in counts[False, True]
    assert {"1)", "2)"} <= counts[True, False] & counts[False, False]
