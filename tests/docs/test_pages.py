"""What the pages say can be done, can be done: links, commands, options, tests, and names of code."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from benchmarks.frame import GROUPS
from seqkit import recipe
from seqkit.cli import main
from tests.helpers.pages import PAGES, ROOT, blocks

OWN_DATA = PAGES["docs/own-data.md"]
WRITTEN = {name: text for name, text in PAGES.items() if name not in ("docs/reference.md", "docs/benchmarks.md")}
"""The pages that are written by hand."""


def anchors(page: str) -> set[str]:
    """The headings of a page as GitHub makes addresses of them."""
    headings = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", WRITTEN)
def test_pages_use_plain_words(name: str) -> None:
    text = re.sub(r"<!-- map.*<!-- end of map -->", "", WRITTEN[name], flags=re.DOTALL)
    metaphor = re.search(r"\b(doors?|rooms?|house|strangers?|floors?)\b", text, re.IGNORECASE)
    assert metaphor is None, text[max(0, metaphor.start() - 80) : metaphor.end() + 80]


# ---- commands


def commands(text: str) -> Iterator[str]:
    """The commands of a page: in its text, and the lines of its blocks."""
    shell = "\n".join((*blocks(text, ""), *blocks(text, "sh")))
    code = re.sub(r"\\\n\s*", "", shell).splitlines()
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for snippet in (*code, *re.findall(r"`([^`\n]+)`", outside)):
        for command in re.split(r"&&|&(?!&)|;", snippet.partition("  #")[0]):
            words = command.strip().removeprefix("$ ")
            yield re.sub(r"^((?:[A-Z_]+=\S+|taskset -c \d+) )+", "", words)


ALL = sorted({(name, command) for name, text in WRITTEN.items() for command in commands(text)})


@pytest.mark.parametrize(("page", "command"), [item for item in ALL if re.match(r"(python -m )?seqkit [a-z]", item[1])])
def test_commands_of_seqkit_exist(page: str, command: str) -> None:
    group: click.Command = main
    words = iter(shlex.split(command.removeprefix("python -m ").replace("...", "")))
    context = click.Context(main)
    next(words)
    for word in words:
        if isinstance(group, click.Group):
            subcommand = group.get_command(context, word)
            assert subcommand is not None, f"{page}: {command}"
            group = subcommand
        elif word.startswith("--"):
            names = {name for parameter in group.params for name in (*parameter.opts, *parameter.secondary_opts)}
            assert word.partition("=")[0] in names, f"{page}: {command}"


@cache
def names_of_tests(path: Path) -> list[str]:
    """What `pytest -k` compares with in a file: the names of file, classes and functions, lower case."""
    tree = ast.parse(path.read_bytes())
    names = []
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{path.name} {node.name} " if isinstance(node, ast.ClassDef) else f"{path.name} "
        names += [
            (prefix + member.name).lower()
            for member in members
            if isinstance(member, ast.FunctionDef) and member.name.startswith("test")
        ]
    return names


@pytest.mark.parametrize(("page", "command"), [item for item in ALL if item[1].startswith("pytest ")])
def test_tests_that_are_named_exist(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    keyword = words[words.index("-k") + 1] if "-k" in words else ""
    paths = [ROOT / word.partition("::")[0] for word in words if word.startswith("tests")]
    assert all(path.exists() for path in paths), f"{page}: {command}"
    names = [name for path in paths if path.suffix == ".py" for name in names_of_tests(path)]
    if keyword and names:
        expression = re.sub(r"\b(?!and\b|or\b|not\b)(\w+)", r"('\1' in name)", keyword.lower())
        assert any(eval(expression, {"name": name}) for name in names), f"{page}: {command}"
    for word in words:
        if "::" in word:
            assert any(name.endswith(f" {word.rpartition('::')[2]}") for name in names), f"{page}: {command}"


@pytest.mark.parametrize(("page", "command"), [item for item in ALL if item[1].startswith("python ")])
def test_scripts_and_modules_that_are_named_exist(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0] != "-m":
        assert (ROOT / words[0]).exists(), f"{page}: {command}"
        return
    module = ROOT / words[1].replace(".", "/")
    if words[1] != "seqkit":
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), f"{page}: {command}"
    if words[1] == "tests.faults" and len(words) > 2:
        source = (ROOT / "tests/faults/__main__.py").read_text(encoding="utf-8")
        assert f'"{words[2]}"' in source, f"{page}: {command}"
    if words[1] == "benchmarks":
        groups = [word for word in words[2:3] if word.isalpha()]
        assert set(groups) <= {*GROUPS, "GROUP"}, f"{page}: {command}"


# ---- names of files and of code


@pytest.mark.parametrize("name", WRITTEN)
def test_files_that_are_named_exist(name: str) -> None:
    """`tests/io/test_download.py`, `seqkit/training/loop.py`, or `training/loop.py` for short."""
    packages = "|".join(path.name for path in (ROOT / "seqkit").iterdir() if path.is_dir())
    full = re.findall(r"`((?:seqkit|tests|plugins|recipes|benchmarks|docs)/[\w./-]*)", WRITTEN[name])
    short = re.findall(rf"`((?:{packages})/[\w/]*(?:\.py|\.cpp|(?<=/)(?=`)))", WRITTEN[name])
    assert [path for path in full if not (ROOT / path).exists()] == []
    assert [path for path in short if not (ROOT / "seqkit" / path).exists()] == []


@cache
def definitions(path: Path) -> set[str]:
    """Functions, classes and assigned names of a module; members as `Class.member`."""
    names: set[str] = set()

    def add(body: list[ast.stmt], prefix: str = "") -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                add(node.body, f"{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    add(ast.parse(path.read_bytes()).body)
    return names


@pytest.mark.parametrize("name", WRITTEN)
def test_code_that_is_named_exists(name: str) -> None:
    """`training/loop.py:train` is a file of the core and what it defines."""
    for path, symbol in re.findall(r"`([\w/]+\.py):(\w+(?:\.\w+)?)", WRITTEN[name]):
        where = ROOT / "seqkit" / path if (ROOT / "seqkit" / path).exists() else ROOT / path
        assert where.exists(), path
        assert symbol in definitions(where), f"{path}:{symbol}"


@pytest.mark.parametrize("name", WRITTEN)
def test_variables_that_are_named_are_read(name: str) -> None:
    variables = set(re.findall(r"\bSEQKIT_[A-Z]+(?:_[A-Z]+)*\b", WRITTEN[name]))
    sources = [path.read_text(encoding="utf-8") for top in ("seqkit", "tests") for path in (ROOT / top).rglob("*.py")]
    assert [variable for variable in variables if not any(f'"{variable}"' in source for source in sources)] == []


@pytest.mark.parametrize("text", blocks(OWN_DATA, "yaml"))
def test_the_recipes_for_your_own_data_are_valid(text: str) -> None:
    loaded = recipe.parse(text.encode(), "docs/own.yaml")
    assert recipe.build_task(next(iter(loaded.tasks.values()))).read is not None
