"""A recipe's bytes as a tree in which every key and value knows where it was said.

YAML 1.2 without its traps: no tags, merge keys, directives, second documents, infinities or non-text keys, and a cap on
size, depth and count, so that hostile bytes cost little. ruamel.yaml cuts the text into events; the tree is put
together here without recursion, and plain scalars are read by the 1.2 core schema (`no` is text, `012` is 12,
`1:30` is text, `1e-3` is a number). One liberty is kept from ruamel: `1_000` is 1000.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from seqkit.errors import Problem

MOST_BYTES = 256 * 1024
MOST_NODES = 20_000
MOST_DEPTH = 32

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """Where something was said. Places sort in reading order: the file first, then the flags as they were given.

    Attributes:
        order: (0, line, column) in a file, (1, n, 0) in the n-th flag.
        text: `file:line:column` or the flag itself.
        base: the folder that relative paths said here are relative to.
    """

    order: tuple[int, int, int]
    text: str
    base: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True, slots=True)
class RecipeIssue:
    """A problem and the place that sorts it among the others."""

    place: Place
    what: str
    hint: str = ""

    @property
    def problem(self) -> Problem:
        return Problem(self.place.text, self.what, self.hint)


@dataclass(frozen=True, slots=True)
class Node:
    """A value: a scalar, a list of nodes, or keys with their nodes."""

    place: Place
    value: Scalar | list[Node] | dict[str, Entry]
    nodes: int = 1
    depth: int = 1

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Its keys, none if it is not a mapping."""
        return self.value if isinstance(self.value, dict) else {}


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping: where the key stands, and its value."""

    place: Place
    node: Node


Places: TypeAlias = Callable[[int, int], Place]
"""(line, column), both from 0, to a place."""


class Fatal(Exception):
    """The text cannot be read past this point."""

    def __init__(self, finding: RecipeIssue) -> None:
        self.finding = finding


def node_of(value: Any, place: Place) -> Node:
    """A plain Python value as a tree that was said at `place`."""
    if isinstance(value, Mapping):
        return Node(place, {str(key): Entry(place, node_of(item, place)) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return Node(place, [node_of(item, place) for item in value])
    if isinstance(value, Path):
        return Node(place, str(value.absolute()))
    if value is None or isinstance(value, (bool, int, float, str)):
        return Node(place, value)
    raise TypeError(f"{type(value).__name__} is not something that a recipe can say")


def decode(data: bytes, places: Places) -> str:
    """UTF-8, with or without a byte-order mark, printable throughout.

    Raises:
        Fatal: at the first byte or character that a recipe cannot have.
    """
    start = places(0, 0)
    if len(data) > MOST_BYTES:
        raise Fatal(RecipeIssue(start, f"this is larger than {MOST_BYTES // 1024} KiB: not a recipe"))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Fatal(RecipeIssue(start, "this is UTF-16", "save it as UTF-8"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8-sig", errors="replace")
        raise Fatal(
            RecipeIssue(places(*_position(good)), f"byte 0x{data[error.start]:02x} is not UTF-8", "save it as UTF-8")
        ) from None
    if bad := _UNPRINTABLE.search(text):
        place = places(*_position(text[: bad.start()]))
        raise Fatal(RecipeIssue(place, f"character U+{ord(bad[0]):04X} does not belong in a recipe"))
    return text


def compose(text: str, places: Places) -> tuple[Node, list[RecipeIssue]]:
    """The tree of a text, and what is wrong with it that does not hinder reading on.

    Raises:
        Fatal: a syntax error, nothing there, two documents, a directive, too deep or too much.
    """
    for number, line in enumerate(re.split("\r\n|\r|\n", text)):
        if line.startswith("%"):
            what = "a '%' directive: recipes are YAML 1.2, and nothing may change that"
            raise Fatal(RecipeIssue(places(number, 0), what, "remove this line"))
        if line.strip() and not line.lstrip().startswith("#"):
            break
    findings: list[RecipeIssue] = []
    return _Composer(places, findings).compose(text), findings


class _Refused(str):
    """A key that was complained of already."""


@dataclass(slots=True)
class _Open:
    """A list or a mapping whose end has not come yet."""

    place: Place
    value: list[Node] | dict[str, Entry]
    anchor: str | None
    key: tuple[str | None, Place] | None = None
    awaits_value: bool = False
    nodes: int = 1
    depth: int = 1


@dataclass(slots=True)
class _Composer:
    places: Places
    findings: list[RecipeIssue]
    anchors: dict[str, Node | None] = field(default_factory=dict)
    stack: list[_Open] = field(default_factory=list)
    total: int = 0
    root: Node | None = None

    def compose(self, text: str) -> Node:
        documents = 0
        for event in self._events(text):
            kind = type(event).__name__
            place = self._place(event.start_mark)
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise Fatal(RecipeIssue(place, "a second document begins here", "one file is one recipe"))
            elif kind == "AliasEvent":
                self._alias(event.anchor, place)
            elif kind == "ScalarEvent":
                self._refuse_tag(event, place)
                value = self._scalar(event.value, place) if event.implicit[0] else self._text(event.value, place)
                self._put(Node(place, value), event.anchor)
            elif kind in ("SequenceStartEvent", "MappingStartEvent"):
                self._refuse_tag(event, place)
                if len(self.stack) >= MOST_DEPTH:
                    raise Fatal(RecipeIssue(place, f"nested more than {MOST_DEPTH} deep: not a recipe"))
                self._count(1, place)
                if event.anchor:
                    self.anchors[event.anchor] = None  # open: an alias to it now would be a loop
                self.stack.append(_Open(place, [] if kind.startswith("Seq") else {}, event.anchor))
            elif kind in ("SequenceEndEvent", "MappingEndEvent"):
                done = self.stack.pop()
                self._put(Node(done.place, done.value, done.nodes, done.depth), done.anchor, counted=True)
        if self.root is None:
            raise Fatal(RecipeIssue(self.places(0, 0), "the file is empty"))
        return self.root

    def _events(self, text: str) -> Iterator[Any]:
        """ruamel's events; its complaints, and whatever else hostile text gets out of it, as one Fatal."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError

        place = self.places(0, 0)
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                place = self._place(event.start_mark)
                yield event
        except Fatal:
            raise
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(f"{error.context or ''} {error.problem or ''}".split())
            raise Fatal(RecipeIssue(self._place(mark) if mark else place, f"not valid YAML: {what}")) from None
        except Exception as error:
            what = " ".join(str(error).split())
            raise Fatal(RecipeIssue(place, f"not valid YAML after this point: {what}")) from None

    def _place(self, mark: Any) -> Place:
        return self.places(mark.line, mark.column)

    def _count(self, nodes: int, place: Place) -> None:
        self.total += nodes
        if self.total > MOST_NODES:
            raise Fatal(RecipeIssue(place, f"more than {MOST_NODES} values: not a recipe"))

    def _refuse_tag(self, event: Any, place: Place) -> None:
        if event.tag is not None:
            shown = str(event.tag).replace("tag:yaml.org,2002:", "!!")[:40]
            hint = "remove it: the option decides the type"
            self.findings.append(RecipeIssue(place, f"the tag '{shown}' is not allowed", hint))

    def _alias(self, anchor: str, place: Place) -> None:
        node = self.anchors.get(anchor)
        if node is None:
            what = "contains itself" if anchor in self.anchors else "is not defined above"
            raise Fatal(RecipeIssue(place, f"the anchor '{anchor[:40]}' {what}"))
        if len(self.stack) + node.depth > MOST_DEPTH:
            raise Fatal(RecipeIssue(place, f"nested more than {MOST_DEPTH} deep: not a recipe"))
        self._count(node.nodes, place)
        self._put(node, None, counted=True, place=place)

    def _put(self, node: Node, anchor: str | None, *, counted: bool = False, place: Place | None = None) -> None:
        """A finished node goes where it belongs: into the open list or mapping, or it is the root."""
        if not counted:
            self._count(1, node.place)
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
            at = place or node.place
            top.key = (self._key(node, at), at)
        else:
            (name, at), top.key = top.key, None
            if name is None:
                return
            if name in top.value:
                first = top.value[name].place
                self.findings.append(
                    RecipeIssue(at, f"the key '{name}' is here a second time", f"first at {first.text}")
                )
            else:
                top.value[name] = Entry(at, node)

    def _key(self, node: Node, place: Place) -> str | None:
        if isinstance(node.value, str):
            return None if isinstance(node.value, _Refused) else node.value
        shown = "a list" if isinstance(node.value, list) else "a mapping" if isinstance(node.value, dict) else None
        shown = shown or ("null" if node.value is None else str(node.value).lower())
        self.findings.append(RecipeIssue(place, f"a key must be text, got {shown}", "put it in quotes if it is meant"))
        return None

    def _text(self, value: str, place: Place) -> str:
        if bad := _UNPRINTABLE_ESCAPED.search(value):
            self.findings.append(RecipeIssue(place, f"character U+{ord(bad[0]):04X} does not belong in a recipe"))
        return value

    def _scalar(self, value: str, place: Place) -> Scalar:
        """A plain scalar by the core schema of YAML 1.2."""
        top = self.stack[-1] if self.stack else None
        if value == "<<" and top is not None and isinstance(top.value, dict) and top.key is None:
            self.findings.append(RecipeIssue(place, "merge keys ('<<') are not allowed", "write the options out"))
            return _Refused(value)
        if value in _WORDS:
            return _WORDS[value]
        if not value or value[0] not in "+-.0123456789":
            return value
        digits = re.sub("(?<=[0-9])_(?=[0-9])", "", value)
        if _INFINITE.fullmatch(value):
            self.findings.append(RecipeIssue(place, f"'{value}' is not a number to train with", "give a finite one"))
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
            self.findings.append(RecipeIssue(place, f"the number {value[:24]} is too large", "64 bits is the most"))
            return 0
        return number


_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile("[-+]?[0-9]+")
_BASED = re.compile("0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# What YAML calls unprintable, and the line breaks of other standards, at which editors and YAML disagree about lines.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_UNPRINTABLE_ESCAPED = re.compile("[\x00\ud800-\udfff]")


def is_plain_word(text: str) -> bool:
    """Whether this text, written without quotes, is read back as the same text."""
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./+-]*", text)) and text not in _WORDS


def _position(before: str) -> tuple[int, int]:
    lines = re.split("\r\n|\r|\n", before)
    return len(lines) - 1, len(lines[-1])
