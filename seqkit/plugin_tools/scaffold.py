"""`seqkit plugins new`: a complete plugin distribution from templates that come with seqkit. Imports no torch.

A template is text in which `{{name}}` stands for one of the values of `_values`. The result is ready to be installed,
tested, linted and run, and does not depend on seqkit's source tree.
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

MAX_NAME: Final = 40
"""Characters of a name at most."""


@dataclass(frozen=True, slots=True)
class _Details:
    """What differs between the kinds in the templates that they share.

    Attributes:
        about: one line about the distribution.
        attribute: the object in the module that the entry point names.
        example: an override for the README.
        needs: requirements beside seqkit.
        untyped: modules without type annotations, for mypy.
    """

    about: str
    attribute: str
    example: str
    needs: tuple[str, ...] = ()
    untyped: str = ""


KINDS: Final[Mapping[PluginKind, _Details]] = {
    "task": _Details(
        "Which digit is this? Handwriting, read a few pixels at a time.",
        "{{symbol}}",
        "tasks.{{name}}.width=4",
        ("scikit-learn>=1.4",),
        "sklearn.*",
    ),
    "encoder": _Details("An independently recurrent network (IndRNN).", "{{camel}}Encoder", "encoder.hidden=128"),
    "head": _Details("A classifier that learns by the focal loss.", "{{camel}}Head", "tasks.sentiment.head.gamma=1.0"),
}


def new(name: str, kind: PluginKind = "task", out: Path | None = None) -> Path:
    """Write the distribution `seqkit-NAME` and return its folder.

    Args:
        name: its name in recipes: lower-case words, joined by hyphens.
        kind: what it brings.
        out: the folder to create; None: `seqkit-NAME` in the working directory. It must not exist or be empty.

    Raises:
        UsageError: the name cannot be used, or the folder is not empty; then nothing is written.
    """
    check_name(name, kind)
    files = render(name, kind)
    folder = Path(f"seqkit-{name}") if out is None else Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} exists and is not empty, and nothing is overwritten; choose another with --out")
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {(error.strerror or str(error)).lower()}") from error
    return folder


def check_name(name: str, kind: PluginKind) -> None:
    """Refuse a name that does not work as a key of a recipe, a distribution, a module and a Python name at once.

    Raises:
        UsageError: with what is wrong, and a similar name that works, if there is one.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    stem = plain.removeprefix("seqkit-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        hint = f"; '{stem}' would work" if re.match("[a-z]", stem) else ""
        raise UsageError(f"'{name}' cannot be a plugin's name: use lower-case letters, digits and single hyphens{hint}")
    if name.startswith("seqkit-") or name == "seqkit":
        hint = f": give '{stem}'" if stem not in ("", "seqkit") else ""
        raise UsageError(f"'{name}': the prefix seqkit- is added to the distribution's name automatically{hint}")
    if len(name) > MAX_NAME:
        raise UsageError(f"'{name}' has {len(name)} characters; at most {MAX_NAME} are allowed")
    if keyword.iskeyword(name) or name in dir(builtins) or name == "annotations":
        raise UsageError(f"'{name}' is a keyword or builtin of Python; choose another name")
    from seqkit.registry import registry

    for plugin in registry.installed(f"{kind}s"):
        if plugin.name == name:
            distribution = f"{plugin.distribution} {plugin.version}".rstrip()
            raise UsageError(
                f"{distribution} already has a {kind} '{name}', and recipes could not tell them apart; "
                "choose another name"
            )
    module = _module(name)
    if importlib.util.find_spec(module) is not None:
        raise UsageError(f"the installed module '{module}' would hide this one; choose another name")


def render(name: str, kind: PluginKind) -> dict[str, str]:
    """{path in the distribution: text}."""
    values = _values(name, kind)
    module = f"src/{values['module']}"
    sources = {
        ".gitignore": "gitignore.txt",
        "README.md": "README.md.txt",
        "pyproject.toml": "pyproject.toml.txt",
        f"{module}/__init__.py": f"{kind}/module.py.txt",
        f"tests/test_{values['symbol']}.py": f"{kind}/test.py.txt",
        f"{name}.yaml": f"{kind}/recipe.yaml",
    }
    templates = importlib.resources.files("seqkit") / "templates"
    files = {
        path: _fill(templates.joinpath(*source.split("/")).read_text(encoding="utf-8"), values)
        for path, source in sources.items()
    }
    return {**files, f"{module}/py.typed": ""}


def supported(version: str = __version__) -> str:
    """The releases that are compatible with this one: `>=0.1,<0.2`, and from 1.0 on `>=1.2,<2`."""
    major, minor = (int(number) for number in re.findall(r"\d+", version)[:2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def _values(name: str, kind: PluginKind) -> dict[str, str]:
    """{name in the templates: text}."""
    facts = KINDS[kind]
    needs = (f"seqkit{supported()}", *facts.needs)
    public_modules = [f"`{module}`" for module in PUBLIC_NAMES]
    override = f'\n[[tool.mypy.overrides]]\nmodule = "{facts.untyped}"\nignore_missing_imports = true\n'
    values = {
        "name": name,
        "kind": kind,
        "distribution": f"seqkit-{name}",
        "module": _module(name),
        "symbol": name.replace("-", "_"),
        "camel": "".join(word.capitalize() for word in name.split("-")),
        "dependencies": ", ".join(f'"{need}"' for need in needs),
        "overrides": override if facts.untyped else "",
        "public_modules": f"{', '.join(public_modules[:-1])} and {public_modules[-1]}",
        "about": facts.about,
    }
    return values | {"attribute": _fill(facts.attribute, values), "example": _fill(facts.example, values)}


def _module(name: str) -> str:
    """The name of the module."""
    return f"seqkit_{name.replace('-', '_')}"


def _fill(text: str, values: Mapping[str, str]) -> str:
    """The text with every `{{name}}` replaced by its value, ending in one line break, or none if it had none."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text).rstrip("\n") + "\n" * text.endswith("\n")
