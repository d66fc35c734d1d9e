"""What an evaluation costs beside the forward pass that it cannot do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.frame import Case, Contender, Group, Prepared, Target
from benchmarks.groups.training import OWN, RECIPES, Ours

if TYPE_CHECKING:
    from seqkit.data.task_data import TaskData
    from seqkit.model import Model

SPLIT = "dev"
WHAT = [name for name in RECIPES if name not in ("tiny", OWN)]


def trained(ours: Ours) -> Model:
    """A model after an epoch: one with its first weights marks spans everywhere, which nobody evaluates."""
    import torch

    model: Model = ours.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    for batch in ours.batches():
        total, count, _ = model.loss(ours.name, batch)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def notes(data: TaskData) -> dict[str, int]:
    from seqkit.data.evaluation import evaluation_batches

    windows = [window for _, batch in evaluation_batches(data, SPLIT) for window in batch]
    return {
        "tokens": sum(window.tokens for window in windows),
        "padded": sum(window.lengths.numel() * window.x.shape[1] for window in windows),
    }


def seqkit(what: str) -> Prepared:
    """Batches, loss, decoding, predictions as a user gets them, and the metric."""
    from seqkit.inference.evaluate import evaluate

    ours = Ours(what)
    model = trained(ours)

    def run() -> None:
        evaluate(model, ours.part, SPLIT)

    return Prepared(run, None, notes(ours.part))


def forward(what: str) -> Prepared:
    """The same batches, made beforehand, through the model up to the loss."""
    import torch

    from seqkit.data.evaluation import evaluation_batches

    ours = Ours(what)
    model = trained(ours)
    batches = [batch for _, batch in evaluation_batches(ours.part, SPLIT)]

    @torch.inference_mode()
    def run() -> None:
        for windows in batches:
            state = None
            for window in windows:
                before = None if state is None else tuple(each[: window.size] for each in state)
                loss, _, encoded = model.loss(ours.name, window, before)
                loss.item()
                state = encoded.state if len(windows) > 1 else None

    return Prepared(run)


HERE = __name__
GROUP = Group(
    "evaluation",
    "A whole evaluation of the dev split (batches, loss, decoding, predictions with confidences, metric) by "
    "models trained for an epoch, compared with the forward pass up to the loss over the same batches. The ratio "
    "is the share of the evaluation that the forward pass takes.",
    [Case(name, {"what": name}, quick=name == "classification") for name in WHAT],
    [Contender("seqkit", f"{HERE}:seqkit"), Contender("forward pass", f"{HERE}:forward", yardstick=True)],
    # At most 1.2 times the forward pass is a share of at least 1 / 1.2.
    [Target("evaluation against its forward pass", "", "forward pass", 1 / 1.2, 1 / 1.1)],
)
