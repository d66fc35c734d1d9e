"""The options that a recipe has itself, beside those of the factories that it names.

Each function is a schema, like the factories of plugins: its keyword-only arguments are the options, with their
types, ranges and defaults, and its docstring describes them. None of them is ever called.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le

from seqkit.types import Count, Positive

SECTIONS = ("tasks", "encoder", "init", "train", "expect")
TASK_OPTIONS = ("use", "weight", "inputs_of", "head")
ENCODER_OPTIONS = ("use", "dim")
HEAD_OPTIONS = ("use",)


def top_options(*, seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 1, device: str = "auto") -> None:
    """What a recipe says of itself.

    Args:
        seed: of everything random: initial weights, order of data, dropout.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
    """


def task_options(*, weight: Positive = 1.0, inputs_of: str | None = None) -> None:
    """What a recipe says of a task, beside the task's own options.

    Args:
        weight: what this task's loss is multiplied by in joint training.
        inputs_of: the task of the recipe that has the same examples: the same inputs with the same ids, in the same
            order. They are read as that task reads them, and a batch passes through input layer and encoder once, for
            the heads of both. null: the examples are its own.
    """


def encoder_options(*, dim: Count = 128) -> None:
    """What a recipe says of the encoder, beside the encoder's own options.

    Args:
        dim: width of the steps that go into the encoder, which all tasks share.
    """


def bounds_options(
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    seeds: Count | None = None,
    minutes: Positive | None = None,
) -> None:
    """What a score is expected to be, and what it takes to show it: `seqkit reproduce` does.

    Args:
        at_least: the score is this or more.
        at_most: the score is this or less.
        seeds: how many seeds the score is the mean of (null: one).
        minutes: how long one run takes on two cores.
    """
