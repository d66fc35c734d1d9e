"""The lazy optimiser and sparse gradients, compared with a dense optimiser that gets the rows that were read."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit import errors
from seqkit.data.task_data import TaskData
from seqkit.fields import Next
from seqkit.heads import language
from seqkit.layers.embedding import Embedding
from seqkit.layers.words import WordLayer
from seqkit.optim import optimizers
from seqkit.optim.gradients import clip_gradients, dense_gradients, global_norm, gradient_values
from seqkit.optim.lazy_adamw import LazyAdamW, set_sparse_gradients
from seqkit.optim.optimizers import lazy_adamw
from seqkit.optim.schedules import cosine
from seqkit.runs import checkpoint, state_tree
from seqkit.training import loop, nonfinite
from seqkit.training.layer_statistics import weights_and_gradients
from seqkit.training.step import mean_gradients
from seqkit.types import Choice
from tests.helpers import small

V, D = 40, 16
LR, DECAY, CLIP = 0.05, 0.1, 0.15


class Net(nn.Module):
    """A table of vectors, a linear layer, and a number as loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table, self.out = Embedding(V, D), nn.Linear(D, 3)

    def loss(self, x: Tensor) -> Tensor:
        steps, _ = self.table(x, torch.full((len(x),), x.shape[1]))
        return self.out(steps.tanh()).square().sum(dim=-1).sin().sum()


def draw_batches(steps: int, parts: int) -> list[list[Tensor]]:
    """The symbols (4, 5) of each batch: few of the table, some of them often, and padding."""
    generator = torch.Generator().manual_seed(2)
    return [
        [(torch.rand(4, 5, generator=generator) ** 3 * (V - 10)).long() for _ in range(parts)] for _ in range(steps)
    ]


class MaskedAdam:
    """Adam with decoupled decay, written out, in which a row that was not read does not change."""

    def __init__(self, model: Net) -> None:
        self.model, self.steps = model, 0
        self.first = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        self.second = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    @torch.no_grad()
    def step(self, lr: float, read: Tensor) -> None:
        self.steps += 1
        for name, p in self.model.named_parameters():
            assert p.grad is not None
            moved = torch.ones(len(p), dtype=torch.bool)
            if name == "table.weight":
                moved = torch.zeros(V, dtype=torch.bool).index_fill(0, read[read != 0], True)
            moved = moved.view(-1, *[1] * (p.ndim - 1))
            first = 0.9 * self.first[name] + 0.1 * p.grad
            second = 0.999 * self.second[name] + 0.001 * p.grad.square()
            size = (second / (1 - 0.999**self.steps)).sqrt() + 1e-8
            new = p * (1 - lr * (DECAY if p.ndim > 1 else 0.0)) - lr * first / (1 - 0.9**self.steps) / size
            for old, updated in ((self.first[name], first), (self.second[name], second), (p, new)):
                old.copy_(torch.where(moved, updated, old))


def test_it_is_adam_without_the_rows_that_were_not_read() -> None:
    """Fifty steps with clipping, weight decay, a schedule and two batches a step."""
    one, other = Net(), Net()
    set_sparse_gradients(one, True)
    lazy: Any = lazy_adamw(one.parameters(), lr=LR, weight_decay=DECAY)
    dense, rate = MaskedAdam(other), cosine(50, warmup=5)
    clipped = 0
    for number, parts in enumerate(draw_batches(50, 2)):
        for model in (one, other):
            model.zero_grad()
            for x in parts:
                (model.loss(x) / 40).backward()
        gradients = dense_gradients(one.parameters())
        assert one.table.weight.grad is not None
        assert one.table.weight.grad.is_sparse
        norm = global_norm(gradients)
        true = nn.utils.clip_grad_norm_(other.parameters(), CLIP)
        torch.testing.assert_close(norm, true, rtol=1e-5, atol=1e-7)
        clipped += int(norm > CLIP)
        clip_gradients(gradients, CLIP, norm)
        lr = LR * rate(number, ())
        for group in lazy.param_groups:
            group["lr"] = lr
        lazy.step()
        dense.step(lr, torch.cat(parts).flatten())
        for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-6, msg=f"{name} after step {number + 1}")
    assert 5 < clipped < 45, f"too few steps of one kind: {clipped} were clipped"
    fresh = Net().table.weight
    still = [row for row in range(V) if torch.equal(one.table.weight[row], fresh[row])]
    assert 0 in still, "padding is read and gets no gradient"
    assert set(range(V - 10, V)) <= set(still)
    assert len(still) < V / 2


