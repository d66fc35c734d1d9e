"""The plugins that a recipe can name: tasks, encoders and heads, found as entry points and imported on first use.

Discovery reads the metadata of installed distributions and imports nothing, so that a broken plugin affects only runs
that name it. If two plugins have one name, none of them is preferred: the recipe must write `distribution:name`.

Environment:
    SEQKIT_PLUGINS: `off` leaves only the plugins that come with seqkit; `a,b` leaves these and the plugins or
        distributions of these names.
    SEQKIT_RAISE_PLUGIN_ERRORS: `1` lets the plugin's own exception through, for its author.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from seqkit._version import __version__
from seqkit.errors import PluginError, name_hint
from seqkit.registry.distribution import Distribution, normal
from seqkit.registry.import_guard import guarded_import

if TYPE_CHECKING:
    from seqkit.registry.import_errors import Diagnosis

GROUPS = ("seqkit.tasks", "seqkit.encoders", "seqkit.heads")
KINDS = tuple(group.removeprefix("seqkit.") for group in GROUPS)
CORE = "seqkit"
"""The distribution whose plugins are always available."""


_FILE_NOTE: Final = (
    "a recipe names no file or module, but the entry point of an installed plugin: give the {kind} a pyproject.toml "
    "with an entry point, and install it by pip install -e . (docs/plugins.md, or seqkit plugins new)"
)


@dataclass(frozen=True, order=True, slots=True)
class Plugin:
    """One entry point, from the metadata of its distribution.

    Attributes:
        kind: "tasks", "encoders" or "heads".
        name: its name in recipes.
        distribution: the distribution that brings it.
        version: of that distribution.
        value: `package.module:attribute`.
        needs: the versions of seqkit that the distribution requires (`>=0.1,<0.2`); empty if it does not say.
    """

    kind: str
    name: str
    distribution: str
    version: str
    value: str
    needs: str = ""

    @property
    def full_name(self) -> str:
        """`distribution:name`, which is unambiguous."""
        return f"{self.distribution}:{self.name}"

    @property
    def module(self) -> str:
        """`package.module` of the entry point."""
        return self.value.partition(":")[0].strip()

    @property
    def is_compatible(self) -> bool:
        """Whether the distribution's requirement allows this version of seqkit."""
        if not self.needs:
            return True
        try:
            from packaging.specifiers import InvalidSpecifier, SpecifierSet
        except ImportError:  # packaging comes with tensorboard; without it this cannot be checked
            return True
        try:
            return SpecifierSet(self.needs).contains(__version__, prereleases=True)
        except InvalidSpecifier:
            return True


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a plugin could not be loaded."""

    plugin: Plugin
    diagnosis: Diagnosis

    def __str__(self) -> str:
        return f"{describe(self.plugin)} does not load: {self.diagnosis}"


_failures: dict[Plugin, Failure] = {}
_pinned: ContextVar[Mapping[tuple[str, str], str]] = ContextVar("pinned", default=MappingProxyType({}))


def installed(kind: str | None = None) -> list[Plugin]:
    """All plugins, or those of one kind, from metadata alone, sorted by (kind, name, distribution), each once."""
    if kind is not None and kind not in KINDS:
        raise ValueError(f"no kind of plugin is called {kind!r}: {', '.join(KINDS)}")
    plugins: dict[tuple[str, str, str], Plugin] = {}
    for plugin in _discover()[0]:
        if kind in (None, plugin.kind):
            plugins.setdefault((plugin.kind, plugin.name, plugin.distribution), plugin)
    return sorted(plugin for plugin in plugins.values() if _is_enabled(plugin))


def unreadable() -> dict[str, str]:
    """{path: what is wrong} of metadata that `installed` has to skip."""
    return dict(_discover()[1])


def find(kind: str, name: str) -> Plugin:
    """The plugin that `name` (or `distribution:name`) means.

    Raises:
        PluginError: there is none (with suggestions), or more than one (naming all).
    """
    plugins = installed(kind)
    matches = [plugin for plugin in plugins if name in (plugin.name, plugin.full_name)]
    pinned = _pinned.get().get((kind, name))
    matches = [plugin for plugin in matches if plugin.distribution == pinned] or matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        full_names = " and ".join(f"'{plugin.full_name}' ({plugin.version})" for plugin in matches)
        raise PluginError(
            f"two plugins offer the {_singular(kind)} '{name}': {full_names}; write one of these full names"
        )
    names = sorted({plugin.name for plugin in plugins})
    hint = _FILE_NOTE.format(kind=_singular(kind)) if _is_like_a_file(name, plugins) else name_hint(name, names)
    raise PluginError(f"no {_singular(kind)} is called '{name}'; {hint}{filter_note()}")


def _is_like_a_file(name: str, plugins: Sequence[Plugin]) -> bool:
    """Whether a name is that of a file or of a module, and not one of a distribution with a dot in its name."""
    module = name.rpartition(":")[0]
    is_module = "." in module and all(plugin.distribution != module for plugin in plugins)
    return "/" in name or "\\" in name or name.endswith(".py") or is_module


def pin(distributions: Mapping[tuple[str, str], str]) -> None:
    """From now on, a (kind, name) that several distributions bring means the plugin of this distribution."""
    _pinned.set({**_pinned.get(), **distributions})


def filter_note() -> str:
    """What to add to a message about a plugin that was not found."""
    return "" if os.environ.get("SEQKIT_PLUGINS") is None else " (SEQKIT_PLUGINS or --no-plugins hides some)"


def load(kind: str, name: str) -> Callable[..., Any]:
    """The factory of this name; its module is imported on first use.

    Whatever the import does (raise, exit, fake a Ctrl-C, print, replace signal handlers) becomes one sentence that
    names the distribution. Only a real Ctrl-C comes through.

    Raises:
        PluginError: the name is unknown or ambiguous, or the plugin is broken or made for another version of seqkit.
    """
    plugin = find(kind, name)
    if not plugin.is_compatible:
        raise PluginError(
            f"{describe(plugin)} needs seqkit{plugin.needs}, and this is seqkit {__version__}; "
            f"install a version of {plugin.distribution} made for it"
        )
    if plugin in _failures:
        raise PluginError(str(_failures[plugin]))
    is_theirs = None if plugin.distribution == CORE else file_filter(plugin)
    try:
        with guarded_import(f"{describe(plugin)} ({plugin.value})", is_theirs) as was_interrupted:
            factory = import_plugin(plugin)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and was_interrupted():
            raise
        if lets_errors_through():
            raise
        from seqkit.registry.import_errors import diagnose

        failure = Failure(plugin, diagnose(error, plugin.distribution, plugin.value))
        _failures[plugin] = failure
        raise PluginError(str(failure)) from error
    return factory


def mark_failing(plugin: Plugin, diagnosis: Diagnosis) -> None:
    """Do not import this plugin in this process: another process has found that it does not load."""
    _failures[plugin] = Failure(plugin, diagnosis)


def failures() -> list[Failure]:
    """The plugins that have failed to load in this process."""
    return sorted(_failures.values(), key=lambda failure: failure.plugin)


def import_plugin(plugin: Plugin) -> Callable[..., Any]:
    """The object that the entry point names. Whatever its import does is not contained: `load` does that."""
    point = importlib.metadata.EntryPoint(plugin.name, plugin.value, f"seqkit.{plugin.kind}")
    value = point.load()
    if not callable(value):
        raise TypeError(f"{plugin.value} is {type(value).__name__}, not a class or a function")
    return value  # type: ignore[no-any-return]


def lets_errors_through() -> bool:
    """Whether a plugin's author wants to see its own exceptions (SEQKIT_RAISE_PLUGIN_ERRORS)."""
    return os.environ.get("SEQKIT_RAISE_PLUGIN_ERRORS") == "1"


