"""An installed distribution that brings plugins: its modules and their hash, what it requires, how it was installed.

Everything comes from metadata and files; no module of the distribution is imported. Modules that listings do not need
are imported where they are used.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from packaging.requirements import Requirement

SUFFIXES: Final = frozenset({".py", ".so", ".pyd"})
"""The files of a module: sources and extensions. Data may be large, and are the concern of the task."""


def normal(name: str) -> str:
    """A distribution's name in the normal form of the package index: lower case, with one `-` for runs of `-_.`."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Distribution:
    """What is known of one installed distribution.

    Args:
        name: its name, in any spelling.
        modules: modules that its entry points name (`package.module`), in case its metadata do not list them all.

    Raises:
        PackageNotFoundError: it is not installed.
    """

    def __init__(self, name: str, modules: Iterable[str] = ()) -> None:
        self._metadata = importlib.metadata.distribution(name)
        self.name = normal(self._metadata.name)
        self.version = self._metadata.version or ""
        self._modules = tuple(modules)

    @cached_property
    def top_modules(self) -> tuple[str, ...]:
        """Its top-level modules; of a namespace package that it shares, the topmost packages that are its own."""
        listed = (self._metadata.read_text("top_level.txt") or "").split()
        recorded = [path.parts[0] for path in self._metadata.files or () if path.suffix in SUFFIXES]
        names = {*listed, *(name.partition(".")[0] for name in recorded if not name.endswith((".dist-info", "..")))}
        names |= {_unshared_package(module) for module in self._modules}
        return tuple(sorted(name for name in names if not name.startswith("__editable__") and name != "__pycache__"))

    @cached_property
    def files(self) -> dict[str, Path]:
        """{path below where it is installed: file} of all its modules, sorted; as an import would find them."""
        files = {}
        for module in self.top_modules:
            spec = _spec(module)
            if spec is None:
                continue
            for location in spec.submodule_search_locations or ():
                root = Path(location)
                for path in sorted(root.rglob("*")):
                    if path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                        files[f"{module.replace('.', '/')}/{path.relative_to(root).as_posix()}"] = path
            if not spec.submodule_search_locations and spec.origin and spec.has_location:
                files[Path(spec.origin).name] = Path(spec.origin)
        return dict(sorted(files.items()))

    @cached_property
    def sha256(self) -> str:
        """The hash of its modules' relative paths and contents; empty if there are no files."""
        import hashlib

        if not self.files:
            return ""
        digest = hashlib.sha256()
        for name, path in self.files.items():
            content = path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def relative_path(self, filename: str) -> str | None:
        """The path of one of its files as `files` has it; None if the file is not part of it."""
        return self._relative_paths.get(_resolve(filename))

    @property
    def editable(self) -> Path | None:
        """The project's folder, for an editable install."""
        from urllib.parse import unquote, urlsplit

        origin = self._origin
        info = origin.get("dir_info")
        if isinstance(info, Mapping) and info.get("editable") is True:
            return Path(unquote(urlsplit(str(origin.get("url", ""))).path))
        # Metadata that `setup.py develop` or a build left beside the source belong to a folder that is on sys.path.
        folder = getattr(self._metadata, "_path", None)
        if isinstance(folder, Path) and folder.suffix == ".egg-info" and "site-packages" not in folder.parts:
            return folder.parent
        return None

    def stale(self) -> list[str]:
        """For an editable install, a sentence for each entry point that differs from its pyproject.toml."""
        import tomllib

        if self.editable is None:
            return []
        try:
            project = tomllib.loads((self.editable / "pyproject.toml").read_text(encoding="utf-8"))
            groups = project["project"].get("entry-points", {})
            declared = {(group, name): str(value) for group in groups for name, value in groups[group].items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return []
        installed = {(point.group, point.name): point.value for point in self._metadata.entry_points}
        sentences = []
        for group, name in sorted({*declared, *installed}):
            if not group.startswith("seqkit."):
                continue
            old, new = installed.get((group, name)), declared.get((group, name))
            if old is None:
                sentences.append(f"{group} {name} is in pyproject.toml and not installed yet")
            elif new is None:
                sentences.append(f"{group} {name} is installed and no longer in pyproject.toml")
            elif "".join(old.split()) != "".join(new.split()):
                sentences.append(f"{group} {name} is installed as {old}, but is {new} in pyproject.toml")
        return sentences

    def install_command(self, module: str) -> str:
        """The command that installs a missing module, according to the metadata; empty if they do not say.

        A requirement has the name of a distribution, which may differ from the module's. If none has the name of the
        module, it is assumed to be one of those that are not installed, and the answer begins with "perhaps".
        """
        requirements = [item for item in self._requirements if normal(item.name) == normal(module)]
        perhaps = ""
        if not requirements:
            requirements = [item for item in self._requirements if not _is_installed(item.name)]
            perhaps = "perhaps "
        plain = [item for item in requirements if not _extra(str(item.marker or ""))]
        if plain:
            return f"{perhaps}pip install " + " ".join(f'"{item.name}{item.specifier}"' for item in plain)
        extras = {_extra(str(item.marker or "")) for item in requirements}
        return f'{perhaps}pip install "{self.name}[{extras.pop()}]"' if len(extras) == 1 else ""

    @property
    def summary(self) -> str:
        """The one-line description in its metadata."""
        return " ".join((self._metadata.metadata.get_all("Summary") or [""])[0].split())

    @cached_property
    def _requirements(self) -> list[Requirement]:
        from packaging.requirements import InvalidRequirement, Requirement

        requirements = []
        for line in self._metadata.requires or ():
            try:
                requirements.append(Requirement(line))
            except InvalidRequirement:
                continue
        return requirements

    @cached_property
    def _origin(self) -> Mapping[str, object]:
        """The content of direct_url.json; empty if there is none."""
        import json

        try:
            origin = json.loads(self._metadata.read_text("direct_url.json") or "{}")
        except ValueError:
            return {}
        return origin if isinstance(origin, dict) else {}

    @cached_property
    def _relative_paths(self) -> dict[str, str]:
        return {_resolve(str(path)): name for name, path in self.files.items()}


def _unshared_package(module: str) -> str:
    """The topmost package of a module that is not a namespace package."""
    names = module.split(".")
    for count in range(1, len(names)):
        spec = _spec(".".join(names[:count]))
        if spec is None or spec.origin is not None:
            return ".".join(names[:count])
    return module


def _spec(module: str) -> ModuleSpec | None:
    """Where a module would be imported from; None if nowhere. No parent package is imported."""
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


def _resolve(filename: str) -> str:
    return str(Path(filename).resolve()) if filename else ""


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _extra(marker: str) -> str:
    """`audio` of `extra == "audio"`; empty for other markers."""
    match = re.search(r"""extra *== *["']([\w.-]+)["']""", marker)
    return match[1] if match else ""
