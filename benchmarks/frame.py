"""What a benchmark is made of: groups of cases, and the contenders that run them. Imports neither torch nor seqkit."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Arrays: TypeAlias = Mapping[str, Any]
"""Names to numpy arrays."""

GROUPS = (
    "kernels",
    "busy",
    "bf16",
    "training",
    "characters",
    "translation",
    "data",
    "encoding",
    "decoding",
    "evaluation",
    "prediction",
    "streaming",
    "quantised",
    "startup",
    "growth",
    "step",
    "memory",
    "through_time",
    "dropin",
    "serving",
    "ranks",
    "shards",
)


SHARED_FOLDER = "SEQKIT_BENCHMARK_FOLDER"
"""The environment variable with the folder that all contenders of a group share, which goes when the group is done."""


@dataclass(frozen=True)
class Prepared:
    """A contender that is ready to run a case.

    Attributes:
        run: one round; gives the seconds that count, or None where all of it counts.
        outputs: what it computes, to be compared with the others before anything is timed; None: nothing to compare.
        notes: facts about the case, such as `tokens` (valid steps a round) and `padded` (steps with the padding).
    """

    run: Callable[[], float | None]
    outputs: Callable[[], Arrays] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """Somebody who runs the cases of a group.

    Attributes:
        name: as the tables say it.
        prepare: `module:function`, which takes the options of a case and gives a `Prepared`.
        needs: modules that must be there; without them it is left out, and the table says so.
        only: names of the cases that it runs; empty: all.
        yardstick: a bound, not a rival: it computes nothing that could be compared.
    """

    name: str
    prepare: str
    needs: Sequence[str] = ()
    only: Sequence[str] = ()
    yardstick: bool = False

    def load(self) -> Callable[..., Prepared]:
        module, _, function = self.prepare.partition(":")
        prepare: Callable[..., Prepared] = getattr(importlib.import_module(module), function)
        return prepare


@dataclass(frozen=True)
class Case:
    """One thing to measure: its name, and the options that every contender gets."""

    name: str
    options: Mapping[str, Any]
    quick: bool = False
    """Whether it is measured under --quick too."""
    on_request: bool = False
    """Whether it is measured only where --case names it: it takes minutes or hours, or gigabytes of disk."""
    quick_options: Mapping[str, Any] = field(default_factory=dict)
    """What takes the place of some options under --quick."""


@dataclass(frozen=True)
class Target:
    """What is to be reached: the contender's time over ours, in every case whose name starts with `cases`."""

    what: str
    cases: str
    against: str
    ratio: float
    aim: float


@dataclass(frozen=True)
class Limit:
    """What a figure that is derived from all cases is to stay below."""

    what: str
    figure: str
    most: float
    aim: float


@dataclass(frozen=True)
class Group:
    """Cases and contenders that belong together; the first contender is ours.

    Attributes:
        rounds: how often each contender runs each case.
        tolerance: how far apart two contenders may be, relative to the largest number of an array.
        derive: further figures from the finished cases, by name.
        limits: what some of these are to stay below.
    """

    name: str
    about: str
    cases: Sequence[Case]
    contenders: Sequence[Contender]
    targets: Sequence[Target] = ()
    rounds: int = 9
    tolerance: float = 1e-4
    derive: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]] | None = None
    limits: Sequence[Limit] = ()


def load_group(name: str) -> Group:
    """The group of this name."""
    group = importlib.import_module(f"benchmarks.groups.{name}").GROUP
    assert isinstance(group, Group)
    return group
