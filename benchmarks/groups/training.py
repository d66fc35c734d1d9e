"""T1 to T3 and T7: training steps of whole models, data and weights the same for everybody."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seqkit.interfaces import Batch

OWN_BATCHES = "own batches, classification"
"""The others put batches together as they do by default: by chance."""

RECIPES: Mapping[str, str] = {
    "classification": """seed: 1
tasks:
  sentiment: {source: sst2, min_count: 2, head: {use: classify, pool: last}}
encoder: {use: lstm, dim: 128, hidden: 128, bidirectional: true}
train: {epochs: 1, batch: 32, histograms: false, log_every: 100}
""",
    "tagging": """seed: 1
tasks:
  ner: {source: wnut17, characters: none, drop: 0.0, head: {use: crf, constrain: false}}
encoder: {use: lstm, dim: 128, hidden: 128, bidirectional: true}
train: {epochs: 1, batch: 32, histograms: false, log_every: 100}
""",
    "character LM": """seed: 1
tasks:
  charlm: {source: shakespeare, window: 128}
encoder: {use: lstm, dim: 64, hidden: 256}
train: {steps: 60, batch: 32, histograms: false, log_every: 100}
""",
    "tiny": """seed: 1
tasks:
  charlm: {source: shakespeare, window: 16}
encoder: {use: gru, dim: 16, hidden: 16}
train: {steps: 500, batch: 8, histograms: false, log_every: 100}
""",
}
RECIPES = {**RECIPES, OWN_BATCHES: RECIPES["classification"]}


class TrainingCase:
    """A case as seqkit sees it: recipe, data and model, from which the others take batches and weights.

    Args:
        case: its name.
        text: its recipe; None: one of `RECIPES`.
    """

    def __init__(self, case: str, text: str | None = None) -> None:
        import torch

        from seqkit.experiments.prepare import prepare_data
        from seqkit.recipe.loader import parse
        from seqkit.runs.progress import Progress

        torch.set_flush_denormal(True)
        self.case = case
        self.text = RECIPES[case] if text is None else text
        self.recipe = parse(self.text.encode(), "benchmark.yaml")
        self.data = prepare_data(self.recipe, Progress(quiet=True), lambda line: None)
        ((self.name, self.task_data),) = self.data.items()

    def model(self) -> Any:
        from seqkit.model import build_model

        return build_model(self.recipe, {n: (data.task, data.input, data.target) for n, data in self.data.items()})

    def batches(self) -> list[Batch]:
        """What the others train on: what seqkit trains on, or random batches."""
        import numpy as np

        if self.case == OWN_BATCHES:
            order = np.random.default_rng(1).permutation(len(self.task_data.splits["train"]))
            size = self.recipe.train.batch
            return [self.task_data.batch("train", order[start : start + size]) for start in range(0, len(order), size)]
        return self.seqkit_batches()

    def seqkit_batches(self) -> list[Batch]:
        """What seqkit trains on."""
        from seqkit.data.epoch import EpochPlan

        plan = EpochPlan(self.data, self.recipe.train, seed=self.recipe.seed, epoch=0)
        turns = plan.turns[: self.recipe.train.steps]
        return [batch for turn in turns for batch in plan.batches(turn)]

    def notes(self) -> Mapping[str, Any]:
        batches = self.seqkit_batches()
        sizes = {
            "tokens": sum(b.tokens for b in batches),
            "padded": sum(b.lengths.numel() * b.x.shape[1] for b in batches),
        }
        return {**sizes, "steps": len(batches), "examples": sum(b.size for b in batches)}


def seqkit(case: str) -> Prepared:
    return whole_loop(TrainingCase(case))


def whole_loop(setup: TrainingCase) -> Prepared:
    """The whole loop: run folder, logs, clipping, checks; the evaluation at the end is not counted."""
    from seqkit.runs.interrupts import Interrupts
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run
    from seqkit.training.loop import train

    class Stopwatch(Progress):
        """Knows when the first and the last step were done."""

        def __init__(self) -> None:
            super().__init__(quiet=True)
            self.marks: list[float] = []

        def update(self, step: int, total: int | None = None, *, tokens: int = 0, **fields: object) -> None:
            self.marks.append(time.perf_counter())

    def run() -> float:
        model, watch = setup.model(), Stopwatch()
        with tempfile.TemporaryDirectory() as folder, Interrupts() as stop:
            run_folder = Run.create(
                "benchmark", text=setup.text.encode(), resolved=setup.text, out=Path(folder) / "run"
            )
            with run_folder:
                run_folder.set_status("running")
                train(
                    model, setup.data, setup.recipe.train, run_folder, seed=setup.recipe.seed, stop=stop, progress=watch
                )
        steps = len(watch.marks)
        return (watch.marks[-1] - watch.marks[0]) * steps / (steps - 1)

    def outputs() -> Mapping[str, Any]:
        import numpy as np
        import torch

        model = setup.model()
        with torch.no_grad():
            losses = [model.loss(setup.name, batch)[:2] for batch in setup.batches()[:3]]
        return {"losses": np.array([float(total / count) for total, count in losses])}

    return Prepared(run, outputs, setup.notes())


# ---- the same models by hand


def loop(setup: TrainingCase, make: Callable[[Any], tuple[list[nn.Parameter], Callable[[Batch], Tensor]]]) -> Prepared:
    """A hand-written loop. `make(weights)` gives parameters and a function from a batch to its mean loss."""
    import numpy as np
    import torch

    batches, weights = setup.batches(), setup.model().state_dict()

    def run() -> None:
        parameters, loss_of = make(weights)
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
        for number, batch in enumerate(batches):
            loss = loss_of(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if number % 100 == 0:
                loss.item()

    def outputs() -> Mapping[str, Any]:
        _, loss_of = make(weights)
        with torch.no_grad():
            return {"losses": np.array([float(loss_of(batch)) for batch in batches[:3]])}

    return Prepared(run, outputs, {})


def load(module: nn.Module, weights: Mapping[str, Tensor], prefix: str, names: Mapping[str, str] | None = None) -> None:
    """Copy what `prefix` has into a module of torch's; `names` translates."""
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(weights[prefix + (names or {}).get(name, name)])


