"""What is known of a plugin that was looked at from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from seqkit.registry.distribution import Distribution
from seqkit.registry.import_errors import Diagnosis
from seqkit.registry.registry import Plugin
from seqkit.types import JSON

RemarkLevel: TypeAlias = Literal["ok", "note", "missing", "bad"]


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know about a plugin. `state`: how bad it is."""

    state: RemarkLevel
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}" if self.advice else self.what


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one plugin.

    Attributes:
        plugin: which.
        remarks: everything worth saying, the worst first.
        loaded: whether its import brings what the entry point names; None: it was not tried.
        diagnosis: why it does not load, if it does not.
        seconds: how long the import took.
        about: the first line of its docstring.
        options: of its recipe options, each `{"name", "type", "default", "about"}`.
    """

    plugin: Plugin
    remarks: tuple[Remark, ...] = ()
    loaded: bool | None = None
    diagnosis: Diagnosis | None = None
    seconds: float | None = None
    about: str = ""
    options: tuple[Mapping[str, JSON], ...] = ()

    @property
    def state(self) -> RemarkLevel:
        """The worst of the remarks."""
        return max((remark.state for remark in self.remarks), key=LEVEL_ORDER.index, default="ok")

    @property
    def trace(self) -> str:
        """The traceback of a plugin that does not load."""
        return self.diagnosis.trace if self.diagnosis else ""

    def facts(self) -> dict[str, JSON]:
        """As JSON."""
        plugin = {
            name: getattr(self.plugin, name) for name in ("kind", "name", "distribution", "version", "value", "needs")
        }
        return {
            **plugin,
            "state": self.state,
            "loaded": self.loaded,
            "seconds": self.seconds,
            "cause": self.diagnosis.cause if self.diagnosis else "",
            "where": self.diagnosis.where if self.diagnosis else "",
            "remarks": [dataclasses.asdict(remark) for remark in self.remarks],
            "traceback": self.trace,
            "about": self.about,
            "options": list(self.options),
        }


LEVEL_ORDER: Final[tuple[RemarkLevel, ...]] = ("ok", "note", "missing", "bad")


def distribution_of(plugin: Plugin) -> Distribution:
    return Distribution(plugin.distribution, [plugin.module])