def file_filter(plugin: Plugin) -> Callable[[str], bool]:
    """A function that says whether a file belongs to the plugin's distribution."""
    try:
        relative_path = Distribution(plugin.distribution, [plugin.module]).relative_path
    except importlib.metadata.PackageNotFoundError:
        return lambda filename: False
    return lambda filename: relative_path(filename) is not None


def _discover() -> tuple[tuple[Plugin, ...], Mapping[str, str]]:
    """The entry points of all distributions, and {path: what is wrong} of those with damaged metadata.

    A check of one recipe asks for plugins some ten times, and reading all metadata takes milliseconds. So they are read
    again only if something was installed or removed since, or if Python looks for modules elsewhere.
    """
    return _read_entry_points(tuple((entry, _changed_at(entry)) for entry in sys.path), tuple(sys.meta_path))


def _changed_at(entry: str) -> int | None:
    """When something was added to a folder of modules, or removed from it; None if there is no such folder."""
    try:
        return os.stat(entry or ".").st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=1)
def _read_entry_points(
    folders: tuple[tuple[str, int | None], ...], finders: tuple[object, ...]
) -> tuple[tuple[Plugin, ...], Mapping[str, str]]:
    """As in `importlib.metadata.entry_points`, of a distribution that is on the path twice the first one counts, which
    is the one that would be imported; but damaged metadata of one distribution do not hide the others.

    Args:
        folders: where Python looks for modules, and when each has changed; together with `finders` the key of the
            cache.
        finders: what looks for modules there.
    """
    plugins: list[Plugin] = []
    unreadable: dict[str, str] = {}
    seen = set()
    for dist in importlib.metadata.distributions():
        path = str(getattr(dist, "_path", dist))
        try:
            text = dist.read_text("entry_points.txt") or ""
            name = getattr(dist, "_normalized_name", None) or dist.name
            if name in seen:
                continue
            seen.add(name)
            if "seqkit." not in text:
                continue
            facts = _read_metadata(dist)
            plugins += [
                Plugin(point.group.removeprefix("seqkit."), point.name, *facts[:2], point.value, facts[2])
                for point in dist.entry_points
                if point.group in GROUPS
            ]
        except Exception as error:  # parsers of damaged text can raise anything
            unreadable[path] = f"{type(error).__name__}: {error}"
    return tuple(plugins), MappingProxyType(unreadable)


