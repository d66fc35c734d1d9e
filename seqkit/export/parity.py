"""Does an exported model give what seqkit gives? Compared over random values, lengths and batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import torch

from seqkit.errors import RunError
from seqkit.export.program import Recording, carries_state, initial_state
from seqkit.heads.seq2seq import Seq2Seq
from seqkit.model import Model
from seqkit.types import Field

TOLERANCE: Final = 1e-5
"""The largest difference allowed; of numbers above 1, relative to them."""

SHAPES: Final = ((1, 1), (1, 23), (2, 5), (5, 77), (7, 12))
"""Batches and steps that are compared. None is that of the recorded example."""

DECODER_STEPS: Final = 4

Runner: TypeAlias = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Runs an exported model: named arrays in, named arrays out."""


def draw_batch(
    field: Field, rows: int, steps: int, generator: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T, ...) random values as a batch has them, padded with zeros, and (B,) lengths, one of which is T."""
    lengths = generator.integers(1, steps + 1, rows)
    lengths[generator.integers(rows)] = steps
    values = [field.sample(generator, int(length)) for length in lengths]
    first = values[0]
    x = np.zeros((rows, steps, *first.shape[1:]), np.int64 if first.dtype.kind in "iub" else np.float32)
    for row, value in zip(x, values, strict=True):
        row[: len(value)] = value
    return torch.from_numpy(x), torch.from_numpy(lengths)


def compare_model(model: Model, task: str, field: Field, recording: Recording, run: Runner) -> float:
    """The largest difference between what the exported model and the model give, by the rule of `TOLERANCE`."""
    head, generator = model.head(task), np.random.default_rng(0)
    worst = 0.0
    for rows, steps in SHAPES:
        x, lengths = draw_batch(field, rows, steps, generator)
        state = initial_state(model, rows) if carries_state(head) else ()
        state = tuple(torch.from_numpy(_near(tensor.numpy(), generator)) for tensor in state)
        with torch.inference_mode():
            expected = {name: tensor.numpy() for name, tensor in model(x, lengths, *state, task=task).items()}
        fed = {"x": x.numpy(), "lengths": lengths.numpy()}
        fed |= {f"state_{number}": tensor.numpy() for number, tensor in enumerate(state)}
        worst = max(
            worst, _largest(expected, run(fed), recording.outputs, expected.get("output_lengths", lengths.numpy()))
        )
    return worst


def compare_step(model: Model, task: str, field: Field, recording: Recording, run: Runner) -> float:
    """As `compare_model`, for the step of a decoder, from its first state on over some symbols."""
    head, generator = model.head(task), np.random.default_rng(1)
    assert isinstance(head, Seq2Seq)
    worst = 0.0
    for rows, steps in SHAPES:
        x, lengths = draw_batch(field, rows, steps, generator)
        with torch.inference_mode():
            outputs = model(x, lengths, task=task)
            memory_lengths = outputs.pop("output_lengths", lengths).numpy()
            carried = dict(outputs)
            for _ in range(DECODER_STEPS):
                symbols = torch.from_numpy(generator.integers(1, head.target.size, rows))
                result = head.step_outputs(symbols, carried)
                expected = {(f"next_{name}" if name in carried else name): t.numpy() for name, t in result.items()}
                fed = {"symbols": symbols.numpy()} | {name: tensor.numpy() for name, tensor in carried.items()}
                worst = max(worst, _largest(expected, run(fed), recording.outputs, memory_lengths))
                carried |= {name: tensor for name, tensor in result.items() if name in carried}
    return worst


def check(difference: float, subject: str) -> None:
    """Raise RunError if the difference is too large."""
    if not difference <= TOLERANCE:
        raise RunError(
            f"{subject} and seqkit differ by {difference:.2g}, which is more than {TOLERANCE:g}; nothing was written"
        )


def _near(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return (array + 0.3 * generator.standard_normal(array.shape)).astype(np.float32)


def _largest(
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    axes: Mapping[str, tuple[str, ...]],
    lengths: np.ndarray,
) -> float:
    """Of all outputs, at real steps."""
    worst = 0.0
    for name, a in expected.items():
        for one, other in _real(a, np.asarray(actual[name]), axes[name], lengths):
            if one.shape != other.shape:
                return float("inf")
            difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
            # Infinities are equal to themselves alone; NaN to nothing.
            difference[one == other] = 0.0
            relative = difference / np.maximum(1.0, np.abs(one.astype(np.float64)))
            worst = max(worst, float(relative.max(initial=0.0)) if not np.isnan(relative).any() else float("inf"))
    return worst


def _real(
    a: np.ndarray, b: np.ndarray, axes: tuple[str, ...], lengths: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if "steps" not in axes:
        yield a, b
        return
    for x, y, length in zip(a, b, lengths.tolist(), strict=True):
        yield x[:length], y[:length]


def torch_runner(program: torch.export.ExportedProgram, recording: Recording) -> Runner:
    """Runs a program of `torch.export`."""
    module: Any = program.module()

    def run(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = module(*(torch.from_numpy(arrays[name]) for name in recording.inputs))
        return {name: tensor.numpy() for name, tensor in zip(recording.outputs, outputs, strict=True)}

    return run
