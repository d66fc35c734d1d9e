"""Write docs/reference.md from the docstrings of the public doors, and the table of rooms in docs/design.md.

python docs/make_reference.py           write both
python docs/make_reference.py --check   leave with 1 if one of them is not what the code says

The code is read, not run: nothing of seqkit is imported but its list of doors.
"""

from __future__ import annotations

import ast
import configparser
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from seqkit.public_api import PUBLIC_NAMES

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
WIDTH = 110
HEAD = """# Reference of the public doors

What a plugin may import, and all of it: a name that stands here keeps its meaning, and one that is to go warns for two
minor releases first. Made from the docstrings by `python docs/make_reference.py`; [plugins.md](plugins.md) shows how it
is used.

Letters: B batch, T time, U length of an output, D width of an input step, H width of a state, C classes, K beams.
"""
BEGIN, END = "<!-- rooms: made by docs/make_reference.py -->\n", "<!-- end of rooms -->\n"

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign


class Found(NamedTuple):
    """Where a name is defined: the module's body, and the place in it."""

    body: list[ast.stmt]
    at: int

    @property
    def node(self) -> ast.stmt:
        return self.body[self.at]

    @property
    def remark(self) -> str:
        """The text that follows an assignment and says what it is."""
        after = self.body[self.at + 1 : self.at + 2]
        return _text(after[0]) if after else ""


def reference() -> str:
    """The whole page."""
    parts = [HEAD, contents()]
    for door, names in PUBLIC_NAMES.items():
        about = ast.get_docstring(module(door)) or ""
        parts.append(f"## {door}\n\n{prose(about)}")
        parts += [entry(door, name) for name in names if name != "__version__"]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def contents() -> str:
    lines = []
    for door, names in PUBLIC_NAMES.items():
        links = ", ".join(f"[{name}](#{anchor(door, name)})" for name in names if name != "__version__")
        lines.append(f"| [`{door}`](#{door.replace('.', '')}) | {links} |")
    return "| door | names |\n| --- | --- |\n" + "\n".join(lines) + "\n"


def anchor(door: str, name: str) -> str:
    """As the heading of an entry is turned into an address: lower case, without dots."""
    return f"{door}{name}".replace(".", "").lower()


def entry(door: str, name: str) -> str:
    """The section of one name."""
    found = find(door, name)
    node = found.node
    heading = f"### {door}.{name}\n\n"
    if isinstance(node, ast.ClassDef):
        return heading + of_class(node)
    if isinstance(node, ast.FunctionDef):
        return heading + code(signature(node)) + "\n" + prose(ast.get_docstring(node) or "")
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    assert node.value is not None
    return heading + code(f"{name} = {ast.unparse(node.value)}") + "\n" + prose(found.remark or above(door, name))


def of_class(node: ast.ClassDef) -> str:
    """A class: how it is made, what it says of itself, its fields and its public methods."""
    bases = [ast.unparse(base) for base in node.bases]
    bases = [base for base in bases if base not in ("ABC", "Exception", "NamedTuple") and not base.startswith("_")]
    kinds = "".join(f"A `{base}`. " for base in bases)
    text = code(f"class {node.name}{made_by(node)}") + "\n" + prose(kinds + (ast.get_docstring(node) or ""))
    for number, part in enumerate(node.body):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            remark = Found(node.body, number).remark
            if remark:
                default = "" if part.value is None else f" = {ast.unparse(part.value)}"
                default = "" if default.startswith(" = field(") else default
                text += f"\n**`{part.target.id}: {ast.unparse(part.annotation)}{default}`**\n\n{prose(remark)}"
        elif isinstance(part, ast.FunctionDef) and not part.name.startswith("_") and ast.get_docstring(part):
            shown = f"{node.name}.{part.name}" if is_property(part) else signature(part, own=node.name)
            text += "\n" + code(shown) + "\n" + prose(ast.get_docstring(part) or "")
    return text


