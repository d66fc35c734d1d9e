"""Write docs/reference.md from the docstrings of the public API.

python docs/make_reference.py           write it
python docs/make_reference.py --check   exit with 1 if the page is out of date

The code is read, not run: nothing of seqkit is imported but its list of public names.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from seqkit.public_api import PUBLIC_NAMES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference.md"
WIDTH = 110
"""Characters of a signature before it gets a line for each argument."""
HEAD = """# Reference of the public API

Everything that a plugin or a program may import. A name on this page keeps its meaning, and before one is removed it
warns for two minor releases. Generated from the docstrings by `python docs/make_reference.py`; [plugins.md](plugins.md)
and [python.md](python.md) show how the names are used.

Letters: B batch, T time, U length of an output, D width of an input step, H width of a state, C classes, K beams.
"""


class Definition(NamedTuple):
    """Where a name is defined: a module's or class's body, and the index of the statement in it."""

    body: list[ast.stmt]
    index: int

    @property
    def node(self) -> ast.stmt:
        return self.body[self.index]

    @property
    def description(self) -> str:
        """The string that follows an assignment and documents it."""
        following = self.body[self.index + 1 : self.index + 2]
        return string_of(following[0]) if following else ""


def reference() -> str:
    """The whole page."""
    sections = [HEAD, contents()]
    for module, names in PUBLIC_NAMES.items():
        docstring = ast.get_docstring(parsed(module)) or ""
        sections.append(f"## {module}\n\n{markdown(docstring)}")
        sections += [entry(module, name) for name in names if name != "__version__"]
    return "\n".join(section.rstrip("\n") + "\n" for section in sections)


def contents() -> str:
    lines = []
    for module, names in PUBLIC_NAMES.items():
        links = ", ".join(f"[{name}](#{anchor(module, name)})" for name in names if name != "__version__")
        lines.append(f"| [`{module}`](#{module.replace('.', '')}) | {links} |")
    return "| module | names |\n| --- | --- |\n" + "\n".join(lines) + "\n"


def anchor(module: str, name: str) -> str:
    """As GitHub makes an address of a heading: lower case, without dots."""
    return f"{module}{name}".replace(".", "").lower()


def entry(module: str, name: str) -> str:
    """The section of one name."""
    definition = find(module, name)
    node = definition.node
    heading = f"### {module}.{name}\n\n"
    if isinstance(node, ast.ClassDef):
        return heading + class_entry(node)
    if isinstance(node, ast.FunctionDef):
        return heading + code_block(signature(node)) + "\n" + markdown(ast.get_docstring(node) or "")
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    assert node.value is not None
    description = definition.description or comment_above(module, name)
    return heading + code_block(f"{name} = {ast.unparse(node.value)}") + "\n" + markdown(description)


def class_entry(node: ast.ClassDef) -> str:
    """A class: how it is made, its docstring, its documented fields and its public methods."""
    bases = [ast.unparse(base) for base in node.bases]
    bases = [base for base in bases if base not in ("ABC", "Exception", "NamedTuple") and not base.startswith("_")]
    parents = "".join(f"A `{base}`. " for base in bases)
    text = code_block(f"class {node.name}{constructor(node)}") + "\n"
    text += markdown(parents + (ast.get_docstring(node) or ""))
    for index, member in enumerate(node.body):
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            description = Definition(node.body, index).description
            if description:
                default = "" if member.value is None else f" = {ast.unparse(member.value)}"
                default = "" if default.startswith(" = field(") else default
                field = f"{member.target.id}: {ast.unparse(member.annotation)}{default}"
                text += f"\n**`{field}`**\n\n{markdown(description)}"
        elif isinstance(member, ast.FunctionDef) and is_shown(member):
            header = f"{node.name}.{member.name}" if is_property(member) else signature(member, owner=node.name)
            text += "\n" + code_block(header) + "\n" + markdown(ast.get_docstring(member) or "")
    return text


def is_shown(member: ast.FunctionDef) -> bool:
    """Whether a method is public and described; how an object is called is public, too."""
    is_public = not member.name.startswith("_") or member.name == "__call__"
    return is_public and bool(ast.get_docstring(member))


def constructor(node: ast.ClassDef) -> str:
    """The arguments of a class: those of its `__init__`, or the fields of a dataclass."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return arguments(member.args, skip=1)
    kinds = [ast.unparse(expression) for expression in (*node.decorator_list, *node.bases)]
    if not any(kind.startswith("dataclass") or kind == "NamedTuple" for kind in kinds):
        return ""
    fields, all_keywords = [], any("kw_only=True" in kind for kind in kinds)
    has_star = False
    for member in node.body:
        if not (isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)):
            continue
        annotation, default = ast.unparse(member.annotation), "" if member.value is None else ast.unparse(member.value)
        if annotation.startswith("ClassVar") or "repr=False" in default:
            continue  # set by `fit`, not by the caller
        if ("kw_only=True" in default or all_keywords) and not has_star:
            fields.append("*")
            has_star = True
        if default.startswith("field("):
            value = re.search(r"default=(\(\)|[^,)]+)", default)
            default = value[1] if value else "..."
        fields.append(f"{member.target.id}: {annotation}" + (f" = {default}" if default else ""))
    return f"({', '.join(fields)})"


