"""Text from a language model."""

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

_RECENT = 64
"""Symbols that are decoded together when writing, so that the end of a long text costs no more than its start."""


@torch.inference_mode()
def write(
    model: Model,
    name: str,
    parts: tuple[Task, Field, Field],
    *,
    prompt: str,
    count: int = 1,
    length: int = 500,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> list[str]:
    """`count` texts drawn from what the model makes of one input.

    Raises:
        UsageError: the task's head does not write, or the task cannot read the prompt or does not know a symbol of it.
    """
    task, input_field, target_field = parts
    head: Any = model.head(name)
    if not head.writes:
        raise UsageError(f"task {name} does not write: its head is {type(head).__name__}")
    try:
        given = (task.parse or input_field.parse)(prompt)
        symbols = input_field.encode(given)
    except ValueError as error:
        raise UsageError(f"the prompt {prompt!r} {error}") from error
    if input_field.count_unknown(symbols):
        known: Any = getattr(input_field, "vocabulary", None)
        few = known is not None and len(known.symbols) <= 40
        hint = f"; it knows: {', '.join(sorted(known.symbols))}" if few else ""
        raise UsageError(f"the prompt {prompt!r} has symbols that the model does not know{hint}")
    model.eval()
    split = memory_split([Example(given, None, "prompt")], input_field, task.limit)
    data = TaskData(name, task, input_field, target_field, {"predict": split})
    # Every text is drawn from the same encoded steps, so they are worked out once.
    encoded = model.encode(name, data.batch("predict", np.zeros(1, dtype=np.int64)).to(model.device))
    many = Encoded(
        encoded.steps.expand(count, -1, -1),
        encoded.lengths.expand(count),
        encoded.last.expand(count, -1),
        tuple,
    )
    texts: list[str] = head.write(
        many,
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=torch.Generator().manual_seed(seed),
    )
    if task.finish is not None:
        texts = [str(task.finish(given, Prediction(text)).value) for text in texts]
    return texts


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
    """Text that goes on from a prompt, symbol by symbol, each drawn from the model's next-step distribution.

    Raises:
        UsageError: the task's head does not say what comes next, or the prompt has symbols that it does not know.
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
    step = torch.tensor([symbols], device=model.device)
    # The prompt comes first: whether a space stands between it and what follows is the field's to say.
    recent = symbols[1:][-_RECENT:]
    said = str(input_field.decode(np.array(recent))) if recent else ""
    for _ in range(length):
        encoded = model.encode(name, Batch(step, torch.tensor([step.shape[1]])), state)
        state = encoded.state
        logits = head.logits(encoded.steps[:, -1]).float().cpu()
        logits[:, :START] = -torch.inf  # padding and the unknown symbol are not text
        chosen = int(sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator))
        if chosen == END:
            return
        if chosen == START:  # one document ends and the next begins
            yield "\n"
            recent, said = [], ""
        else:
            # How a symbol is written may depend on those before it: spaces between words, bytes of one character.
            recent.append(chosen)
            text = str(input_field.decode(np.array(recent)))
            if not text.endswith("\ufffd"):
                yield text[len(said) :]
                if len(recent) > _RECENT:
                    recent = recent[-8:]
                    text = str(input_field.decode(np.array(recent)))
                said = text
        step = torch.tensor([[chosen]], device=model.device)