def made_by(node: ast.ClassDef) -> str:
    """The arguments of a class: those of its `__init__`, or the fields of a dataclass."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return arguments(part.args, skip=1)
    kinds = [ast.unparse(each) for each in (*node.decorator_list, *node.bases)]
    if not any(kind.startswith("dataclass") or kind == "NamedTuple" for kind in kinds):
        return ""
    fields, keywords = [], any("kw_only=True" in kind for kind in kinds)
    named = False
    for part in node.body:
        if not (isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)):
            continue
        annotation, default = ast.unparse(part.annotation), "" if part.value is None else ast.unparse(part.value)
        if annotation.startswith("ClassVar") or "repr=False" in default:
            continue  # what `fit` learns is no business of whoever makes it
        if ("kw_only=True" in default or keywords) and not named:
            fields.append("*")
            named = True
        given = re.search(r"default=([^,)]+)", default)
        if default.startswith("field("):
            default = given[1] if given else "..."
        fields.append(f"{part.target.id}: {annotation}" + (f" = {default}" if default else ""))
    return f"({', '.join(fields)})"


def signature(node: ast.FunctionDef, own: str = "") -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    static = any(ast.unparse(each) == "staticmethod" for each in node.decorator_list)
    return f"{own + '.' if own else ''}{node.name}{arguments(node.args, skip=bool(own) and not static)}{returns}"


def arguments(given: ast.arguments, *, skip: int = 0) -> str:
    """`(dim: int, /, *, hidden: Count = 128)`; the first `skip` of them, `self`, left out."""
    every = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(every) - len(given.defaults)) + list(given.defaults)
    shown = []
    for number, (each, default) in enumerate(zip(every, defaults, strict=True)):
        if number >= skip:
            shown.append(one(each, default))
        if given.posonlyargs and number == len(given.posonlyargs) - 1 and number >= skip:
            shown.append("/")
    if given.vararg is not None:
        shown.append("*" + one(given.vararg, None))
    elif given.kwonlyargs:
        shown.append("*")
    shown += [one(each, default) for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return f"({', '.join(shown)})"


def one(argument: ast.arg, default: ast.expr | None) -> str:
    text = argument.arg + (f": {ast.unparse(argument.annotation)}" if argument.annotation is not None else "")
    return text if default is None else f"{text} = {ast.unparse(default)}"


def is_property(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(each).rpartition(".")[2] in ("property", "cached_property") for each in node.decorator_list)


def code(text: str) -> str:
    """A block of Python, with a line for each argument where one line is too long."""
    if len(text) > WIDTH:
        head, _, rest = text.partition("(")
        inside, _, tail = rest.rpartition(")")
        text = f"{head}(\n" + "".join(f"    {part},\n" for part in split(inside)) + f"){tail}"
    return f"```python\n{text}\n```\n"


def split(text: str) -> Iterator[str]:
    """A list of arguments at its own commas, not those inside of brackets or quotation marks."""
    depth, start, quoted = 0, 0, False
    for at, letter in enumerate(text):
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0 and not quoted:
            yield text[start:at].strip()
            start = at + 1
    if text[start:].strip():
        yield text[start:].strip()


SECTIONS = {"Args": "Options and arguments", "Attributes": "Attributes", "Raises": "Raises", "Returns": "Returns"}


def prose(docstring: str) -> str:
    """A docstring as Markdown: its sections as lists, what is indented in it as it stands."""
    lines: list[str] = []
    section, indented = "", False
    for line in docstring.split("\n"):
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            section = line.rstrip(":")
            lines += [f"*{SECTIONS[section]}*", ""]
        elif section and line.startswith("    "):
            item = re.match(r"    ([\w*, ]+): (.*)", line)
            if item and section != "Returns":
                lines.append(f"- `{item[1]}`: {item[2]}")
            else:
                lines.append(line.strip() if section == "Returns" else f"  {line.strip()}")
        else:
            section = section if not line.strip() else ""
            if line.startswith("    ") and not indented:
                lines += ["```"]
                indented = True
            elif indented and line.strip() and not line.startswith("    "):
                while not lines[-1]:
                    lines.pop()
                lines += ["```", ""]
                indented = False
            lines.append(line[4:] if indented else line)
    if indented:
        lines.append("```")
    return textwrap.dedent("\n".join(lines)).strip() + "\n"


# ---- finding a definition, from the door to the room where it is


@cache
def module(name: str) -> ast.Module:
    path = ROOT / name.replace(".", "/")
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))


def find(door: str, name: str) -> Found:
    """Where a name is defined: here, or where this module imports it from."""
    body = module(door).body
    for number, node in enumerate(body):
        defined = isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name
        if defined or name in _targets(node):
            return Found(body, number)
    for each in ast.walk(module(door)):
        if isinstance(each, ast.ImportFrom) and each.module:
            for alias in each.names:
                if (alias.asname or alias.name) == name:
                    return find(each.module, alias.name)
    raise LookupError(f"{door} has no {name}")


def above(door: str, name: str) -> str:
    """The comment above the lines of which a definition is one."""
    for each in ast.walk(module(door)):
        if isinstance(each, ast.ImportFrom) and any(alias.name == name for alias in each.names) and each.module:
            return above(each.module, name)
    path = ROOT / door.replace(".", "/")
    lines = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8").split("\n")
    at = find(door, name).node.lineno - 1
    while at > 0 and lines[at].strip() and not lines[at].startswith("#"):
        at -= 1
    return lines[at].removeprefix("# ") if lines[at].startswith("#") else ""


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _text(node: ast.stmt) -> str:
    value = node.value if isinstance(node, ast.Expr) else None
    return inspect.cleandoc(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


# ---- the rooms


def rooms() -> str:
    """The floors of `setup.cfg`, highest first, each room with the first sentence of its docstring."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    floors = config["importlinter:contract:floors"]["layers"].strip().split("\n")
    lines = ["| floor | room | what it is |", "| --- | --- | --- |"]
    for number, floor in enumerate(floors):
        for place, room in enumerate(floor.split(" | ")):
            about = (ast.get_docstring(module(room)) or "The version.").split("\n\n")[0].replace("\n", " ")
            name = room.removeprefix("seqkit.").strip()
            mark = "/" if (ROOT / "seqkit" / name).is_dir() else ".py"
            lines.append(f"| {len(floors) - number if not place else ''} | `{name}{mark}` | {about} |")
    return "\n".join(lines) + "\n"


def design(text: str) -> str:
    """The page on the house, with the table of rooms put in."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{rooms()}{END}{after}"


def main(check: bool) -> int:
    pages = {
        FOLDER / "reference.md": reference(),
        FOLDER / "design.md": design((FOLDER / "design.md").read_text(encoding="utf-8")),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.name}: {'out of date; run: python docs/make_reference.py' if check else 'written'}")
        if not check:
            path.write_text(pages[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