def signature(node: ast.FunctionDef, owner: str = "") -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    is_static = any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
    prefix = f"{owner}." if owner else ""
    return f"{prefix}{node.name}{arguments(node.args, skip=bool(owner) and not is_static)}{returns}"


def arguments(args: ast.arguments, *, skip: int = 0) -> str:
    """`(dim: int, /, *, hidden: Count = 128)`; the first `skip` of them, `self`, left out."""
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    shown = []
    for index, (arg, default) in enumerate(zip(positional, defaults, strict=True)):
        if index >= skip:
            shown.append(argument(arg, default))
        if args.posonlyargs and index == len(args.posonlyargs) - 1 and index >= skip:
            shown.append("/")
    if args.vararg is not None:
        shown.append("*" + argument(args.vararg, None))
    elif args.kwonlyargs:
        shown.append("*")
    shown += [argument(arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return f"({', '.join(shown)})"


def argument(arg: ast.arg, default: ast.expr | None) -> str:
    text = arg.arg + (f": {ast.unparse(arg.annotation)}" if arg.annotation is not None else "")
    return text if default is None else f"{text} = {ast.unparse(default)}"


def is_property(node: ast.FunctionDef) -> bool:
    names = [ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list]
    return bool({"property", "cached_property"} & set(names))


def code_block(text: str) -> str:
    """A block of Python, with a line for each argument where one line is too long."""
    if len(text) > WIDTH:
        head, _, rest = text.partition("(")
        inside, _, tail = rest.rpartition(")")
        text = f"{head}(\n" + "".join(f"    {item},\n" for item in split(inside)) + f"){tail}"
    return f"```python\n{text}\n```\n"


def split(text: str) -> Iterator[str]:
    """A list of arguments at its own commas, not those inside of brackets or quotation marks."""
    depth, start, is_quoted = 0, 0, False
    for position, letter in enumerate(text):
        is_quoted ^= letter == "'"
        depth += 0 if is_quoted else (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0 and not is_quoted:
            yield text[start:position].strip()
            start = position + 1
    if text[start:].strip():
        yield text[start:].strip()


SECTIONS = {"Args": "Options and arguments", "Attributes": "Attributes", "Raises": "Raises", "Returns": "Returns"}


def markdown(docstring: str) -> str:
    """A docstring as Markdown: its sections become lists, its indented lines blocks of code."""
    lines: list[str] = []
    section, in_block = "", False
    for line in docstring.split("\n"):
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            section = line.rstrip(":")
            lines += [f"*{SECTIONS[section]}*", ""]
        elif section and line.startswith("    "):
            item = re.match(r"    ([\w*][\w*, ]*): (.*)", line)  # deeper lines go on
            if item and section != "Returns":
                lines.append(f"- `{item[1]}`: {item[2]}")
            else:
                lines.append(line.strip() if section == "Returns" else f"  {line.strip()}")
        else:
            section = section if not line.strip() else ""
            if line.startswith("    ") and not in_block:
                lines += ["```"]
                in_block = True
            elif in_block and line.strip() and not line.startswith("    "):
                while not lines[-1]:
                    lines.pop()
                lines += ["```", ""]
                in_block = False
            lines.append(line[4:] if in_block else line)
    if in_block:
        lines.append("```")
    return textwrap.dedent("\n".join(lines)).strip() + "\n"


# ---- from a public name to the module that defines it


def source_of(module: str) -> str:
    path = ROOT / module.replace(".", "/")
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(source_of(module))


def find(module: str, name: str) -> Definition:
    """Where a name is defined: in this module, or in the one that it is imported from."""
    body = parsed(module).body
    for index, node in enumerate(body):
        is_definition = isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name
        if is_definition or name in assigned_names(node):
            return Definition(body, index)
    for statement in ast.walk(parsed(module)):
        if isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return find(statement.module, alias.name)
    raise LookupError(f"{module} has no {name}")


def comment_above(module: str, name: str) -> str:
    """The comment above the group of lines to which a definition belongs."""
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names) and node.module:
            return comment_above(node.module, name)
    lines = source_of(module).split("\n")
    number = find(module, name).node.lineno - 1
    while number > 0 and lines[number].strip() and not lines[number].startswith("#"):
        number -= 1
    return lines[number].removeprefix("# ") if lines[number].startswith("#") else ""


def assigned_names(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def string_of(node: ast.stmt) -> str:
    """The text of a statement that is nothing but a string."""
    value = node.value if isinstance(node, ast.Expr) else None
    return inspect.cleandoc(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def main(check: bool) -> int:
    page = reference()
    is_stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page
    if is_stale:
        print(f"{PAGE.name}: {'out of date; run: python docs/make_reference.py' if check else 'written'}")
        if not check:
            PAGE.write_text(page, encoding="utf-8")
    return int(check and is_stale)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