def _read_metadata(dist: importlib.metadata.Distribution) -> tuple[str, str, str]:
    """Name, version, and the version part of `Requires-Dist: seqkit>=0.1,<0.2`.

    The lines are read directly: the e-mail parser that Python uses would take most of the time of a listing.
    """
    head = (dist.read_text("METADATA") or "").replace("\r", "").partition("\n\n")[0]
    fields: dict[str, list[str]] = {"name": [], "version": [], "requires-dist": []}
    for line in head.split("\n"):
        key, colon, value = line.partition(":")
        if colon and key.lower() in fields:
            fields[key.lower()].append(value.strip())
    if not fields["name"]:  # another format (egg-info)
        return normal(dist.name), dist.version or "", _seqkit_requirement(dist.requires or ())
    return normal(fields["name"][0]), "".join(fields["version"][:1]), _seqkit_requirement(fields["requires-dist"])


def _seqkit_requirement(requires: Iterable[str]) -> str:
    """The version part of the requirement of seqkit; empty if there is none."""
    for line in requires:
        match = re.fullmatch(r"\s*seqkit\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*(?:;.*)?", line, re.IGNORECASE)
        if match:
            return match[1].replace(" ", "")
    return ""


def _is_enabled(plugin: Plugin) -> bool:
    """Whether SEQKIT_PLUGINS lets this plugin be used."""
    setting = os.environ.get("SEQKIT_PLUGINS")
    if setting is None or plugin.distribution == CORE:
        return True
    if setting.strip().lower() == "off":
        return False
    names = {normal(name.strip()) for name in setting.split(",") if name.strip()}
    return bool(names & {normal(plugin.name), plugin.distribution})


def _singular(kind: str) -> str:
    """`task` of `tasks`."""
    return kind.removesuffix("s")


def describe(plugin: Plugin) -> str:
    """`the task 'splice' of splice-sites 1.2`."""
    return f"the {_singular(plugin.kind)} '{plugin.name}' of {plugin.distribution} {plugin.version}".rstrip()
