"""Checks the parts of a recipe against the schemas of factories; each mistake becomes an issue at its location."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqkit.errors import PluginError
from seqkit.recipe.choices import lookup, names_in
from seqkit.recipe.hints import name_of_kind
from seqkit.recipe.messages import (
    explain_errors,
    join,
    options_hint,
    show,
    unknown_option,
    without_effect,
    wrong_default,
)
from seqkit.recipe.options import MISSING, RecipeText, Schema, schema_of
from seqkit.recipe.parser import Entry, Location, Node, RecipeIssue, node_of
from seqkit.recipe.writer import flow
from seqkit.remote_files import is_remote
from seqkit.types import Choice


@dataclass(frozen=True)
class Section:
    """A mapping of a recipe whose keys are the options of one factory.

    Attributes:
        entries: the keys and values.
        path: `train.optimizer`, for messages; empty at the top level.
        location: where a missing option is reported.
        reserved: keys that belong to the recipe; they are not checked, but listed among the known ones.
        owner: the name of the factory, for messages.
    """

    entries: Mapping[str, Entry]
    path: str
    location: Location
    reserved: tuple[str, ...] = ()
    owner: str = ""


@dataclass
class Checker:
    """Collects the issues of a recipe while its parts are checked.

    Attributes:
        issues: everything that is wrong, in no order.
        flags: paths that were set by `--set`, with the text of the flag; some messages name it.
    """

    issues: list[RecipeIssue] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)

    def add_issue(self, location: Location, message: str, hint: str = "") -> None:
        self.issues.append(RecipeIssue(location, message, hint))

    def mapping(self, node: Node, path: str, *, allow_null: bool = False) -> Mapping[str, Entry] | None:
        """The keys of a node that must be a mapping, or null if `allow_null`; None after an issue."""
        if isinstance(node.value, dict):
            return node.value
        if node.value is None and allow_null:
            return {}
        self.add_issue(node.location, f"{path}: expected a mapping of options, got {show(node)}")
        return None

    def options(self, schema: Schema, section: Section) -> dict[str, Any] | None:
        """All options of a factory, defaults filled in; None if something is wrong with them."""
        issues_before = len(self.issues)
        values = {**self._check_values(schema, section), **self._check_nested(schema, section)}
        if len(self.issues) == issues_before:
            self._check_conditions(schema, section, values)
        if len(self.issues) > issues_before:
            return None
        return {name: finalise(values[name]) for name in schema.names}

    def options_or_defaults(self, schema: Schema, section: Section) -> dict[str, Any] | None:
        """Options to continue with after an issue: wrong ones are replaced by their defaults, without further issues.

        None where that would be guessing: an option without a default is missing, or one with listed values has
        another value (such an option often decides what a task is).
        """
        from pydantic import ValidationError

        known = {name: entry for name, entry in section.entries.items() if name in schema.names}
        values = {name: to_python(entry.node) for name, entry in known.items() if name not in schema.nested}
        try:
            schema.model.model_validate(values)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                if detail["type"] == "literal_error" or _is_missing_option(detail):
                    return None
                known.pop(str(detail["loc"][0]), None)
        return Checker().options(schema, Section(known, "", section.location, section.reserved))

    def choice(
        self,
        entry: Entry | None,
        path: str,
        group: str,
        location: Location,
        *,
        default: Choice | None = None,
        reserved: Sequence[str] = (),
    ) -> Choice | None:
        """A factory chosen by name, with all its options; None if something is wrong.

        Text alone is the name. Options without `use` override those of the default choice.

        Args:
            entry: what the recipe says; None: nothing, so that the default counts.
            path: of the choice, for messages.
            group: where the name comes from: "encoders", "optimizers", ...
            location: where it is reported that the choice is missing.
            default: the choice if the recipe makes none.
            reserved: keys beside `use` that are not options of the factory.
        """
        if entry is None and default is None:
            self.add_issue(location, f"{path}: missing", "give {use: NAME}")
            return None
        entry = Entry(location, Node(location, {})) if entry is None else entry
        entries = self._choice_entries(entry, path, group, default)
        if entries is None:
            return None
        use = entries["use"].node
        factory = self.factory(use, f"{path}.use", group)
        schema = None if factory is None else self.schema(factory, use.location, ("use", *reserved))
        if schema is None:
            return None
        name = str(use.value)
        options = self.options(schema, Section(entries, path, entry.location, ("use", *reserved), name))
        return None if options is None else Choice(name, options)

    def factory(self, use: Node, path: str, group: str) -> Callable[..., Any] | None:
        """The factory of this name; None after an issue if there is none or it does not load."""
        if not isinstance(use.value, str):
            self.add_issue(use.location, f"{path}: expected a name, got {show(use)}")
            return None
        try:
            return lookup(group, use.value)
        except PluginError as error:
            self.add_issue(use.location, f"{path}: {error}", name_of_kind(group, use.value, names_in(group)))
            return None

    def schema(self, factory: Callable[..., Any], location: Location, reserved: tuple[str, ...]) -> Schema | None:
        """The schema of a factory; None after an issue if its signature cannot be one."""
        try:
            return schema_of(factory, reserved)
        except PluginError as error:
            self.add_issue(location, str(error))
            return None

    def _choice_entries(
        self, entry: Entry, path: str, group: str, default: Choice | None
    ) -> Mapping[str, Entry] | None:
        """The entries of a choice, `use` among them; None after an issue."""
        node = entry.node
        if isinstance(node.value, str):
            node = node_of({"use": to_python(node)}, node.location)
        entries = self.mapping(node, path)
        if entries is None or "use" in entries:
            return entries
        if default is None:
            self.add_issue(entry.location, f"{path}.use: missing", f"available: {', '.join(names_in(group))}")
            return None
        return {**node_of({"use": default.use, **default.options}, entry.location).entries, **entries}

    def _check_values(self, schema: Schema, section: Section) -> dict[str, Any]:
        """The options that are no choices themselves; empty if one of them is wrong."""
        from pydantic import ValidationError

        values: dict[str, Any] = {}
        unknown: list[str] = []
        for name, entry in section.entries.items():
            if name in section.reserved or name in schema.nested:
                continue
            if name in schema.names:
                values[name] = to_python(entry.node)
            else:
                unknown.append(name)
        self._report_unknown(unknown, section, schema)
        try:
            model = schema.model.model_validate(values)
        except ValidationError as error:
            self._report_errors(error.errors(include_url=False, include_context=True), section)
            return {}
        return {info.alias or name: getattr(model, name) for name, info in schema.model.model_fields.items()}

    def _check_nested(self, schema: Schema, section: Section) -> dict[str, Choice | None]:
        """The options that are choices themselves."""
        choices: dict[str, Choice | None] = {}
        for name, nested in schema.nested.items():
            entry = section.entries.get(name)
            is_null = entry is not None and nested.optional and entry.node.value is None
            if is_null or (entry is None and nested.default is None):
                choices[name] = None
                continue
            default = None if nested.default is MISSING else nested.default
            path = join(section.path, name)
            choices[name] = self.choice(entry, path, nested.group, section.location, default=default)
        return choices

    def _check_conditions(self, schema: Schema, section: Section, values: Mapping[str, Any]) -> None:
        """An issue for each option that the recipe gives where it has no effect.

        A default value is none where the recipe names what decides as well: a recipe with all options filled in.
        """
        for condition in schema.conditions:
            unmet = condition.unmet(values)
            for name in condition.names if unmet else ():
                entry = section.entries.get(name)
                is_default = name in schema.defaults and values[name] == schema.defaults[name]
                if entry is not None and not (is_default and unmet.keys() <= section.entries.keys()):
                    message, hint = without_effect(section.path, name, unmet)
                    self.add_issue(entry.location, message, hint)

    def _report_unknown(self, names: Sequence[str], section: Section, schema: Schema) -> None:
        """An issue for each option that the factory does not have.

        If a `--set` flag has chosen the factory, the options belong to the one in the file; then the first issue says
        how to replace the whole block.
        """
        use_flag = self.flags.get(join(section.path, "use"))
        for number, name in enumerate(names):
            path = join(section.path, name)
            flag = None if path in self.flags else use_flag
            hint = options_hint(name, (*section.reserved, *schema.names))
            if flag and number == 0:
                kept = {key: to_python(entry.node) for key, entry in section.entries.items() if key not in names}
                hint += f"; to replace the whole block: --set {shlex.quote(f'{section.path}={flow(kept)}')}"
            self.add_issue(section.entries[name].location, unknown_option(path, section.owner, flag), hint)

    def _report_errors(self, errors: Iterable[Mapping[str, Any]], section: Section) -> None:
        """An issue for each value that pydantic refuses; what the members of a union say of it is one sentence."""
        by_value: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for error in errors:
            option = str(error["loc"][0])
            if _is_missing_option(error):
                message = f"{join(section.path, option)}: missing"
                self.add_issue(section.location, message, "this option has no default")
            elif option not in section.entries:  # a wrong default is reported by the field's name, not by its alias
                path = join(section.path, option.removeprefix("option_"))
                self.add_issue(section.location, wrong_default(path, error), "tell its author")
            else:
                by_value.setdefault(_walk(section.entries, error["loc"])[0], []).append(error)
        for steps, value_errors in by_value.items():
            node = _walk(section.entries, steps)[1]
            path = section.path
            for step in steps:
                path = f"{path}[{step}]" if isinstance(step, int) else join(path, str(step))
            self.add_issue(node.location, f"{path}: {explain_errors(value_errors, node)}")


def _is_missing_option(error: Mapping[str, Any]) -> bool:
    return error["type"] == "missing" and len(error["loc"]) == 1


def _walk(entries: Mapping[str, Entry], error_path: Sequence[Any]) -> tuple[tuple[Any, ...], Node]:
    """The longest prefix of pydantic's path that exists in the recipe, without the tags of union members, and its node.

    pydantic's paths have such tags between keys and indices: `("k", "list[int]", 0)`.
    """
    node = entries[error_path[0]].node
    steps = [error_path[0]]
    for step in error_path[1:]:
        if isinstance(node.value, dict) and step in node.value:
            node = node.value[step].node
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        else:
            continue
        steps.append(step)
    return tuple(steps), node


def to_python(node: Node) -> Any:
    """A tree as plain Python values; text remembers the folder that a relative path in it starts from."""
    if isinstance(node.value, dict):
        return {key: to_python(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [to_python(item) for item in node.value]
    if isinstance(node.value, str):
        return RecipeText(node.value, node.location.base)
    return node.value


def finalise(value: Any) -> Any:
    """A checked value as the recipe keeps it: plain text instead of `RecipeText`, and absolute paths."""
    if isinstance(value, RecipeText):
        return str.__str__(value)
    if isinstance(value, Path):
        return value if is_remote(value) else value.absolute()
    if isinstance(value, tuple):
        return tuple(finalise(item) for item in value)
    if isinstance(value, list):
        return [finalise(item) for item in value]
    if isinstance(value, Mapping):
        return {str.__str__(key): finalise(item) for key, item in value.items()}
    return value
