"""The plugins that a run or a model was made with, and whether they are installed and unchanged.

    [{"distribution": "seqkit-mingru", "version": "0.2.0", "sha256": "...", "needs": "seqkit>=0.1,<0.2",
      "entry_points": [{"kind": "encoders", "name": "mingru", "value": "seqkit_mingru:MinGRU"}]}]

The hash is of the files of the distribution's modules, so that a change without a new version is noticed as well.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from seqkit.errors import PluginError
from seqkit.registry import registry
from seqkit.registry.distribution import Distribution
from seqkit.registry.registry import CORE
from seqkit.types import JSON

_MOST_DISTRIBUTIONS: Final = 200

_FORMS: Final = {
    "distribution": re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?"),
    "version": re.compile(r"[A-Za-z0-9.!+_-]{0,100}"),
    "plugin": re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]{1,200}"),
    "module": re.compile(r"[\w.:\[\], -]{1,400}"),
}


def record(uses: Iterable[tuple[str, str]]) -> list[JSON]:
    """Facts about the plugins of these (kind, name) pairs, by distribution, as JSON.

    Raises:
        PluginError: a plugin is not installed.
    """
    plugins = sorted(
        {registry.find(kind, name) for kind, name in uses}, key=lambda plugin: (plugin.distribution, plugin)
    )
    facts: dict[str, dict[str, JSON]] = {}
    for plugin in plugins:
        if plugin.distribution not in facts:
            modules = [other.module for other in plugins if other.distribution == plugin.distribution]
            facts[plugin.distribution] = {
                "distribution": plugin.distribution,
                "version": plugin.version,
                "sha256": _hash_modules(plugin.distribution, modules),
                "needs": f"seqkit{plugin.needs}" if plugin.needs else "",
                "entry_points": [],
            }
        point = {"kind": plugin.kind, "name": plugin.name, "value": plugin.value}
        facts[plugin.distribution]["entry_points"].append(point)
    return list(facts.values())


def pin_recorded(facts: JSON, subject: str) -> None:
    """From now on, a name means the plugin that it meant when `facts` were recorded, whatever was installed since.

    Args:
        facts: from `record`; malformed entries are ignored.
        subject: what was made with the plugins, for messages: "the model in runs/x".

    Raises:
        PluginError: some are not installed; the message names them and what to install. Or a name cannot be one.
    """
    entries = list(_entries(facts))
    for entry in entries:
        _check_names(entry, subject)
    count = len({entry["distribution"] for entry in entries})
    if count < len(entries) or count > _MOST_DISTRIBUTIONS:
        raise PluginError(f"{subject} cannot be used: its file lists {len(entries):,} distributions, or one twice")
    missing = [line for entry in entries if (line := _describe_missing(entry))]
    if missing:
        raise PluginError("\n".join(f"{subject} was made with {line}" for line in missing))
    registry.pin({(p["kind"], p["name"]): entry["distribution"] for entry in entries for p in entry["points"]})


def describe_changes(facts: JSON, subject: str, *, include_core: bool = False) -> list[str]:
    """A sentence for each distribution that has changed since `facts` were recorded.

    Args:
        facts: from `record`; malformed entries are ignored.
        subject: what was made with the plugins, for messages: "the model in runs/x".
        include_core: whether changes of seqkit itself count.
    """
    sentences = []
    for entry in _entries(facts):
        name, version, sha256 = entry["distribution"], entry["version"], entry["sha256"]
        if name == CORE and not include_core:
            continue
        try:
            version_now = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        sha256_now = _hash_modules(name, [point["value"].partition(":")[0] for point in entry["points"]])
        if version_now != version:
            sentences.append(
                f"{name} is {version_now} (sha256 {sha256_now[:8]}) here; "
                f"{subject} was made with {version} ({sha256[:8]})"
            )
        elif sha256 and sha256_now != sha256:
            sentences.append(
                f"{name} {version_now} has other code here (sha256 {sha256_now[:8]}) than when {subject} was made "
                f"({sha256[:8]}), although its version is the same"
            )
    return sentences


def _check_names(entry: Mapping[str, Any], subject: str) -> None:
    """That an entry, which comes from a file, names a distribution, a version and plugins as there can be.

    What it says goes into a command to copy, so nothing else may be in it.

    Raises:
        PluginError: it does not.
    """
    names = [("distribution", entry["distribution"]), ("version", entry["version"])]
    names += [("plugin", point["name"]) for point in entry["points"]]
    names += [("module", point["value"]) for point in entry["points"]]
    for kind, name in names:
        if not _FORMS[kind].fullmatch(name):
            cause = f"its file says that it was made with the {kind} {name[:60]!r}, which cannot be the name of one"
            raise PluginError(f"{subject} cannot be used: {cause}")


def _describe_missing(entry: Mapping[str, Any]) -> str:
    """The plugins of a distribution that are missing, and what to do; empty if none is."""
    name, version = entry["distribution"], entry["version"]
    missing = [
        point
        for point in entry["points"]
        if not any(
            (plugin.name, plugin.distribution) == (point["name"], name) for plugin in registry.installed(point["kind"])
        )
    ]
    if not missing:
        return ""
    plugins = " and ".join(f"the {point['kind'].removesuffix('s')} '{point['name']}'" for point in missing)
    subject = f"{plugins} of {name} {version}"
    advice = f'install that version: pip install "{name}=={version}", or from its source'
    try:
        version_now = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{subject}, which is not installed; {advice}"
    if registry.filter_note():
        return f"{subject}, which SEQKIT_PLUGINS or --no-plugins hides; run without it"
    return f"{subject}, and the installed {name} {version_now} does not bring it; {advice}"


def _entries(facts: JSON) -> Iterator[dict[str, Any]]:
    """The well-formed entries of facts, which come from a file."""
    for entry in facts if isinstance(facts, list) else ():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("entry_points"), list):
            continue
        texts = {key: entry.get(key) for key in ("distribution", "version", "sha256")}
        points = [
            point
            for point in entry["entry_points"]
            if isinstance(point, Mapping)
            and all(isinstance(point.get(key), str) for key in ("kind", "name", "value"))
            and point["kind"] in registry.KINDS
        ]
        if all(isinstance(text, str) for text in texts.values()) and texts["distribution"]:
            yield {**texts, "points": points}


def _hash_modules(distribution: str, modules: Iterable[str]) -> str:
    """Empty if the distribution is not installed."""
    try:
        return Distribution(distribution, modules).sha256
    except importlib.metadata.PackageNotFoundError:
        return ""