def test_where_all_rows_are_read_it_is_adamw_bit_for_bit() -> None:
    everything = torch.arange(V).view(4, 10)
    weights = []
    for factory in (optimizers.adamw, lazy_adamw):
        model = Net()
        with torch.no_grad():
            model.table.weight[0].fill_(0.0)
        set_sparse_gradients(model, factory is lazy_adamw)
        optimizer = factory(model.parameters(), lr=LR)
        for _ in range(5):
            optimizer.zero_grad()
            model.loss(everything).backward()
            optimizer.step()
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_what_was_not_read_moves_under_adamw() -> None:
    """What the two do differently, so that the tests above can fail."""
    moved = []
    for factory in (optimizers.adamw, lazy_adamw):
        model = Net()
        set_sparse_gradients(model, factory is lazy_adamw)
        optimizer = factory(model.parameters(), lr=LR)
        for x in (torch.tensor([[5, 6]]), torch.tensor([[6, 7]])):
            before = model.table.weight.detach().clone()
            optimizer.zero_grad()
            model.loss(x).backward()
            optimizer.step()
        moved.append((model.table.weight != before).any(dim=1).nonzero().flatten().tolist())
    assert moved == [list(range(1, V)), [6, 7]]


def test_a_skipped_step_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: a tensor says to the optimiser that a gradient is not finite."""
    model = Net()
    set_sparse_gradients(model, True)
    optimizer: Any = lazy_adamw(model.parameters(), lr=LR)
    for bad in (False, True, False):
        optimizer.zero_grad()
        model.loss(torch.tensor([[5, 6, 5]])).backward()
        (values, *_) = dense_gradients(model.parameters())
        if bad:
            values[0, 0] = math.nan
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        moments = {key: [t.clone() for t in value.values()] for key, value in optimizer.state.items()}
        optimizer.found_inf = torch.tensor(float(bad))
        optimizer.step()
        same = all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert same == bad
        for key, tensors in moments.items():
            assert all(torch.equal(a, b) for a, b in zip(tensors, optimizer.state[key].values(), strict=True)) == bad
    assert optimizer.state[model.table.weight]["step"] == 2
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(4.0), torch.tensor(0.0)
    other = Net()
    other.load_state_dict(model.state_dict())
    set_sparse_gradients(other, True)
    twin: Any = lazy_adamw(other.parameters(), lr=LR)
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for net, factor in ((model, 4.0), (other, 1.0)):
        net.zero_grad()
        (net.loss(torch.tensor([[5, 7]])) * factor).backward()
    optimizer.step()
    twin.step()
    torch.testing.assert_close(model.table.weight, other.table.weight)


def test_a_gradient_scaler_works_with_sparse_gradients() -> None:
    """As under fp16: gradients are scaled, unscaled before they are clipped, and a step with an infinity is skipped."""
    weights = []
    for enabled in (False, True):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=enabled)
        model = Net()
        set_sparse_gradients(model, True)
        optimizer = lazy_adamw(model.parameters(), lr=LR)
        for number in range(4):
            optimizer.zero_grad()
            scaler.scale(model.loss(torch.tensor([[5, 6, 5], [7, 5, 0]]))).backward()  # type: ignore[no-untyped-call]
            gradients = dense_gradients(model.parameters())
            if enabled and number == 2:
                gradients[0][1, 3] = math.inf
            if not enabled and number == 2:
                continue
            scaler.unscale_(optimizer)
            clip_gradients(gradients, 0.5, global_norm(gradients))
            scaler.step(optimizer)
            scaler.update()
        weights.append(model.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-6)


def test_repeated_rows_are_always_summed_in_the_same_order() -> None:
    """With several threads too: twenty tries give the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        generator = torch.Generator().manual_seed(3)
        batches = [(torch.rand(64, 40, generator=generator) ** 3 * 500).long() for _ in range(3)]
        targets = torch.randn(64, 40, 64, generator=generator)
        results = set()
        for _ in range(20):
            torch.manual_seed(4)
            layer = Embedding(500, 64)
            layer.sparse = True
            for x in batches:
                steps, _ = layer(x, torch.full((64,), 40))
                (steps * targets).sum().backward()
            (values,) = dense_gradients(layer.parameters())
            results.add(values.numpy().tobytes())
        assert len(results) == 1
    finally:
        torch.set_num_threads(threads)


def test_the_sparse_gradient_equals_the_dense_one() -> None:
    x = torch.tensor([[5, 6, 5, 0], [7, 5, 0, 0]])
    gradients = []
    for enabled in (False, True):
        model = Net()
        set_sparse_gradients(model, enabled)
        for _ in range(2):
            model.loss(x).backward()
        dense_gradients(model.parameters())
        gradient = model.table.weight.grad
        assert gradient is not None
        assert gradient.is_sparse == enabled
        gradients.append(gradient.to_dense())
        if enabled:
            assert gradient.indices().flatten().tolist() == [5, 6, 7], "padding has no row"
            assert gradient_values(gradient).shape == (3, D)
            assert weights_and_gradients(model)["gradients/table/weight"].shape == (3, D)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-6)


