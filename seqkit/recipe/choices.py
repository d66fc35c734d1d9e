"""The factories that `use:` can name: plugins by kind, and seqkit's own optimisers and schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seqkit.errors import PluginError, name_hint


def lookup(group: str, name: str) -> Callable[..., Any]:
    """The factory of this name in a group: a kind of plugin, or one of seqkit's own tables.

    Raises:
        PluginError: the name is unknown, or its plugin does not load.
    """
    table = _own_table(group)
    if table is None:
        from seqkit.registry import registry

        return registry.load(group, name)
    if name not in table:
        raise PluginError(f"no {group.removesuffix('s')} is called '{name}'; {name_hint(name, list(table))}")
    return table[name]


def names_in(group: str) -> list[str]:
    """All names of a group, from metadata alone."""
    table = _own_table(group)
    if table is None:
        from seqkit.registry import registry

        return sorted({plugin.name for plugin in registry.installed(group)})
    return sorted(table)


def _own_table(group: str) -> Mapping[str, Callable[..., Any]] | None:
    """The table of a group that is seqkit's own; None for a kind of plugin."""
    from seqkit.optim import optimizers, schedules
    from seqkit.registry import registry

    if group in registry.KINDS:
        return None
    tables: dict[str, Any] = {"optimizers": optimizers.OPTIMIZERS, "schedules": schedules.SCHEDULES}
    if group not in tables:
        raise PluginError(f"no group of choices is called '{group}': {', '.join([*registry.KINDS, *tables])}")
    table: Mapping[str, Callable[..., Any]] = tables[group]
    return table
