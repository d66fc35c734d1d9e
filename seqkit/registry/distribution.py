"""An installed distribution that brings plugins: where its modules are, their hash, what it requires, and how it was
installed. Everything is found from metadata and files; nothing of it is imported.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from packaging.requirements import Requirement

SUFFIXES: Final = frozenset({".py", ".so", ".pyd"})
"""What counts as a module's file: sources and extensions, not data, which may be large and is the task's affair."""


def normal(name: str) -> str:
    """A distribution's name as the index spells it: runs of `-_.` are one `-`, lower case."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Distribution:
    """What is known of one installed distribution.

    Args:
        name: its name, spelled in any way.
        modules: modules that its entry points name (`package.module`), where its metadata do not list them all.

    Raises:
        PackageNotFoundError: it is not installed.
    """

    def __init__(self, name: str, modules: Iterable[str] = ()) -> None:
        self._metadata = importlib.metadata.distribution(name)
        self.name = normal(self._metadata.name)
        self.version = self._metadata.version or ""
        self._modules = tuple(modules)

    @cached_property
    def tops(self) -> tuple[str, ...]:
        """Its top-level modules, or packages in a namespace that others share: what its files are looked up by."""
        listed = (self._metadata.read_text("top_level.txt") or "").split()
        recorded = [path.parts[0] for path in self._metadata.files or () if path.suffix in SUFFIXES]
        names = {*listed, *(name.partition(".")[0] for name in recorded if not name.endswith((".dist-info", "..")))}
        names |= {_own_top(module) for module in self._modules}
        return tuple(sorted(name for name in names if not name.startswith("__editable__") and name != "__pycache__"))

    @cached_property
    def files(self) -> dict[str, Path]:
        """{path below where it is installed: file} of all its modules, sorted; what an import would find now."""
        found = {}
        for top in self.tops:
            spec = _spec(top)
            if spec is None:
                continue
            for place in spec.submodule_search_locations or ():
                root = Path(place)
                for path in sorted(root.rglob("*")):
                    if path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                        found[f"{top.replace('.', '/')}/{path.relative_to(root).as_posix()}"] = path
            if not spec.submodule_search_locations and spec.origin and spec.has_location:
                found[Path(spec.origin).name] = Path(spec.origin)
        return dict(sorted(found.items()))

    @cached_property
    def sha256(self) -> str:
        """Of its modules, by path and content; empty if there are no files. Neither place nor age changes it."""
        if not self.files:
            return ""
        total = hashlib.sha256()
        for name, path in self.files.items():
            content = path.read_bytes()
            total.update(f"{name}\0{len(content)}\0".encode())
            total.update(content)
        return total.hexdigest()

    def place_of(self, filename: str) -> str | None:
        """A file of it as it is called below where it is installed; None for a file of somebody else's."""
        return self._places.get(_real(filename))

    @property
    def editable(self) -> Path | None:
        """The project's folder, for an editable install."""
        origin = self._origin
        info = origin.get("dir_info")
        if isinstance(info, Mapping) and info.get("editable") is True:
            return Path(unquote(urlsplit(str(origin.get("url", ""))).path))
        # Metadata that `setup.py develop` or a build left beside the source are those of a folder that is on sys.path.
        folder = getattr(self._metadata, "_path", None)
        if isinstance(folder, Path) and folder.suffix == ".egg-info" and "site-packages" not in folder.parts:
            return folder.parent
        return None

    def stale(self) -> list[str]:
        """For an editable install: how its metadata differ from its pyproject.toml, a sentence for each entry point."""
        if self.editable is None:
            return []
        try:
            project = tomllib.loads((self.editable / "pyproject.toml").read_text(encoding="utf-8"))
            declared = project["project"].get("entry-points", {})
            now = {(group, name): str(value) for group in declared for name, value in declared[group].items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return []
        before = {(point.group, point.name): point.value for point in self._metadata.entry_points}
        said = []
        for group, name in sorted({*now, *before}):
            if not group.startswith("seqkit."):
                continue
            old, new = before.get((group, name)), now.get((group, name))
            if old is None:
                said.append(f"{group} {name} is in pyproject.toml and not installed yet")
            elif new is None:
                said.append(f"{group} {name} is installed and no longer in pyproject.toml")
            elif "".join(old.split()) != "".join(new.split()):
                said.append(f"{group} {name} is installed as {old}, and {new} in pyproject.toml")
        return said

    def requires(self, name: str) -> str | None:
        """The version part of what it requires of a distribution (`>=0.1,<0.2`); None if it does not require it."""
        for each in self._requirements:
            if normal(each.name) == normal(name):
                return str(each.specifier)
        return None

    def install_command(self, module: str) -> str:
        """The command that brings a missing module, as far as its metadata tell; empty if they do not.

        A requirement goes by a distribution's name, which need not be the module's: where nothing is called like the
        module, it is taken to be among the requirements that are not installed, and the answer begins with "perhaps".
        """
        wanted, perhaps = [each for each in self._requirements if normal(each.name) == normal(module)], ""
        if not wanted:
            wanted, perhaps = [each for each in self._requirements if not _has(each.name)], "perhaps "
        plain = [each for each in wanted if not _extra(str(each.marker or ""))]
        if plain:
            return f"{perhaps}pip install " + " ".join(f'"{each.name}{each.specifier}"' for each in plain)
        extras = {_extra(str(each.marker or "")) for each in wanted}
        return f'{perhaps}pip install "{self.name}[{extras.pop()}]"' if len(extras) == 1 else ""

    @property
    def summary(self) -> str:
        """What it says of itself, in a line."""
        return " ".join((self._metadata.metadata.get_all("Summary") or [""])[0].split())

    @cached_property
    def _requirements(self) -> list[Requirement]:
        from packaging.requirements import InvalidRequirement, Requirement

        found = []
        for line in self._metadata.requires or ():
            try:
                found.append(Requirement(line))
            except InvalidRequirement:
                continue
        return found

    @cached_property
    def _origin(self) -> Mapping[str, object]:
        """direct_url.json, where there is one."""
        try:
            found = json.loads(self._metadata.read_text("direct_url.json") or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def _places(self) -> dict[str, str]:
        return {_real(str(path)): name for name, path in self.files.items()}


def _own_top(module: str) -> str:
    """The topmost package of a module that is not a namespace shared with others."""
    parts = module.split(".")
    for count in range(1, len(parts)):
        spec = _spec(".".join(parts[:count]))
        if spec is None or spec.origin is not None:
            return ".".join(parts[:count])
    return module


def _spec(module: str) -> ModuleSpec | None:
    """Where a module would be imported from; None if nowhere. No parent is imported for it."""
    top, *rest = module.split(".")
    try:
        spec = sys.modules[top].__spec__ if top in sys.modules else find_spec(top)
        for count, _ in enumerate(rest, 2):
            if spec is None or spec.submodule_search_locations is None:
                return None
            spec = PathFinder.find_spec(".".join([top, *rest][:count]), list(spec.submodule_search_locations))
    except (ImportError, AttributeError, ValueError):
        return None
    return spec


def _real(filename: str) -> str:
    return str(Path(filename).resolve()) if filename else ""


def _has(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _extra(marker: str) -> str:
    """`audio` of `extra == "audio"`."""
    match = re.search(r"""extra *== *["']([\w.-]+)["']""", marker)
    return match[1] if match else ""
