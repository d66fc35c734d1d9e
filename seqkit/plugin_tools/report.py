"""What is known of a plugin after it was imported in another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from seqkit.registry.distribution import Distribution
from seqkit.registry.import_errors import Diagnosis
from seqkit.registry.registry import Plugin
from seqkit.types import JSON

RemarkLevel: TypeAlias = Literal["ok", "note", "missing", "bad"]

LEVEL_ORDER: Final[tuple[RemarkLevel, ...]] = ("ok", "note", "missing", "bad")
"""From harmless to grave."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know about a plugin, and what to do about it."""

    level: RemarkLevel
    message: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.advice}" if self.advice else self.message

    def facts(self) -> dict[str, JSON]:
        """As JSON."""
        return {"state": self.level, "what": self.message, "advice": self.advice}


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one plugin.

    Attributes:
        plugin: the plugin.
        remarks: everything worth saying, the worst first.
        loaded: whether its import brings what the entry point names; None: it was not imported.
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
    def level(self) -> RemarkLevel:
        """The worst level of the remarks."""
        return max((remark.level for remark in self.remarks), key=LEVEL_ORDER.index, default="ok")

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
            "state": self.level,
            "loaded": self.loaded,
            "seconds": self.seconds,
            "cause": self.diagnosis.cause if self.diagnosis else "",
            "where": self.diagnosis.where if self.diagnosis else "",
            "remarks": [remark.facts() for remark in self.remarks],
            "traceback": self.trace,
            "about": self.about,
            "options": list(self.options),
        }


def distribution_of(plugin: Plugin) -> Distribution:
    """The distribution that brings a plugin."""
    return Distribution(plugin.distribution, [plugin.module])
