"""What a recipe may name: tasks, encoders and heads, found as entry points and imported one at a time on first use.

Discovery reads the metadata of installed distributions and imports nothing, so that a broken plugin can spoil only
the run that names it. Two plugins under one name are never settled by order: the recipe says `distribution:name`.

Environment:
    SEQKIT_PLUGINS: `off` keeps only what seqkit itself brings; `a,b` keeps, beside that, plugins or distributions
        of these names.
    SEQKIT_RAISE_PLUGIN_ERRORS: `1` lets the plugin's own exception through, for its author.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from seqkit._version import __version__
from seqkit.errors import PluginError, name_hint
from seqkit.registry.import_guard import guarded_import

if TYPE_CHECKING:
    from seqkit.registry.import_errors import Diagnosis

GROUPS = ("seqkit.tasks", "seqkit.encoders", "seqkit.heads")
KINDS = tuple(group.removeprefix("seqkit.") for group in GROUPS)
CORE = "seqkit"
"""The distribution whose plugins are always there."""


@dataclass(frozen=True, order=True, slots=True)
class Plugin:
    """One entry point, as the metadata tell it.

    Attributes:
        kind: "tasks", "encoders" or "heads".
        name: the recipe's key.
        distribution: who brings it.
        version: of that distribution.
        value: `package.module:attribute`.
        needs: what the distribution says of seqkit (`>=0.1,<0.2`), empty if nothing.
    """

    kind: str
    name: str
    distribution: str
    version: str
    value: str
    needs: str = ""

    @property
    def full_name(self) -> str:
        """`distribution:name`, which is never ambiguous."""
        return f"{self.distribution}:{self.name}"

    @property
    def module(self) -> str:
        """`package.module` of its entry point."""
        return self.value.partition(":")[0].strip()

    @property
    def compatible(self) -> bool:
        """Whether its distribution's own requirement allows this seqkit."""
        if not self.needs:
            return True
        try:
            from packaging.specifiers import InvalidSpecifier, SpecifierSet
        except ImportError:  # packaging comes with tensorboard; without it the question cannot be asked
            return True
        try:
            return SpecifierSet(self.needs).contains(__version__, prereleases=True)
        except InvalidSpecifier:
            return True


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a plugin could not be loaded, kept so that it can be quoted again."""

    plugin: Plugin
    diagnosis: Diagnosis

    def __str__(self) -> str:
        return f"{describe(self.plugin)} does not load: {self.diagnosis}"


_failures: dict[Plugin, Failure] = {}
_unreadable: dict[str, str] = {}
_preferred: ContextVar[Mapping[tuple[str, str], str]] = ContextVar("preferred", default=MappingProxyType({}))


def installed(kind: str | None = None) -> list[Plugin]:
    """Every plugin, or those of one kind, from metadata alone; sorted by (kind, name, distribution), each once."""
    kinds = KINDS if kind is None else (_known(kind),)
    found: dict[tuple[str, str, str], Plugin] = {}
    for plugin in _everything():
        if plugin.kind in kinds:
            found.setdefault((plugin.kind, plugin.name, plugin.distribution), plugin)
    return sorted(plugin for plugin in found.values() if _allowed(plugin))


def unreadable() -> dict[str, str]:
    """{where: what is wrong} of metadata that `installed` had to pass over."""
    return dict(_unreadable)


def find(kind: str, name: str) -> Plugin:
    """The plugin that `name` (or `distribution:name`) means.

    Raises:
        PluginError: there is none (with suggestions), or more than one (naming all).
    """
    plugins = installed(kind)
    matches = [plugin for plugin in plugins if name in (plugin.name, plugin.full_name)]
    chosen = _preferred.get().get((kind, name))
    matches = [plugin for plugin in matches if plugin.distribution == chosen] or matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        both = " and ".join(f"'{plugin.full_name}' ({plugin.version})" for plugin in matches)
        raise PluginError(f"two plugins offer the {_one(kind)} '{name}': {both}; write one of these full names")
    names = sorted({plugin.name for plugin in plugins})
    raise PluginError(f"no {_one(kind)} is called '{name}'; {name_hint(name, names)}{filter_note()}")


def pin(distributions: Mapping[tuple[str, str], str]) -> None:
    """From here on, a (kind, name) that several bring means that of this distribution: what a run has recorded."""
    _preferred.set({**_preferred.get(), **distributions})


def filter_note() -> str:
    """What to add to a message about something that is not there."""
    return "" if os.environ.get("SEQKIT_PLUGINS") is None else " (SEQKIT_PLUGINS or --no-plugins hides some)"


def load(kind: str, name: str) -> Callable[..., Any]:
    """The factory behind a name, imported now if it was not yet.

    Whatever the plugin's import does - raise, exit, pretend a Ctrl-C, print, take over signals - stays inside: it
    becomes one sentence that names the distribution. Only a real Ctrl-C comes through.

    Raises:
        PluginError: unknown name, two plugins with this name, a plugin for another seqkit, or a broken one.
    """
    plugin = find(kind, name)
    if not plugin.compatible:
        raise PluginError(
            f"{describe(plugin)} needs seqkit{plugin.needs}, and this is seqkit {__version__}; "
            f"install a version of {plugin.distribution} made for it"
        )
    if plugin in _failures:
        raise PluginError(str(_failures[plugin]))
    try:
        with guarded_import(f"{describe(plugin)} ({plugin.value})", _files_of(plugin)) as interrupted:
            value = import_(plugin)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and interrupted():
            raise
        if os.environ.get("SEQKIT_RAISE_PLUGIN_ERRORS") == "1":
            raise
        from seqkit.registry.import_errors import diagnose

        failure = Failure(plugin, diagnose(error, plugin.distribution, plugin.value))
        _failures[plugin] = failure
        raise PluginError(str(failure)) from error
    return value


def mark_failing(plugin: Plugin, diagnosis: Diagnosis) -> None:
    """Do not import this plugin in this process: it is known from outside that it does not load."""
    _failures[plugin] = Failure(plugin, diagnosis)


def failures() -> list[Failure]:
    """What failed to load so far in this process."""
    return sorted(_failures.values(), key=lambda failure: failure.plugin)


def import_(plugin: Plugin) -> Callable[..., Any]:
    """What the entry point names, whatever its import does: use `load`, which contains it."""
    point = importlib.metadata.EntryPoint(plugin.name, plugin.value, f"seqkit.{plugin.kind}")
    value = point.load()
    if not callable(value):
        raise TypeError(f"{plugin.value} is {type(value).__name__}, not a class or a function")
    return value  # type: ignore[no-any-return]


def _files_of(plugin: Plugin) -> Callable[[str], bool] | None:
    """Says of a file whether it is the plugin's; None for seqkit's own, which need not be suspected."""
    if plugin.distribution == CORE:
        return None
    from seqkit.registry.distribution import Distribution

    try:
        place_of = Distribution(plugin.distribution, [plugin.module]).place_of
    except importlib.metadata.PackageNotFoundError:
        return lambda filename: False
    return lambda filename: place_of(filename) is not None


def _everything() -> Iterator[Plugin]:
    """The entry points of every distribution; one whose metadata are damaged is passed over and remembered.

    As in `importlib.metadata.entry_points`, of a distribution that is on the path twice the first counts, which is the
    one that would be imported; unlike there, no distribution can keep the others from being found.
    """
    _unreadable.clear()
    seen = set()
    for dist in importlib.metadata.distributions():
        where = str(getattr(dist, "_path", dist))
        try:
            text = dist.read_text("entry_points.txt") or ""
            name = getattr(dist, "_normalized_name", None) or dist.name
            if name in seen:
                continue
            seen.add(name)
            if "seqkit." not in text:
                continue
            facts = _facts(dist)
            for point in dist.entry_points:
                if point.group in GROUPS:
                    yield Plugin(point.group.removeprefix("seqkit."), point.name, *facts[:2], point.value, facts[2])
        except Exception as error:  # whatever a parser of damaged text raises
            _unreadable[where] = f"{type(error).__name__}: {error}"


def _facts(dist: importlib.metadata.Distribution) -> tuple[str, str, str]:
    """Name, version, and the version part of `Requires-Dist: seqkit>=0.1,<0.2`.

    The lines are read as they stand: a parser of e-mails, which Python would use, takes most of a listing's time.
    """
    head = (dist.read_text("METADATA") or "").replace("\r", "").partition("\n\n")[0]
    found: dict[str, list[str]] = {"name": [], "version": [], "requires-dist": []}
    for line in head.split("\n"):
        key, colon, value = line.partition(":")
        if colon and key.lower() in found:
            found[key.lower()].append(value.strip())
    if not found["name"]:  # another format (egg-info)
        return _normal(dist.name), dist.version or "", _needs(dist.requires or ())
    return _normal(found["name"][0]), "".join(found["version"][:1]), _needs(found["requires-dist"])


def _needs(requires: Iterable[str]) -> str:
    for line in requires:
        match = re.fullmatch(r"\s*seqkit\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*(?:;.*)?", line, re.IGNORECASE)
        if match:
            return match[1].replace(" ", "")
    return ""


def _allowed(plugin: Plugin) -> bool:
    wanted = os.environ.get("SEQKIT_PLUGINS")
    if wanted is None or plugin.distribution == CORE:
        return True
    if wanted.strip().lower() == "off":
        return False
    names = {_normal(part.strip()) for part in wanted.split(",") if part.strip()}
    return bool(names & {_normal(plugin.name), plugin.distribution})


def _normal(name: str) -> str:
    """A distribution's name as the index spells it: runs of `-_.` are one `-`, lower case."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"no kind of plugin is called {kind!r}: {', '.join(KINDS)}")
    return kind


def _one(kind: str) -> str:
    return kind.removesuffix("s")


def describe(plugin: Plugin) -> str:
    """`the task 'splice' of strange 1.2`."""
    return f"the {_one(plugin.kind)} '{plugin.name}' of {plugin.distribution} {plugin.version}".rstrip()
