"""Models of whole recipes that are trained for two steps: what export and other uses of a model need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from seqkit import recipe as recipes
from seqkit.experiments.prepare import prepare_data, tasks_and_fields
from seqkit.interfaces import Batch
from seqkit.model import build_model, save_model
from seqkit.recipe import Recipe
from seqkit.runs.progress import Progress


def write_model(folder: Path, recipe: Recipe) -> Path:
    """Save the model of a recipe after two steps of gradient descent."""
    with Progress(quiet=True) as progress:
        data = prepare_data(recipe, progress, lambda line: None)
    fitted = tasks_and_fields(data)
    model = build_model(recipe, fitted)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        for name, task_data in data.items():
            if task_data.task.window is None:
                batch = task_data.batch("train", np.arange(8) + 8 * step)
            else:
                x = torch.randint(4, task_data.input.size, (4, 17))
                batch = Batch(x[:, :-1], torch.full((4,), 16), x[:, 1:], torch.full((4,), 16))
            total, count, _ = model.loss(name, batch)
            (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    save_model(model, folder, recipe.resolved(), {name: (one, other) for name, (_, one, other) in fitted.items()})
    return folder


def model_of(folder: Path, text: str) -> Path:
    """The same, of a recipe's YAML."""
    return write_model(folder, recipes.parse(text.encode(), "test.yaml"))