def table_of(weights: Mapping[str, Tensor], name: str) -> nn.Embedding:
    from torch import nn

    return nn.Embedding.from_pretrained(weights[name].clone(), freeze=False, padding_idx=0)


def crf_of(weights: Mapping[str, Tensor], prefix: str) -> Any:
    """pytorch-crf's."""
    import torch
    from torchcrf import CRF

    crf = CRF(len(weights[f"{prefix}start"]), batch_first=True)
    with torch.no_grad():
        crf.transitions.copy_(weights[f"{prefix}transitions"])
        crf.start_transitions.copy_(weights[f"{prefix}start"])
        crf.end_transitions.copy_(weights[f"{prefix}end"])
    return crf


def bilstm(weights: Mapping[str, Tensor], prefix: str) -> nn.LSTM:
    """The LSTM in both directions whose cells have this prefix."""
    from torch import nn

    gates, dim = weights[f"{prefix}0.weight_ih_l0"].shape
    lstm = nn.LSTM(dim, gates // 4, batch_first=True, bidirectional=True)
    names = {
        n: ("1." if n.endswith("_reverse") else "0.") + n.removesuffix("_reverse") for n, _ in lstm.named_parameters()
    }
    load(lstm, weights, prefix, names)
    return lstm


def packed_over(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, 2 H) and both final outputs side by side."""
    import torch
    from torch.nn.utils import rnn

    packed, (h, _) = lstm(rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return rnn.pad_packed_sequence(packed, batch_first=True)[0], torch.cat([h[0], h[1]], dim=1)


def torch_packed(case: str) -> Prepared:
    """As the documentation has it: pack, layer, pad."""
    from torch import nn
    from torch.nn import functional

    setup = TrainingCase(case)
    classify = case != "tagging"

    def make(weights: Any) -> Any:
        table = table_of(weights, f"layers.{setup.name}.weight")
        lstm = bilstm(weights, "encoder.cells.")
        out = nn.Linear(2 * lstm.hidden_size, len(weights[f"heads.{setup.name}.out.bias"]))
        load(out, weights, f"heads.{setup.name}.out.")
        if classify:
            modules: list[nn.Module] = [table, lstm, out]

            def loss_of(batch: Batch) -> Tensor:
                _, last = packed_over(lstm, table(batch.x), batch.lengths)
                return functional.cross_entropy(out(last), batch.y)

        else:
            crf = crf_of(weights, f"heads.{setup.name}.")
            modules = [table, lstm, out, crf]

            def loss_of(batch: Batch) -> Tensor:
                steps, _ = packed_over(lstm, table(batch.x[..., 0].long()), batch.lengths)
                return -crf(out(steps), batch.y, mask=batch.mask, reduction="sum") / batch.lengths.sum()

        return [p for module in modules for p in module.parameters()], loss_of

    return loop(setup, make)


def language(weights: Any, setup: TrainingCase, cell: type[nn.RNNBase]) -> Any:
    """Embedding, layer, softmax over symbols; the state carried from window to window."""
    import torch
    from torch import nn
    from torch.nn import functional

    table = table_of(weights, f"layers.{setup.name}.weight")
    hidden = weights["encoder.cells.0.weight_hh_l0"].shape[1]
    layer = cell(table.embedding_dim, hidden, batch_first=True)
    load(layer, weights, "encoder.cells.0.")
    out = nn.Linear(hidden, table.num_embeddings)
    load(out, weights, f"heads.{setup.name}.")
    carried: list[Any] = [None]

    def loss_of(batch: Batch) -> Tensor:
        state = carried[0] if batch.carry else None
        steps, state = layer(table(batch.x), state)
        if torch.is_grad_enabled():
            carried[0] = tuple(tensor.detach() for tensor in state) if isinstance(state, tuple) else state.detach()
        return functional.cross_entropy(out(steps).flatten(0, 1), batch.y.flatten())

    return [*table.parameters(), *layer.parameters(), *out.parameters()], loss_of


def torch_plain(case: str) -> Prepared:
    from torch import nn

    setup = TrainingCase(case)
    return loop(setup, lambda weights: language(weights, setup, nn.GRU if case == "tiny" else nn.LSTM))


HERE = __name__
TOOLKITS = "benchmarks.toolkits"
GROUP = Group(
    "training",
    "Training steps from the same weights on the same batches. The batches are those of seqkit's sampler, which "
    "have little padding, so the others profit from it too. Flair uses the same batches but its own first "
    "weights, Ludwig its own of both. Cases: SST-2 sentences with a bidirectional LSTM of 128 (an epoch); "
    "entities of WNUT-17 with the same and a conditional random field (an epoch); characters of Shakespeare with "
    "an LSTM of 256 (60 windows of 128); a tiny GRU of 16 in batches of 8 (500 steps), which shows what the "
    "framework around it costs; and SST-2 again, where seqkit makes its own batches and the others random ones, "
    "as they do by default. Toolkits run their own training, without evaluation, saves and logs; seqkit runs its "
    "whole loop, with run folder and logs.",
    [Case(name, {"case": name}, quick=name in ("classification", "tiny")) for name in RECIPES],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender(
            "torch packed", f"{HERE}:torch_packed", needs=("torchcrf",), only=("classification", OWN_BATCHES, "tagging")
        ),
        Contender("torch, plain loop", f"{HERE}:torch_plain", only=("character LM", "tiny")),
        Contender("Flair", f"{TOOLKITS}:flair", needs=("flair",), only=("tagging",)),
        Contender("Flair, plain loop", f"{TOOLKITS}:flair_loop", needs=("flair",), only=("tagging",)),
        Contender("Lightning", f"{TOOLKITS}:lightning", needs=("lightning",), only=("tiny",)),
        Contender("Keras, jax", f"{TOOLKITS}:keras_jax", needs=("keras", "jax"), only=("classification", OWN_BATCHES)),
        Contender("Keras, torch", f"{TOOLKITS}:keras_torch", needs=("keras",), only=("classification", OWN_BATCHES)),
        Contender("Ludwig", f"{TOOLKITS}:ludwig", needs=("ludwig",), only=("classification", OWN_BATCHES)),
    ],
    [
        *(
            Target(f"SST-2 epoch, BiLSTM 128{which}", case, *rest)
            for case, which in (("classification", ", same batches"), (OWN_BATCHES, ", each its own batches"))
            for rest in (("torch packed", 2, 3.5), ("Keras, jax", 3, 5.5), ("Keras, torch", 10, 17))
        ),
        Target("entities, BiLSTM-CRF 128, its trainer", "tagging", "Flair", 4, 10),
        Target("entities, BiLSTM-CRF 128, its model", "tagging", "Flair, plain loop", 4, 10),
        Target("entities, BiLSTM-CRF 128", "tagging", "torch packed", 2, 4),
        Target("character LM", "character LM", "torch, plain loop", 1.0, 1.15),
        Target("framework tax", "tiny", "torch, plain loop", 0.9, 0.98),
        Target("framework tax", "tiny", "Lightning", 1.5, 2),
    ],
    rounds=7,
)
