"""`--set a.b=c`: what a flag says is put into the tree as if the file had said it, and is checked with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqkit.errors import suggest
from seqkit.recipe.parser import Entry, Fatal, Node, Place, RecipeIssue, compose, decode, node_of


def apply(root: Node, sets: Sequence[str]) -> tuple[Node, dict[str, str], list[RecipeIssue]]:
    """The tree with all flags in it, {path that was set: the flag}, and what is wrong with the flags themselves."""
    flags: dict[str, str] = {}
    findings: list[RecipeIssue] = []
    for number, text in enumerate(sets):
        place = Place((1, number, 0), f"--set {text if len(text) <= 100 else text[:97] + '...'}", Path.cwd())
        path, equals, value = text.partition("=")
        steps = path.split(".")
        if not equals or not all(steps):
            findings.append(RecipeIssue(place, "expected NAME=VALUE", "for example train.epochs=3"))
            continue
        try:
            node, found = parse(value, place)
            findings += found
            _refuse_new_task(root, steps, place)
            root = _put(root, steps, 0, node, place)
        except Fatal as error:
            findings.append(error.finding)
            continue
        flags[path] = place.text
    return root, flags, findings


def parse(value: str, place: Place) -> tuple[Node, list[RecipeIssue]]:
    """The text after `=` as YAML; nothing at all is null."""
    if not value.strip():
        return Node(place, None), []
    places = lambda line, column: place  # noqa: E731
    return compose(decode(value.encode("utf-8", "surrogateescape"), places), places)


def _put(node: Node, steps: Sequence[str], at: int, value: Node, place: Place) -> Node:
    """A tree in which `steps[at:]` under `node` leads to `value`."""
    if at == len(steps):
        return value
    name = steps[at]
    if isinstance(node.value, list):
        if not name.isascii() or not name.isdigit() or int(name) >= len(node.value):
            there = f"{'.'.join(steps[:at])} is a list of {len(node.value)}"
            raise Fatal(RecipeIssue(place, f"{there}: '{name}' is no place in it", "count from 0"))
        items = list(node.value)
        items[int(name)] = _put(items[int(name)], steps, at + 1, value, place)
        return Node(node.place, items)
    entries: dict[str, Entry]
    if isinstance(node.value, dict):
        entries = dict(node.value)
    elif node.value is None:
        entries = {}
    elif isinstance(node.value, str):  # a choice may be said by its name alone
        entries = dict(node_of({"use": node.value}, node.place).entries)
    else:
        above = ".".join(steps[:at])
        raise Fatal(RecipeIssue(place, f"{above} is a single value", f"set it as {above}=..."))
    old = entries.get(name)
    below = _put(old.node if old else Node(place, None), steps, at + 1, value, place)
    entries[name] = Entry(old.place if old and at + 1 < len(steps) else place, below)
    return Node(node.place, entries)


def _refuse_new_task(root: Node, steps: Sequence[str], place: Place) -> None:
    """An option of a task that the recipe does not have is a slip of the pen, not a wish for one task more."""
    if steps[0] != "tasks" or len(steps) < 3 or steps[2] == "use":
        return
    tasks = root.entries.get("tasks")
    known = tasks.node.entries if tasks else {}
    if steps[1] not in known:
        there = f"tasks here: {', '.join(known)}" if known else "it has none"
        hint = suggest(steps[1], known)
        raise Fatal(RecipeIssue(place, f"the recipe has no task '{steps[1]}'", f"{hint + ' ' if hint else ''}{there}"))