def test_tied_weights_have_dense_gradients() -> None:
    x, weights = torch.tensor([[5, 6, 5, 9]]), []
    for enabled in (False, True):
        torch.manual_seed(1)
        layer = Embedding(12, D)
        head: Any = language(D, Next(), layer, tied=True)
        model = nn.ModuleDict({"layer": layer, "head": head})
        set_sparse_gradients(model, enabled)
        optimizer = lazy_adamw(model.parameters(), lr=LR)
        for _ in range(3):
            optimizer.zero_grad()
            steps, _ = layer(x, torch.tensor([4]))
            head.logits(steps).logsumexp(dim=-1).sum().backward()
            assert layer.weight.grad is not None
            assert not layer.weight.grad.is_sparse
            optimizer.step()
        weights.append(layer.weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-6)


def test_only_this_optimiser_asks_for_sparse_gradients() -> None:
    words = WordLayer(8, words=20, letters=9, columns=2, characters="conv", char_dim=4, char_hidden=4)
    model = nn.ModuleDict({"a": Embedding(9, 4), "b": words, "c": nn.Embedding(5, 4)})
    for use, enabled in (("lazy_adamw", True), ("adamw", False), ("sgd", False)):
        optimizer = optimizers.build_optimizer(Choice(use), model)
        assert isinstance(optimizer, LazyAdamW) == enabled
        assert [getattr(model[key], "sparse") for key in "abc"] == [enabled, enabled, False]  # noqa: B009
    set_sparse_gradients(model, True)
    x = torch.zeros(1, 3, 5, dtype=torch.int64)
    x[..., :2], x[..., 2:] = 7, 3
    words(x, torch.tensor([3]))[0].sum().backward()
    assert words.weight.grad is not None
    assert words.weight.grad.coalesce().indices().tolist() == [[7]]
    assert all(not p.grad.is_sparse for p in words.spelling.parameters() if p.grad is not None)  # type: ignore[union-attr]


# ---- in the loop


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.stream(tmp_path_factory.mktemp("text"))


def settings(**more: Any) -> Any:
    return small.settings(optimizer=Choice("lazy_adamw", {"lr": 0.01}), **more)


def test_the_loop_uses_sparse_gradients(text: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    model = small.model(text)

    def watched(state: Any, result: Any) -> Any:
        gradients = mean_gradients(state, result)
        gradient = model.get_parameter("layers.text.weight").grad
        assert gradient is not None
        seen.append(gradient.is_sparse and gradient.is_coalesced())
        return gradients

    monkeypatch.setattr(loop, "mean_gradients", watched)
    never = {0, 1, 3}  # padding, unknown and the end, of which the text has none
    before = model.get_parameter("layers.text.weight").detach().clone()
    counters = small.train(
        model, text, settings(average=0.5, accumulate=2, histograms=True), small.create_run(tmp_path / "run")
    )
    assert counters.step == len(seen) == 12
    assert all(seen)
    after = model.get_parameter("layers.text.weight")
    moved = (after != before).any(dim=1).nonzero().flatten().tolist()
    assert 5 < len(moved) < len(after)
    assert not never & set(moved), "rows that no batch read do not change"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_a_bad_sparse_gradient_is_treated_like_any(
    policy: str, late: bool, text: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under adamw: nothing of the step is applied, and the run stops, skips it or rolls back."""
    if late:
        monkeypatch.setattr(nonfinite, "NonFiniteMonitor", small.LaggingMonitor)
    outcomes = {}
    for use in ("adamw", "lazy_adamw"):
        calls, states = [0], []
        model = small.model(text)

        def harmed(state: Any, result: Any, calls: Any = calls, states: Any = states, model: Any = model) -> Any:
            calls[0] += 1
            states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            gradients = mean_gradients(state, result)
            if calls[0] == 4:
                gradient_values(model.get_parameter("layers.text.weight").grad)[-1, 0] = math.nan
            return gradients

        with monkeypatch.context() as patch:
            patch.setattr(loop, "mean_gradients", harmed)
            train_settings = small.settings(on_nan=policy, optimizer=Choice(use, {"lr": 0.01}))
            run = small.create_run(tmp_path / use)
            try:
                counters: Any = small.train(model, text, train_settings, run)
                outcomes[use] = (counters.step, counters.skipped, counters.rollbacks, counters.epoch, counters.turn)
            except errors.RunError as error:
                outcomes[use] = str(error)
        if policy == "skip":
            assert all(torch.equal(states[3][name], tensor) for name, tensor in states[4].items())
            assert outcomes[use][1] == 1  # type: ignore[index]
        if policy == "stop":
            assert "layers.text.weight was not finite" in outcomes[use] or late  # type: ignore[operator]
    assert outcomes["adamw"] == outcomes["lazy_adamw"]


def test_a_checkpoint_has_the_moments(text: TaskData, tmp_path: Path) -> None:
    run = small.create_run(tmp_path / "run")
    small.train(small.model(text), text, settings(), run)
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None
    tensors, state = checkpoint.load(newest)
    optimizer = optimizers.build_optimizer(Choice("lazy_adamw"), model := small.model(text))
    optimizer.load_state_dict(state_tree.unpack(tensors["optimizer"], state["optimizer"]))
    first = optimizer.state[model.get_parameter("layers.text.weight")]["exp_avg"]
    assert not first[0].any()
    assert first.any()
