"""Text from a model: continued by a language model, or written for an input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from seqkit.data.store import memory_split
from seqkit.data.task_data import TaskData
from seqkit.decoding.sampling import sample
from seqkit.errors import UsageError
from seqkit.interfaces import Batch, Encoded, State
from seqkit.model import Model
from seqkit.types import END, START, UNKNOWN, Example, Field, Prediction, Task
from seqkit.uploads import read_back, upload

_RECENT = 64
"""Symbols that are decoded together while writing, so that the end of a long text costs no more than its start."""


@torch.inference_mode()
def write(
    model: Model,
    name: str,
    task_and_fields: tuple[Task, Field, Field],
    *,
    prompt: str,
    count: int = 1,
    length: int = 500,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> list[str]:
    """`count` texts that the model writes for one input.

    Args:
        name: of the task.
        task_and_fields: the task, and its fitted input and target fields.
        prompt: the input.
        length: most symbols of a text.
        temperature, top_k, top_p: how symbols are drawn, see `seqkit.decoding.sampling`.
        seed: of the draws.

    Raises:
        UsageError: the task's head does not write, or the task cannot read the prompt or does not know a symbol of it.
    """
    task, input_field, target_field = task_and_fields
    head: Any = model.head(name)
    if not head.writes:
        raise UsageError(f"task {name} does not write: its head is {type(head).__name__}")
    value = _read_prompt(task, input_field, prompt)
    model.eval()
    split = memory_split([Example(value, None, "prompt")], input_field, task.limit)
    data = TaskData(name, task, input_field, target_field, {"predict": split})
    # Every text is drawn from the same encoded steps, so they are computed once.
    encoded = model.encode(name, data.batch("predict", np.zeros(1, dtype=np.int64)).to(model.device))
    repeated = Encoded(
        encoded.steps.expand(count, -1, -1),
        encoded.lengths.expand(count),
        encoded.last.expand(count, -1),
        tuple,
    )
    texts: list[str] = head.write(
        repeated,
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=torch.Generator().manual_seed(seed),
    )
    if task.finish is not None:
        texts = [str(task.finish(value, Prediction(text)).value) for text in texts]
    return texts


def _read_prompt(task: Task, input_field: Field, prompt: str) -> Any:
    """The input that the prompt stands for.

    Raises:
        UsageError: the task cannot read it, or does not know a symbol of it.
    """
    try:
        value = (task.parse or input_field.parse)(prompt)
        symbols = input_field.encode(value)
    except ValueError as error:
        raise UsageError(f"the prompt {prompt!r} {error}") from error
    if input_field.count_unknown(symbols):
        vocabulary: Any = getattr(input_field, "vocabulary", None)
        is_short = vocabulary is not None and len(vocabulary.symbols) <= 40
        hint = f"; it knows: {', '.join(sorted(vocabulary.symbols))}" if is_short else ""
        raise UsageError(f"the prompt {prompt!r} has symbols that the model does not know{hint}")
    return value


@torch.inference_mode()
def generate(
    model: Model,
    name: str,
    input_field: Field,
    *,
    prompt: str = "",
    length: int = 500,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Text that continues a prompt, symbol by symbol, each drawn from the model's distribution of the next one.

    Arguments as for `write`.

    Raises:
        UsageError: the task's head does not predict what comes next, or does not know a symbol of the prompt.
    """
    model.eval()
    head: Any = model.head(name)
    if not head.generates:
        raise UsageError(f"task {name} does not generate: its head is {type(head).__name__}")
    symbols = [START, *(int(i) for i in input_field.encode(prompt))] if prompt else [START]
    if UNKNOWN in symbols:
        unknown = sorted({c for c in prompt if UNKNOWN in input_field.encode(c)})
        raise UsageError(
            f"the prompt has symbols that the model does not know: {' '.join(map(repr, unknown)) or 'some'}"
        )
    generator = torch.Generator().manual_seed(seed)
    state: State | None = None
    step = upload(torch.tensor([symbols]), model.device)
    # The prompt is decoded too: the field decides whether there is a space between it and what follows.
    text = _IncrementalText(input_field, symbols[1:])
    for _ in range(length):
        encoded = model.encode(name, Batch(step, torch.tensor([step.shape[1]])), state)
        state = encoded.state
        (logits,) = read_back(head.logits(encoded.steps[:, -1]).float())
        logits[:, :START] = -torch.inf  # padding and the unknown symbol are not text
        symbol = int(sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator))
        if symbol == END:
            return
        if symbol == START:  # one document ends and the next begins
            yield "\n"
            text = _IncrementalText(input_field, [])
        elif addition := text.add(symbol):
            yield addition
        step = upload(torch.tensor([[symbol]]), model.device)


class _IncrementalText:
    """Decodes symbols one at a time. How one is written may depend on those before it: spaces, bytes of a character.

    Args:
        symbols: those that have been written already.
    """

    def __init__(self, field: Field, symbols: list[int]) -> None:
        self.field = field
        self.recent = symbols[-_RECENT:]
        self.written = self._decode() if self.recent else ""

    def add(self, symbol: int) -> str:
        """What this symbol adds to the text; empty while a character of several bytes is incomplete."""
        self.recent.append(symbol)
        text = self._decode()
        if text.endswith("\ufffd"):
            return ""
        addition = text[len(self.written) :]
        if len(self.recent) > _RECENT:
            self.recent = self.recent[-8:]
            text = self._decode()
        self.written = text
        return addition

    def _decode(self) -> str:
        return str(self.field.decode(np.array(self.recent)))
