"""What may stand under `use:`: plugins by kind, and the optimisers and schedules of seqkit itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seqkit.errors import PluginError, suggest


def lookup(group: str, name: str) -> Callable[..., Any]:
    """The factory of this name in a group: a kind of plugin, or a table of the house's own.

    Raises:
        PluginError: no such name, or a plugin that does not load.
    """
    table = _table(group)
    if table is None:
        from seqkit.registry import registry

        return registry.load(group, name)
    if name not in table:
        hint = suggest(name, table)
        what = group.removesuffix("s")
        raise PluginError(f"no {what} is called '{name}'; {hint + ' ' if hint else ''}there are: {', '.join(table)}")
    return table[name]


def names_in(group: str) -> list[str]:
    """All names of a group, from metadata alone."""
    table = _table(group)
    if table is None:
        from seqkit.registry import registry

        return sorted({plugin.name for plugin in registry.installed(group)})
    return sorted(table)


def _table(group: str) -> Mapping[str, Callable[..., Any]] | None:
    from seqkit.optim import optimizers, schedules
    from seqkit.registry import registry

    if group in registry.KINDS:
        return None
    tables: dict[str, Any] = {"optimizers": optimizers.OPTIMIZERS, "schedules": schedules.SCHEDULES}
    if group not in tables:
        raise PluginError(f"no group of choices is called '{group}': {', '.join([*registry.KINDS, *tables])}")
    table: Mapping[str, Callable[..., Any]] = tables[group]
    return table
