"""Checks of parts of a recipe against schemas, and every complaint as one plain sentence at the place it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqkit.errors import PluginError, suggest
from seqkit.recipe.choices import lookup, names_in
from seqkit.recipe.messages import join, sentence, show
from seqkit.recipe.options import MISSING, RecipeText, Schema, schema_of
from seqkit.recipe.parser import Entry, Node, Place, RecipeIssue, node_of
from seqkit.types import Choice


@dataclass
class Checker:
    """Collects what is wrong while a recipe is taken apart.

    Attributes:
        findings: everything so far, in no order.
        flags: paths that were given by `--set`, with the flag's text; they explain some complaints.
    """

    findings: list[RecipeIssue] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)

    def say(self, place: Place, what: str, hint: str = "") -> None:
        self.findings.append(RecipeIssue(place, what, hint))

    def mapping(self, node: Node, path: str, *, empty: bool = False) -> Mapping[str, Entry] | None:
        """The keys of a node that must be a mapping (null counts as an empty one if `empty`)."""
        if isinstance(node.value, dict):
            return node.value
        if node.value is None and empty:
            return {}
        self.say(node.place, f"{path}: expected a mapping of options, got {show(node)}")
        return None

    def options(
        self,
        schema: Schema,
        entries: Mapping[str, Entry],
        path: str,
        at: Place,
        reserved: Sequence[str] = (),
        owner: str = "",
    ) -> dict[str, Any] | None:
        """All options of a factory, defaults filled in; None if something is wrong with them.

        Args:
            schema: what may be said.
            entries: what was said; `reserved` keys are somebody else's.
            path: `train.optimizer`, for the messages; empty at the top.
            at: where a missing option is reported.
            reserved: keys that are left alone, but are named among the known ones.
            owner: who does not know an unknown option, for the message.
        """
        from pydantic import ValidationError

        before = len(self.findings)
        given: dict[str, Any] = {}
        for name, each in entries.items():
            if name in reserved or name in schema.nested:
                continue
            if name in schema.names:
                given[name] = to_python(each.node)
            else:
                self._unknown(name, each, path, (*reserved, *schema.names), owner)
        values: dict[str, Any] = {}
        try:
            model = schema.model.model_validate(given)
        except ValidationError as error:
            self._explain(error.errors(include_url=False, include_context=True), entries, path, at)
        else:
            values = {info.alias or name: getattr(model, name) for name, info in schema.model.model_fields.items()}
        for name, nested in schema.nested.items():
            entry = entries.get(name)
            default = None if nested.default is MISSING else nested.default
            where = join(path, name)
            if entry is None and nested.default is MISSING:
                self.say(at, f"{where}: missing", "give {use: NAME}")
            elif (entry is None and default is None) or (entry and nested.optional and entry.node.value is None):
                values[name] = None
            else:
                values[name] = self.choice(entry, where, nested.group, at, default=default)
        if len(self.findings) > before:
            return None
        return {name: finalised(values[name]) for name in schema.names}

    def salvage(
        self, schema: Schema, entries: Mapping[str, Entry], at: Place, reserved: Sequence[str]
    ) -> dict[str, Any] | None:
        """Options to go on with after a complaint: what was wrong is left at its default, in silence.

        None where that would be guessing: something without a default, or a wrong word where the words are listed,
        which is the kind of option that decides what a task is.
        """
        from pydantic import ValidationError

        known = {name: each for name, each in entries.items() if name in schema.names}
        given = {name: to_python(each.node) for name, each in known.items() if name not in schema.nested}
        try:
            schema.model.model_validate(given)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if any(
                each["type"] == "literal_error" or (each["type"], len(each["loc"])) == ("missing", 1) for each in errors
            ):
                return None
            for each in errors:
                known.pop(str(each["loc"][0]), None)
        return Checker().options(schema, known, "", at, reserved)

    def choice(
        self,
        entry: Entry | None,
        path: str,
        group: str,
        at: Place,
        *,
        default: Choice | None = None,
        reserved: Sequence[str] = (),
    ) -> Choice | None:
        """A factory chosen by name with all its options; None if something is wrong.

        A text alone is the name. Without `use`, the options go on top of the default choice's.
        """
        if entry is None:
            if default is None:
                self.say(at, f"{path}: missing", "give {use: NAME}")
                return None
            entry = Entry(at, node_of({"use": default.use, **default.options}, at))
        node = entry.node
        if isinstance(node.value, str):
            node = node_of({"use": to_python(node)}, node.place)
        entries = self.mapping(node, path)
        if entries is None:
            return None
        if "use" not in entries:
            if default is None:
                self.say(entry.place, f"{path}.use: missing", f"there are: {', '.join(names_in(group))}")
                return None
            base = node_of({"use": default.use, **default.options}, entry.place)
            entries = {**base.entries, **entries}
        use = entries["use"].node
        factory = self.factory(use, f"{path}.use", group)
        if factory is None:
            return None
        schema = self.schema(factory, use.place, ("use", *reserved))
        if schema is None:
            return None
        options = self.options(schema, entries, path, entry.place, ("use", *reserved), str(use.value))
        return None if options is None else Choice(str(use.value), options)

    def factory(self, use: Node, path: str, group: str) -> Callable[..., Any] | None:
        """What a name stands for, or None after saying why it stands for nothing."""
        if not isinstance(use.value, str):
            self.say(use.place, f"{path}: expected a name, got {show(use)}")
            return None
        try:
            return lookup(group, use.value)
        except PluginError as error:
            self.say(use.place, f"{path}: {error}")
            return None

    def schema(self, factory: Callable[..., Any], at: Place, reserved: tuple[str, ...]) -> Schema | None:
        try:
            return schema_of(factory, reserved)
        except PluginError as error:
            self.say(at, str(error))
            return None

    def _unknown(self, name: str, entry: Entry, path: str, known: Sequence[str], owner: str) -> None:
        where = join(path, name)
        hint = suggest(name, known) or (f"known: {', '.join(sorted(known))}" if known else "there are none here")
        what = f"{where}: unknown option"
        flag = self.flags.get(join(path, "use"))
        if flag and where not in self.flags:
            what = f"{where}: '{owner}', chosen by {flag}, has no such option"
        self.say(entry.place, what, hint)

    def _explain(self, errors: Iterable[Mapping[str, Any]], entries: Mapping[str, Entry], path: str, at: Place) -> None:
        """pydantic's errors in plain English. What the members of a union say of one value becomes one sentence."""
        grouped: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for error in errors:
            if error["type"] == "missing" and len(error["loc"]) == 1:
                self.say(at, f"{join(path, str(error['loc'][0]))}: missing", "this option has no default")
            elif error["loc"][0] not in entries:
                name = str(error["loc"][0]).removeprefix("option_")  # a default goes by the field, not by its alias
                what = error["msg"][0].lower() + error["msg"][1:]
                self.say(at, f"{join(path, name)}: its own default is wrong: {what}", "tell its author")
            else:
                grouped.setdefault(_walk(entries, error["loc"])[0], []).append(error)
        for steps, group in grouped.items():
            node = _walk(entries, steps)[1]
            where = path
            for step in steps:
                where = f"{where}[{step}]" if isinstance(step, int) else join(where, str(step))
            self.say(node.place, f"{where}: {sentence(group, node)}")


def _walk(entries: Mapping[str, Entry], loc: Sequence[Any]) -> tuple[tuple[Any, ...], Node]:
    """The longest path of a pydantic location that exists in the recipe; tags of union members are no part of it."""
    node = entries[loc[0]].node
    steps = [loc[0]]
    for step in loc[1:]:
        if isinstance(node.value, dict) and step in node.value:
            node = node.value[step].node
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        else:
            continue
        steps.append(step)
    return tuple(steps), node


def to_python(node: Node) -> Any:
    """A tree as plain Python values; texts remember the folder that a relative path is relative to."""
    if isinstance(node.value, dict):
        return {key: to_python(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [to_python(item) for item in node.value]
    if isinstance(node.value, str):
        return RecipeText(node.value, node.place.base)
    return node.value


def finalised(value: Any) -> Any:
    """A checked value, with nothing left that only the check needed; paths absolute."""
    if isinstance(value, RecipeText):
        return str.__str__(value)
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, tuple):
        return tuple(finalised(item) for item in value)
    if isinstance(value, list):
        return [finalised(item) for item in value]
    if isinstance(value, Mapping):
        return {str.__str__(key): finalised(item) for key, item in value.items()}
    return value
