"""What an evaluation costs beside the forward pass that it cannot do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.frame import Case, Contender, Group, Prepared, Target
from benchmarks.groups.training import OWN_BATCHES, RECIPES, TrainingCase

if TYPE_CHECKING:
    from seqkit.data.task_data import TaskData
    from seqkit.model import Model

SPLIT = "dev"
CASES = [name for name in RECIPES if name not in ("tiny", OWN_BATCHES)]


def trained(setup: TrainingCase) -> Model:
    """A model after an epoch: one with its first weights marks spans everywhere, which nobody evaluates."""
    import torch

    model: Model = setup.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    for batch in setup.batches():
        total, count, _ = model.loss(setup.name, batch)
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


def seqkit(case: str) -> Prepared:
    """Batches, loss, decoding, predictions as a user gets them, and the metric."""
    from seqkit.inference.evaluate import evaluate

    setup = TrainingCase(case)
    model = trained(setup)

    def run() -> None:
        evaluate(model, setup.task_data, SPLIT)

    return Prepared(run, None, notes(setup.task_data))


def forward(case: str) -> Prepared:
    """The same batches, made beforehand, through the model up to the loss."""
    import torch

    from seqkit.data.evaluation import evaluation_batches

    setup = TrainingCase(case)
    model = trained(setup)
    batches = [batch for _, batch in evaluation_batches(setup.task_data, SPLIT)]

    @torch.inference_mode()
    def run() -> None:
        for windows in batches:
            state = None
            for window in windows:
                previous_state = None if state is None else tuple(tensor[: window.size] for tensor in state)
                loss, _, encoded = model.loss(setup.name, window, previous_state)
                loss.item()
                state = encoded.state if len(windows) > 1 else None

    return Prepared(run)


HERE = __name__
GROUP = Group(
    "evaluation",
    "A whole evaluation of the dev split (batches, loss, decoding, predictions with confidences, metric) by "
    "models trained for an epoch, compared with the forward pass up to the loss over the same batches. The ratio "
    "is the share of the evaluation that the forward pass takes.",
    [Case(name, {"case": name}, quick=name == "classification") for name in CASES],
    [Contender("seqkit", f"{HERE}:seqkit"), Contender("forward pass", f"{HERE}:forward", yardstick=True)],
    # At most 1.2 times the forward pass is a share of at least 1 / 1.2.
    [Target("evaluation against its forward pass", "", "forward pass", 1 / 1.2, 1 / 1.1)],
)
