"""`--set a.b=c`: the value of a flag is put into the recipe's tree as if the file had it, and is checked with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqkit.errors import name_hint
from seqkit.recipe.parser import Entry, Fatal, Location, Node, RecipeIssue, compose, decode, node_of

MAX_STEPS = 32
"""Names of a path, more than any recipe is deep."""


def apply(root: Node, sets: Sequence[str]) -> tuple[Node, dict[str, str], list[RecipeIssue]]:
    """The tree with all flags applied, {path: the flag that set it}, and the issues of the flags themselves."""
    flags: dict[str, str] = {}
    issues: list[RecipeIssue] = []
    for number, text in enumerate(sets):
        location = Location((1, number, 0), f"--set {text if len(text) <= 100 else text[:97] + '...'}", Path.cwd())
        path, equals, value = text.partition("=")
        steps = path.split(".")
        if len(steps) > MAX_STEPS:
            issues.append(RecipeIssue(location, f"no option is {len(steps):,} names deep", "give NAME.NAME=VALUE"))
            continue
        if not equals or not all(steps):
            issues.append(RecipeIssue(location, "expected NAME=VALUE", "for example train.epochs=3"))
            continue
        try:
            node, value_issues = parse(value, location)
            issues += value_issues
            _refuse_new_task(root, steps, location)
            root = _put(root, steps, 0, node, location)
        except Fatal as error:
            issues.append(error.issue)
            continue
        flags[path] = location.text
    return root, flags, issues


def parse(value: str, location: Location) -> tuple[Node, list[RecipeIssue]]:
    """The text after `=` as YAML, and its issues; an empty text is null."""
    if not value.strip():
        return Node(location, None), []
    locate = lambda line, column: location  # noqa: E731
    return compose(decode(value.encode("utf-8", "surrogateescape"), locate), locate)


def _put(node: Node, steps: Sequence[str], depth: int, value: Node, location: Location) -> Node:
    """A copy of `node` in which the path `steps[depth:]` leads to `value`."""
    if depth == len(steps):
        return value
    name = steps[depth]
    if isinstance(node.value, list):
        if not name.isascii() or not name.isdigit() or int(name) >= len(node.value):
            path, count = ".".join(steps[:depth]), len(node.value)
            message = f"{path} is a list of {count}, and '{name}' is not an index of it"
            raise Fatal(RecipeIssue(location, message, "items are counted from 0"))
        items = list(node.value)
        items[int(name)] = _put(items[int(name)], steps, depth + 1, value, location)
        return Node(node.location, items)
    entries: dict[str, Entry]
    if isinstance(node.value, dict):
        entries = dict(node.value)
    elif node.value is None:
        entries = {}
    elif isinstance(node.value, str):  # a choice may be written as its name alone
        entries = dict(node_of({"use": node.value}, node.location).entries)
    else:
        parent = ".".join(steps[:depth])
        raise Fatal(RecipeIssue(location, f"{parent} is a single value", f"set it as {parent}=..."))
    old = entries.get(name)
    child = _put(old.node if old else Node(location, None), steps, depth + 1, value, location)
    entries[name] = Entry(old.location if old and depth + 1 < len(steps) else location, child)
    return Node(node.location, entries)


def _refuse_new_task(root: Node, steps: Sequence[str], location: Location) -> None:
    """Raise Fatal for an option of a task that the recipe lacks: it is a typing error, not a request for a new task."""
    if steps[0] != "tasks" or len(steps) < 3 or steps[2] == "use":
        return
    tasks = root.entries.get("tasks")
    known = tasks.node.entries if tasks else {}
    if steps[1] not in known:
        hint = name_hint(steps[1], list(known), label="its tasks", if_none="it has no tasks")
        raise Fatal(RecipeIssue(location, f"the recipe has no task '{steps[1]}'", hint))
