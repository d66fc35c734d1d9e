"""Which plugins a run or a model was made with, and whether they are here and still the same.

    [{"distribution": "seqkit-mingru", "version": "0.2.0", "sha256": "...", "needs": "seqkit>=0.1,<0.2",
      "entry_points": [{"kind": "encoders", "name": "mingru", "value": "seqkit_mingru:MinGRU"}]}]

The hash is over the files of the distribution's modules, so that an edit without a new version is noticed as well.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seqkit.errors import PluginError
from seqkit.registry import registry
from seqkit.registry.distribution import Distribution
from seqkit.registry.registry import CORE
from seqkit.types import JSON


def used(uses: Iterable[tuple[str, str]]) -> list[JSON]:
    """The plugins behind (kind, name) pairs, by distribution, as JSON.

    Raises:
        PluginError: one is not there.
    """
    plugins = sorted(
        {registry.find(kind, name) for kind, name in uses}, key=lambda plugin: (plugin.distribution, plugin)
    )
    facts: dict[str, dict[str, JSON]] = {}
    for plugin in plugins:
        if plugin.distribution not in facts:
            modules = [each.module for each in plugins if each.distribution == plugin.distribution]
            facts[plugin.distribution] = {
                "distribution": plugin.distribution,
                "version": plugin.version,
                "sha256": _sha256(plugin.distribution, modules),
                "needs": f"seqkit{plugin.needs}" if plugin.needs else "",
                "entry_points": [],
            }
        point = {"kind": plugin.kind, "name": plugin.name, "value": plugin.value}
        facts[plugin.distribution]["entry_points"].append(point)
    return list(facts.values())


def recall(facts: JSON, what: str) -> None:
    """From here on, a name means the plugin that it meant when `facts` were written, whatever was installed since.

    Args:
        facts: what `used` said then; what is malformed counts for nothing.
        what: what was made with them, for the message: "the model in runs/x".

    Raises:
        PluginError: one of them is not here; with all that are missing, and what to install.
    """
    entries = list(_entries(facts))
    missing = [line for entry in entries if (line := _absent(entry))]
    if missing:
        raise PluginError("\n".join(f"{what} was made with {line}" for line in missing))
    registry.pin({(p["kind"], p["name"]): entry["distribution"] for entry in entries for p in entry["points"]})


def changes(facts: JSON, what: str, *, house: bool = False) -> list[str]:
    """A sentence for each distribution that is another now than when `facts` were written; `house`: seqkit too."""
    said = []
    for entry in _entries(facts):
        name, version, sha256 = entry["distribution"], entry["version"], entry["sha256"]
        if name == CORE and not house:
            continue
        try:
            now = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        hashed = _sha256(name, [point["value"].partition(":")[0] for point in entry["points"]])
        if now != version:
            said.append(f"{name} is {now} (sha256 {hashed[:8]}) here; {what} was made with {version} ({sha256[:8]})")
        elif sha256 and hashed != sha256:
            said.append(
                f"{name} {now} has other code here (sha256 {hashed[:8]}) than when {what} was made ({sha256[:8]}), "
                "under the same version"
            )
    return said


def _absent(entry: Mapping[str, Any]) -> str:
    """What is missing of a distribution, and what to do; empty if nothing is."""
    name, version = entry["distribution"], entry["version"]
    lost = [
        point
        for point in entry["points"]
        if not any(
            (each.name, each.distribution) == (point["name"], name) for each in registry.installed(point["kind"])
        )
    ]
    if not lost:
        return ""
    things = " and ".join(f"the {point['kind'].removesuffix('s')} '{point['name']}'" for point in lost)
    head = f"{things} of {name} {version}"
    get = f'install that version: pip install "{name}=={version}", or from where it came'
    try:
        now = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{head}, which is not installed; {get}"
    if registry.filter_note():
        return f"{head}, which SEQKIT_PLUGINS or --no-plugins leaves out; run it without"
    return f"{head}, and {name} {now}, which is installed, does not bring it; {get}"


def _entries(facts: JSON) -> Iterator[dict[str, Any]]:
    """What is well-formed in facts that come from a file."""
    for each in facts if isinstance(facts, list) else ():
        if not isinstance(each, Mapping) or not isinstance(each.get("entry_points"), list):
            continue
        texts = {key: each.get(key) for key in ("distribution", "version", "sha256")}
        points = [
            point
            for point in each["entry_points"]
            if isinstance(point, Mapping)
            and all(isinstance(point.get(key), str) for key in ("kind", "name", "value"))
            and point["kind"] in registry.KINDS
        ]
        if all(isinstance(text, str) for text in texts.values()) and texts["distribution"]:
            yield {**texts, "points": points}


def _sha256(distribution: str, modules: Iterable[str]) -> str:
    try:
        return Distribution(distribution, modules).sha256
    except importlib.metadata.PackageNotFoundError:
        return ""
