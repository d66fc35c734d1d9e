"""Draw the map of packages in docs/design.md from the imports of the code.

python docs/make_map.py           write it
python docs/make_map.py --check   exit with 1 if the page is out of date

The code is read, not run. The layers are those of `setup.cfg`; an import counts wherever it is written, also inside a
function or for type checkers only.
"""

from __future__ import annotations

import ast
import configparser
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design.md"
BEGIN, END = "<!-- map: made by docs/make_map.py -->\n", "<!-- end of map -->\n"
CONTRACT = "importlinter:contract:layers"
EVERYWHERE = {"public_api", "_version"}
"""Modules that import nothing and may be imported by all: not drawn."""
OUTSIDE = {"__main__"}
"""Modules that stand above the layers."""

Graph: TypeAlias = Mapping[str, set[str]]
"""{importer: what it imports}"""


def modules(root: Path = ROOT) -> dict[str, Path]:
    """{dotted name: file} of the core and of the plugins in `plugins/`."""
    paths = {}
    for base in (root, root / "plugins"):
        for path in sorted(base.glob("seqkit*/**/*.py")):
            if "templates" not in path.parts:
                parts = path.relative_to(base).with_suffix("").parts
                paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def imports(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The `known` modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                name = member if member in known else node.module
                if name in known:
                    yield name
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def package_of(module: str) -> str:
    """`seqkit.data.store.columns` -> `data`, `seqkit_ner.layers` -> `plugins`, `seqkit` -> `seqkit`."""
    parts = module.split(".")
    return "plugins" if parts[0] != "seqkit" else parts[1] if len(parts) > 1 else "seqkit"


def package_graph(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Which package imports which others."""
    graph: dict[str, set[str]] = {package_of(name): set() for name in known}
    for name, path in known.items():
        for imported in imports(path, known):
            if package_of(imported) != package_of(name):
                graph[package_of(name)].add(package_of(imported))
    return graph


def reduced(graph: Graph) -> dict[str, set[str]]:
    """The same graph without the arrows that others imply: if a -> b -> c, then a -> c is left out."""

    def reachable(start: str) -> set[str]:
        names: set[str] = set()
        stack = [start]
        while stack:
            for name in graph[stack.pop()] - names:
                names.add(name)
                stack.append(name)
        return names

    return {
        name: {target for target in targets if not any(target in reachable(other) for other in targets - {target})}
        for name, targets in graph.items()
    }


def layers() -> list[list[str]]:
    """The packages of each layer, highest layer first, as `setup.cfg` lists them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config[CONTRACT]["layers"].strip().split("\n")
    return [[name.strip().removeprefix("seqkit.") for name in line.split("|")] for line in lines]


def diagram(graph: Graph) -> str:
    """The packages by layer and their imports, as Mermaid."""
    rows = layers()
    lines = ["```mermaid", "flowchart TD", "    seqkit[seqkit: the public names]"]
    for number, names in zip(range(len(rows), 0, -1), rows, strict=True):
        if shown := [name for name in names if name not in EVERYWHERE]:
            lines += [f"    subgraph l{number} [layer {number}]", *(f"        {name}" for name in shown), "    end"]
    for name, targets in reduced(graph).items():
        if name not in OUTSIDE:
            lines += [f"    {name} --> {target}" for target in sorted(targets - EVERYWHERE)]
    return "\n".join([*lines, "```"]) + "\n"


def table(known: Mapping[str, Path]) -> str:
    """Each package with its layer, the first sentence of its docstring, and its modules."""
    rows = layers()
    lines = ["| layer | package | what it holds | modules |", "| ---: | --- | --- | --- |"]
    for number, names in zip(range(len(rows), 0, -1), rows, strict=True):
        for name in names:
            path = known[f"seqkit.{name}"]
            docstring = ast.get_docstring(ast.parse(path.read_bytes())) or "The version."
            sentence = docstring.split("\n\n")[0].replace("\n", " ")
            inside = [other for other in known if other.startswith(f"seqkit.{name}.")]
            inner = ", ".join(f"`{other.removeprefix(f'seqkit.{name}.')}`" for other in inside)
            suffix = "/" if path.name == "__init__.py" else ".py"
            lines.append(f"| {number} | `{name}{suffix}` | {sentence} | {inner} |")
    return "\n".join(lines) + "\n"


def with_map(page: str) -> str:
    """The page with a new map between its markers."""
    known = modules()
    before, _, rest = page.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise LookupError(f"{PAGE} lacks the lines {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}{diagram(package_graph(known))}\n{table(known)}{END}{after}"


def main(check: bool) -> int:
    page = PAGE.read_text(encoding="utf-8")
    drawn = with_map(page)
    if page != drawn:
        print(f"{PAGE.name}: {'out of date; run: python docs/make_map.py' if check else 'written'}")
        if not check:
            PAGE.write_text(drawn, encoding="utf-8")
    return int(check and page != drawn)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
