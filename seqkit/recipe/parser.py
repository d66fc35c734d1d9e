"""Parses a recipe's bytes into a tree in which every key and value knows its location in the source.

YAML 1.2 without its traps: no tags, merge keys, directives, second documents, infinities or non-text keys, and limits
on size, depth and count, so that hostile bytes cost little. ruamel.yaml splits the text into events; the tree is built
here without recursion, and plain scalars are read by the 1.2 core schema (`no` is text, `012` is 12, `1:30` is text,
`1e-3` is a number). One extension of ruamel's is kept: `1_000` is 1000.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from seqkit.errors import Problem

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 32

_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep, the limit for a recipe"

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, order=True, slots=True)
class Location:
    """A position in a recipe file or a `--set` flag. Locations sort in reading order: the file, then the flags.

    Attributes:
        order: (0, line, column) in a file, (1, n, 0) in the n-th flag.
        text: `file:line:column` or the flag itself.
        base: the folder that relative paths given at this location start from.
    """

    order: tuple[int, int, int]
    text: str
    base: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True, slots=True)
class RecipeIssue:
    """Something wrong with a recipe, and the location that sorts it among the others."""

    location: Location
    message: str
    hint: str = ""

    @property
    def problem(self) -> Problem:
        return Problem(self.location.text, self.message, self.hint)


@dataclass(frozen=True, slots=True)
class Node:
    """A value: a scalar, a list of nodes, or keys with their nodes."""

    location: Location
    value: Scalar | list[Node] | dict[str, Entry]
    nodes: int = 1
    depth: int = 1

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Its keys, none if it is not a mapping."""
        return self.value if isinstance(self.value, dict) else {}


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping: the location of the key, and its value."""

    location: Location
    node: Node


Locate: TypeAlias = Callable[[int, int], Location]
"""Turns (line, column), both counted from 0, into a location."""


class Fatal(Exception):
    """The text cannot be parsed any further."""

    def __init__(self, issue: RecipeIssue) -> None:
        self.issue = issue


def node_of(value: Any, location: Location) -> Node:
    """A plain Python value as a tree, all of it at `location`."""
    if isinstance(value, Mapping):
        return Node(location, {str(key): Entry(location, node_of(item, location)) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return Node(location, [node_of(item, location) for item in value])
    if isinstance(value, Path):
        return Node(location, str(value.absolute()))
    if value is None or isinstance(value, (bool, int, float, str)):
        return Node(location, value)
    raise TypeError(f"{type(value).__name__} cannot be written in a recipe")


def tree_of(sections: Mapping[Any, Any], name: str, base: Path) -> Node:
    """A recipe that is a mapping of Python, as a tree. Locations are written as in Python: `recipe["train"]["lr"]`.

    Raises:
        Fatal: a value that cannot be written in a recipe, or too many or too deep ones.
    """
    count = 0

    def build(value: Any, place: str, depth: int) -> Node:
        nonlocal count
        count += 1
        location = Location((0, count, 0), place, base)
        if depth > MAX_DEPTH:
            raise Fatal(RecipeIssue(location, _TOO_DEEP))
        if count > MAX_NODES:
            raise Fatal(RecipeIssue(location, f"has more than {MAX_NODES:,} values, the limit for a recipe"))
        if isinstance(value, Mapping):
            entries: dict[str, Entry] = {}
            for key, item in value.items():
                if not isinstance(key, str):
                    raise Fatal(RecipeIssue(location, f"the key {key!r} is not text"))
                node = build(item, f"{place}[{json.dumps(key, ensure_ascii=False)}]", depth + 1)
                entries[key] = Entry(node.location, node)
            return Node(location, entries)
        if isinstance(value, (list, tuple)):
            return Node(location, [build(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)])
        if isinstance(value, PurePath):
            return Node(location, str(Path(value).expanduser().absolute()))
        scalar = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
        if isinstance(scalar, float) and not math.isfinite(scalar):
            raise Fatal(RecipeIssue(location, f"{scalar} is not a finite number"))
        if scalar is None or isinstance(scalar, (bool, int, float, str)):
            return Node(location, scalar)
        raise Fatal(RecipeIssue(location, f"a {type(value).__name__} cannot be written in a recipe"))

    return build(sections, name, 0)


def values_of(node: Node) -> Any:
    """The plain value of a tree."""
    if isinstance(node.value, dict):
        return {key: values_of(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [values_of(item) for item in node.value]
    return node.value


def decode(data: bytes, locate: Locate) -> str:
    """The text of UTF-8 bytes, with or without a byte-order mark.

    Raises:
        Fatal: at the first byte that is not UTF-8, or the first unprintable character.
    """
    start = locate(0, 0)
    if len(data) > MAX_BYTES:
        raise Fatal(RecipeIssue(start, f"the file is larger than {MAX_BYTES // 1024} KiB, the limit for a recipe"))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Fatal(RecipeIssue(start, "the file is UTF-16", "save it as UTF-8"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8-sig", errors="replace")
        raise Fatal(
            RecipeIssue(locate(*_position(good)), f"byte 0x{data[error.start]:02x} is not UTF-8", "save it as UTF-8")
        ) from None
    if bad := _UNPRINTABLE.search(text):
        location = locate(*_position(text[: bad.start()]))
        raise Fatal(RecipeIssue(location, f"the character U+{ord(bad[0]):04X} is not allowed in a recipe"))
    return text


def compose(text: str, locate: Locate) -> tuple[Node, list[RecipeIssue]]:
    """The tree of a text, and the issues that did not stop the parser.

    Raises:
        Fatal: a syntax error, an empty file, two documents, a directive, too deep or too large.
    """
    for number, line in enumerate(re.split("\r\n|\r|\n", text)):
        if line.startswith("%"):
            message = "directives ('%') are not allowed: recipes are always YAML 1.2"
            raise Fatal(RecipeIssue(locate(number, 0), message, "remove this line"))
        if line.strip() and not line.lstrip().startswith("#"):
            break
    issues: list[RecipeIssue] = []
    return _Composer(locate, issues).compose(text), issues


class _RefusedKey(str):
    """A key that an issue was reported for."""


@dataclass(slots=True)
class _OpenCollection:
    """A list or a mapping whose end has not been read yet."""

    location: Location
    value: list[Node] | dict[str, Entry]
    anchor: str | None
    key: tuple[str | None, Location] | None = None
    nodes: int = 1
    depth: int = 1


@dataclass(slots=True)
class _Composer:
    """Builds the tree from ruamel's events. `anchors` has each name's node, or None while the node is not complete."""

    locate: Locate
    issues: list[RecipeIssue]
    anchors: dict[str, Node | None] = field(default_factory=dict)
    stack: list[_OpenCollection] = field(default_factory=list)
    total: int = 0
    root: Node | None = None

    def compose(self, text: str) -> Node:
        documents = 0
        for event in self._events(text):
            kind = type(event).__name__
            location = self._location(event.start_mark)
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    hint = "put each recipe in a file of its own"
                    raise Fatal(RecipeIssue(location, "a second document begins here", hint))
            elif kind == "AliasEvent":
                self._alias(event.anchor, location)
            elif kind == "ScalarEvent":
                self._refuse_tag(event, location)
                value = self._scalar(event.value, location) if event.implicit[0] else self._text(event.value, location)
                self._add(Node(location, value), event.anchor)
            elif kind in ("SequenceStartEvent", "MappingStartEvent"):
                self._refuse_tag(event, location)
                if len(self.stack) >= MAX_DEPTH:
                    raise Fatal(RecipeIssue(location, _TOO_DEEP))
                self._count(1, location)
                if event.anchor:
                    self.anchors[event.anchor] = None  # not complete: an alias to it would be a loop
                self.stack.append(_OpenCollection(location, [] if kind.startswith("Seq") else {}, event.anchor))
            elif kind in ("SequenceEndEvent", "MappingEndEvent"):
                closed = self.stack.pop()
                node = Node(closed.location, closed.value, closed.nodes, closed.depth)
                self._add(node, closed.anchor, counted=True)
        if self.root is None:
            raise Fatal(RecipeIssue(self.locate(0, 0), "the file is empty"))
        return self.root

    def _events(self, text: str) -> Iterator[Any]:
        """ruamel's events. Its errors, and any other exception that hostile text provokes in it, become Fatal."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError

        location = self.locate(0, 0)
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                location = self._location(event.start_mark)
                yield event
        except Fatal:
            raise
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            message = " ".join(f"{error.context or ''} {error.problem or ''}".split())
            raise Fatal(RecipeIssue(self._location(mark) if mark else location, f"not valid YAML: {message}")) from None
        except Exception as error:
            message = " ".join(str(error).split())
            raise Fatal(RecipeIssue(location, f"not valid YAML after this point: {message}")) from None

    def _location(self, mark: Any) -> Location:
        return self.locate(mark.line, mark.column)

    def _add_issue(self, location: Location, message: str, hint: str = "") -> None:
        self.issues.append(RecipeIssue(location, message, hint))

    def _count(self, nodes: int, location: Location) -> None:
        self.total += nodes
        if self.total > MAX_NODES:
            raise Fatal(RecipeIssue(location, f"more than {MAX_NODES} values, the limit for a recipe"))

    def _refuse_tag(self, event: Any, location: Location) -> None:
        if event.tag is not None:
            shown = str(event.tag).replace("tag:yaml.org,2002:", "!!")[:40]
            hint = "remove it: the option decides the type"
            self._add_issue(location, f"the tag '{shown}' is not allowed", hint)

    def _alias(self, anchor: str, location: Location) -> None:
        node = self.anchors.get(anchor)
        if node is None:
            reason = "contains itself" if anchor in self.anchors else "is not defined above"
            raise Fatal(RecipeIssue(location, f"the anchor '{anchor[:40]}' {reason}"))
        if len(self.stack) + node.depth > MAX_DEPTH:
            raise Fatal(RecipeIssue(location, _TOO_DEEP))
        self._count(node.nodes, location)
        self._add(node, None, counted=True, location=location)

    def _add(self, node: Node, anchor: str | None, *, counted: bool = False, location: Location | None = None) -> None:
        """Add a finished node to the open list or mapping; without one it is the root."""
        if not counted:
            self._count(1, node.location)
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.nodes += node.nodes
        top.depth = max(top.depth, node.depth + 1)
        if isinstance(top.value, list):
            top.value.append(node)
        elif top.key is None:
            key_location = location or node.location
            top.key = (self._key(node, key_location), key_location)
        else:
            (name, key_location), top.key = top.key, None
            if name is None:
                return
            if name in top.value:
                first = top.value[name].location
                message = f"the key '{name}' is given twice in this mapping"
                self._add_issue(key_location, message, f"first at {first.text}")
            else:
                top.value[name] = Entry(key_location, node)

    def _key(self, node: Node, location: Location) -> str | None:
        if isinstance(node.value, str):
            return None if isinstance(node.value, _RefusedKey) else node.value
        if isinstance(node.value, (list, dict)):
            shown = "a list" if isinstance(node.value, list) else "a mapping"
        else:
            shown = "null" if node.value is None else str(node.value).lower()
        self._add_issue(location, f"a key must be text, got {shown}", "put it in quotes if you mean the text")
        return None

    def _text(self, value: str, location: Location) -> str:
        if bad := _UNPRINTABLE_ESCAPED.search(value):
            self._add_issue(location, f"the character U+{ord(bad[0]):04X} is not allowed in a recipe")
        return value

    def _scalar(self, value: str, location: Location) -> Scalar:
        """A plain scalar by the core schema of YAML 1.2."""
        top = self.stack[-1] if self.stack else None
        if value == "<<" and top is not None and isinstance(top.value, dict) and top.key is None:
            self._add_issue(location, "merge keys ('<<') are not allowed", "write out the options")
            return _RefusedKey(value)
        if value in _WORDS:
            return _WORDS[value]
        if not value or value[0] not in "+-.0123456789":
            return value
        digits = _GROUPED.sub(lambda match: match[0].replace("_", ""), value)
        if _INFINITE.fullmatch(value):
            self._add_issue(location, f"the number '{value}' is not allowed", "give a finite number")
            return 0.0
        number: int | float
        if _INTEGER.fullmatch(digits):
            number = int(digits) if len(digits) < 40 else 2**64
        elif _BASED.fullmatch(value):
            number = int(value, 0) if len(value) < 40 else 2**64
        elif _FLOAT.fullmatch(digits):
            number = float(digits)
        else:
            return value
        if not math.isfinite(number) or (isinstance(number, int) and not -(2**63) <= number < 2**63):
            self._add_issue(location, f"the number {value[:24]} is too large", "at most 64 bits are supported")
            return 0
        return number


_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_GROUPED = re.compile("^[-+]?[0-9]+(_[0-9]+)+")  # before a point or an exponent only
_INTEGER = re.compile("[-+]?[0-9]+")
_BASED = re.compile("0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# What YAML calls unprintable, and line breaks of other standards: editors and YAML count lines at them differently.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_UNPRINTABLE_ESCAPED = re.compile("[\x00\ud800-\udfff]")


def is_plain_word(text: str) -> bool:
    """Whether this text reads back as the same text when it is written without quotes."""
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./+-]*", text)) and text not in _WORDS


def _position(before: str) -> tuple[int, int]:
    lines = re.split("\r\n|\r|\n", before)
    return len(lines) - 1, len(lines[-1])
