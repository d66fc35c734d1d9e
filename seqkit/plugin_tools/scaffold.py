"""`seqkit plugins new`: a complete plugin distribution from templates that come with seqkit. Imports no torch.

A template is a text in which `{{word}}` stands for a word of `_words`; the result is ready to be installed, tested,
linted and run, and nothing in it depends on seqkit's own source tree.
"""

from __future__ import annotations

import builtins
import importlib.resources
import importlib.util
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from seqkit._version import __version__
from seqkit.errors import UsageError
from seqkit.public_api import PUBLIC_NAMES

PluginKind: TypeAlias = Literal["task", "encoder", "head"]

LONGEST: Final = 40
"""Characters of a name."""


@dataclass(frozen=True, slots=True)
class _Sort:
    """What differs between the kinds outside their own templates.

    Attributes:
        about: one line for the distribution.
        attribute: what the entry point names in the module.
        example: an override for the README.
        needs: what it needs beside seqkit.
        untyped: modules that come without types.
    """

    about: str
    attribute: str
    example: str
    needs: tuple[str, ...] = ()
    untyped: str = ""


KINDS: Final[Mapping[PluginKind, _Sort]] = {
    "task": _Sort(
        "Which digit is this? Handwriting, read a few pixels at a time.",
        "{{symbol}}",
        "tasks.{{name}}.width=4",
        ("scikit-learn>=1.4",),
        "sklearn.*",
    ),
    "encoder": _Sort("An independently recurrent network (IndRNN).", "{{camel}}Encoder", "encoder.hidden=128"),
    "head": _Sort("A classifier that learns by the focal loss.", "{{camel}}Head", "tasks.sentiment.head.gamma=1.0"),
}


def new(name: str, kind: PluginKind = "task", out: Path | None = None) -> Path:
    """Write the distribution `seqkit-NAME` and return its folder.

    Args:
        name: what a recipe will call it: lower-case words, joined by hyphens.
        kind: what it brings.
        out: the folder to make; None: `seqkit-NAME` here. It must not exist, or be empty.

    Raises:
        UsageError: the name cannot be used, or the folder has something in it; nothing is written then.
    """
    check_name(name, kind)
    files = render(name, kind)
    folder = Path(f"seqkit-{name}") if out is None else Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} is there already, with something in it, and nothing is ever overwritten; give --out"
            )
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {(error.strerror or str(error)).lower()}") from error
    return folder


def check_name(name: str, kind: PluginKind) -> None:
    """Refuse a name that would not work as a recipe's key, a distribution, a module and a Python name at once.

    Raises:
        UsageError: with what is wrong, and a name that would do where there is one.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    own = plain.removeprefix("seqkit-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        hint = f"; '{own}' would do" if re.match("[a-z]", own) else ""
        raise UsageError(f"'{name}' is no name for a plugin: lower-case letters, digits and single hyphens{hint}")
    if name.startswith("seqkit-") or name == "seqkit":
        hint = f": give '{own}'" if own not in ("", "seqkit") else ""
        raise UsageError(f"'{name}': the distribution is called seqkit-NAME by itself{hint}")
    if len(name) > LONGEST:
        raise UsageError(f"'{name}' has {len(name)} characters; {LONGEST} are the most")
    if keyword.iskeyword(name) or name in dir(builtins) or name == "annotations":
        raise UsageError(f"'{name}' means something to Python itself; take another name")
    from seqkit.registry import registry

    for plugin in registry.installed(f"{kind}s"):
        if plugin.name == name:
            who = f"{plugin.distribution} {plugin.version}".rstrip()
            raise UsageError(
                f"{who} has a {kind} '{name}' already, and recipes could not tell them apart; take another name"
            )
    module = _module(name)
    if importlib.util.find_spec(module) is not None:
        raise UsageError(f"there is a module '{module}' already, which would hide this one; take another name")


def render(name: str, kind: PluginKind) -> dict[str, str]:
    """{path in the distribution: text}."""
    words = _words(name, kind)
    module = f"src/{words['module']}"
    places = {
        ".gitignore": "gitignore.txt",
        "README.md": "README.md.txt",
        "pyproject.toml": "pyproject.toml.txt",
        f"{module}/__init__.py": f"{kind}/module.py.txt",
        f"tests/test_{words['symbol']}.py": f"{kind}/test.py.txt",
        f"{name}.yaml": f"{kind}/recipe.yaml",
    }
    templates = importlib.resources.files("seqkit") / "templates"
    files = {
        path: _fill(templates.joinpath(*source.split("/")).read_text(encoding="utf-8"), words)
        for path, source in places.items()
    }
    return {**files, f"{module}/py.typed": ""}


def supported(version: str = __version__) -> str:
    """The releases that promise not to break what works with this one: `>=0.1,<0.2`, from 1.0 on `>=1.2,<2`."""
    major, minor = (int(part) for part in re.findall(r"\d+", version)[:2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def _words(name: str, kind: PluginKind) -> dict[str, str]:
    sort = KINDS[kind]
    needs = (f"seqkit{supported()}", *sort.needs)
    public_modules = [f"`{module}`" for module in PUBLIC_NAMES]
    override = f'\n[[tool.mypy.overrides]]\nmodule = "{sort.untyped}"\nignore_missing_imports = true\n'
    words = {
        "name": name,
        "kind": kind,
        "distribution": f"seqkit-{name}",
        "module": _module(name),
        "symbol": name.replace("-", "_"),
        "camel": "".join(part.capitalize() for part in name.split("-")),
        "dependencies": ", ".join(f'"{need}"' for need in needs),
        "overrides": override if sort.untyped else "",
        "public_modules": f"{', '.join(public_modules[:-1])} and {public_modules[-1]}",
        "about": sort.about,
    }
    return words | {"attribute": _fill(sort.attribute, words), "example": _fill(sort.example, words)}


def _module(name: str) -> str:
    return f"seqkit_{name.replace('-', '_')}"


def _fill(text: str, words: Mapping[str, str]) -> str:
    """The text with every `{{word}}` replaced, and one line end at its end."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: words[match[1]], text).rstrip("\n") + "\n" * text.endswith("\n")
