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
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from seqkit._version import __version__
from seqkit.errors import PluginError, SeqkitError, suggest

GROUPS = ("seqkit.tasks", "seqkit.encoders", "seqkit.heads")
KINDS = tuple(group.removeprefix("seqkit.") for group in GROUPS)
HOME = "seqkit"
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
    cause: str
    advice: str
    trace: str


_failures: dict[Plugin, Failure] = {}


def installed(kind: str | None = None) -> list[Plugin]:
    """Every plugin, or those of one kind, from metadata alone; sorted by (kind, name, distribution), each once."""
    found: dict[tuple[str, str, str], Plugin] = {}
    for one in KINDS if kind is None else (_known(kind),):
        for point in importlib.metadata.entry_points(group=f"seqkit.{one}"):
            plugin = _plugin(one, point)
            # An editable install may show the same distribution twice; the first on sys.path is the one imported.
            found.setdefault((one, plugin.name, plugin.distribution), plugin)
    return sorted(plugin for plugin in found.values() if _allowed(plugin))


def find(kind: str, name: str) -> Plugin:
    """The plugin that `name` (or `distribution:name`) means.

    Raises:
        PluginError: there is none (with suggestions), or more than one (naming all).
    """
    plugins = installed(kind)
    matches = [plugin for plugin in plugins if name in (plugin.name, plugin.full_name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        both = " and ".join(f"'{plugin.full_name}' ({plugin.version})" for plugin in matches)
        raise PluginError(f"two plugins offer the {_one(kind)} '{name}': {both}; write one of these full names")
    names = sorted({plugin.name for plugin in plugins})
    there = f"there are: {', '.join(names)}" if names else "none is installed"
    hidden = "" if os.environ.get("SEQKIT_PLUGINS") is None else " (SEQKIT_PLUGINS hides some)"
    hint = suggest(name, names)
    raise PluginError(f"no {_one(kind)} is called '{name}'; {hint + ' ' if hint else ''}{there}{hidden}")


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
            f"{_named(plugin)} needs seqkit{plugin.needs}, and this is seqkit {__version__}; "
            f"install a version of {plugin.distribution} made for it"
        )
    if plugin in _failures:
        raise PluginError(_sentence(_failures[plugin]))
    try:
        with _contained() as interrupted:
            value = _import(plugin)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and interrupted():
            raise
        if os.environ.get("SEQKIT_RAISE_PLUGIN_ERRORS") == "1":
            raise
        failure = Failure(plugin, _cause(error), _advice(plugin, error), "".join(traceback.format_exception(error)))
        _failures[plugin] = failure
        raise PluginError(_sentence(failure)) from error
    return value


def failures() -> list[Failure]:
    """What failed to load so far in this process."""
    return sorted(_failures.values(), key=lambda failure: failure.plugin)


def _import(plugin: Plugin) -> Callable[..., Any]:
    point = importlib.metadata.EntryPoint(plugin.name, plugin.value, f"seqkit.{plugin.kind}")
    value = point.load()
    if not callable(value):
        raise TypeError(f"{plugin.value} is {type(value).__name__}, not a class or a function")
    return value  # type: ignore[no-any-return]


@contextmanager
def _contained() -> Iterator[Callable[[], bool]]:
    """Import a stranger's code: its prints go to stderr, its signal handlers are taken out again.

    Yields a function that says whether the user really pressed Ctrl-C meanwhile, which only a handler can know.
    """
    pressed = False

    def on_sigint(number: int, frame: Any) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        with redirect_stdout(sys.stderr):
            yield lambda: False
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    if before[signal.SIGINT] is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, on_sigint)
    try:
        with redirect_stdout(sys.stderr):
            yield lambda: pressed
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: installed from C, where Python cannot put it back
                signal.signal(number, handler)


def _plugin(kind: str, point: importlib.metadata.EntryPoint) -> Plugin:
    dist = point.dist
    if dist is None:
        return Plugin(kind, point.name, "unknown", "", point.value)
    return Plugin(kind, point.name, _normal(dist.name), dist.version or "", point.value, _needs(dist))


def _needs(dist: importlib.metadata.Distribution) -> str:
    """The version part of `Requires-Dist: seqkit>=0.1,<0.2`."""
    for line in dist.requires or ():
        match = re.fullmatch(r"\s*seqkit\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*(?:;.*)?", line, re.IGNORECASE)
        if match:
            return match[1].replace(" ", "")
    return ""


def _allowed(plugin: Plugin) -> bool:
    wanted = os.environ.get("SEQKIT_PLUGINS")
    if wanted is None or plugin.distribution == HOME:
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


def _named(plugin: Plugin) -> str:
    return f"the {_one(plugin.kind)} '{plugin.name}' of {plugin.distribution} {plugin.version}".rstrip()


def _sentence(failure: Failure) -> str:
    advice = f"; {failure.advice}" if failure.advice else ""
    return f"{_named(failure.plugin)} does not load: {failure.cause}{advice}"


def _cause(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, SeqkitError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _advice(plugin: Plugin, error: BaseException) -> str:
    if isinstance(error, SeqkitError):
        return ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        if top not in sys.modules:
            return f"install what brings the module '{top}'"
    return f"reinstall or remove {plugin.distribution}, or tell its author"
