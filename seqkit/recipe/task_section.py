"""One entry under `tasks:`: its factory and options, its head, and whether the head fits the task and the encoder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seqkit.errors import PluginError, SeqkitError
from seqkit.recipe.choices import lookup
from seqkit.recipe.messages import causal_encoder_needed, heads_hint
from seqkit.recipe.option_checker import Checker, Section
from seqkit.recipe.options import Schema, schema_of
from seqkit.recipe.own_options import TASK_OPTIONS, task_options
from seqkit.recipe.parser import Entry, Location, Node, node_of
from seqkit.recipe.recipe import TaskEntry, call_factory
from seqkit.types import Choice, Task


@dataclass(frozen=True)
class EncoderSection:
    """The encoder of a recipe.

    Attributes:
        entry: what the recipe says of it; None if that is missing.
        choice: the checked encoder; None if something is wrong with it.
        dim: width of its input steps.
    """

    entry: Entry | None
    choice: Choice | None
    dim: int

    @property
    def is_bidirectional(self) -> bool:
        """Whether it reads ahead, as far as that is known: a default counts only if nothing else is wrong with it."""
        if self.choice is not None:
            return self.choice.options.get("bidirectional") is True
        option = self._bidirectional
        return option is not None and option.node.value is True

    @property
    def location(self) -> Location | None:
        """Where it is said whether the encoder is bidirectional."""
        if self.entry is None:
            return None
        return self.entry.location if self._bidirectional is None else self._bidirectional.node.location

    @property
    def _bidirectional(self) -> Entry | None:
        return None if self.entry is None else self.entry.node.entries.get("bidirectional")


@dataclass(frozen=True)
class TaskSection:
    """One task of a recipe while it is checked. `check` calls the other methods, which add issues to the checker.

    Attributes:
        checker: collects the issues.
        name: the task's key in the recipe.
        entry: that key and its value.
        entries: its options, `use`, `weight` and `head` among them.
    """

    checker: Checker
    name: str
    entry: Entry
    entries: Mapping[str, Entry]

    @classmethod
    def open(cls, checker: Checker, name: str, entry: Entry) -> TaskSection | None:
        """The section under this key; None after an issue if the key is no name or the value no mapping."""
        if not re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_-]*", name):
            message = f"tasks.{name}: a task's name may have letters, digits, '_' and '-' only"
            checker.add_issue(entry.location, message, "choose such a name, and give the task's factory with use: NAME")
            return None
        node = entry.node
        if isinstance(node.value, str):
            node = node_of({"use": node.value}, node.location)
        entries = checker.mapping(node, f"tasks.{name}", allow_null=True)
        return None if entries is None else cls(checker, name, entry, entries)

    @property
    def path(self) -> str:
        return f"tasks.{self.name}"

    @property
    def use(self) -> Node:
        """The name of the factory: `use`, or else the task's own name."""
        return self.entries["use"].node if "use" in self.entries else Node(self.entry.location, self.name)

    def check(self, encoder: EncoderSection) -> TaskEntry | None:
        """The checked task; None if something is wrong with it."""
        shared = self.shared_options()
        factory = self.factory()
        schema = None if factory is None else self.checker.schema(factory, self.use.location, TASK_OPTIONS)
        options = None if schema is None else self.options(schema)
        task = None if schema is None else self.task(schema, options)
        head = self.head(task)
        if task is not None:
            self.check_head_fits(task, head, encoder)
            if head is not None:
                self.check_head_options(head)
        if options is None or head is None or shared is None:
            return None
        return TaskEntry(self.name, str(self.use.value), options, head, shared["weight"], shared["inputs_of"])

    def shared_options(self) -> dict[str, Any] | None:
        """The options that every task has, whichever its factory; None if something is wrong with them."""
        shared = {name: entry for name, entry in self.entries.items() if name in ("weight", "inputs_of")}
        return self.checker.options(schema_of(task_options), Section(shared, self.path, self.entry.location))

    def factory(self) -> Callable[..., Any] | None:
        return self.checker.factory(self.use, f"{self.path}.use" if "use" in self.entries else self.path, "tasks")

    def options(self, schema: Schema) -> dict[str, Any] | None:
        """All options of the factory, defaults filled in; None if something is wrong with them."""
        return self.checker.options(schema, self._section)

    def task(self, schema: Schema, options: Mapping[str, Any] | None) -> Task | None:
        """The task that the factory returns.

        If some options are wrong, it is made of the right ones, so that the head can be checked as well; issues of such
        a task are not reported. None if that is not possible either.
        """
        if options is not None:
            return self._call_factory(self.checker, options)
        options = self.checker.options_or_defaults(schema, self._section)
        return None if options is None else self._call_factory(Checker(), options)

    def head(self, task: Task | None) -> Choice | None:
        """The recipe's head, or the task's own; None if something is wrong with it, or it cannot be known."""
        entry = self.entries.get("head")
        default = None
        if task is not None:
            options = {"use": task.head} if isinstance(task.head, str) else dict(task.head)
            default = Choice(str(options.pop("use", "")), options)
        elif entry is None or not (isinstance(entry.node.value, str) or "use" in entry.node.entries):
            return None  # the head is the task's own, and there is no task
        return self.checker.choice(entry, f"{self.path}.head", "heads", self.entry.location, default=default)

    def check_head_fits(self, task: Task, head: Choice | None, encoder: EncoderSection) -> None:
        """The head must serve the task's target, and may need an encoder that does not read ahead."""
        name = head.use if head else self._head_name
        factory = _head_factory(name)
        accepts = getattr(factory, "accepts", None)
        if accepts is not None and not isinstance(task.target, tuple(accepts)):
            message = f"{self.path}.head: '{name}' cannot serve targets of the kind {type(task.target).__name__}"
            self.checker.add_issue(self._head_location, message, heads_hint(*_heads_for(task)))
        elif getattr(factory, "needs_causal", False) and encoder.is_bidirectional and encoder.location is not None:
            self.checker.add_issue(encoder.location, causal_encoder_needed(str(name), self.path), "set it to false")

    def check_head_options(self, head: Choice) -> None:
        """The head's factory may refuse a combination of options that are each valid."""
        contradiction = getattr(_head_factory(head.use), "contradiction", None)
        if contradiction is not None and (reason := str(contradiction(**head.options))):
            self.checker.add_issue(self._head_location, f"{self.path}.head.{reason}")

    @property
    def _section(self) -> Section:
        return Section(self.entries, self.path, self.entry.location, TASK_OPTIONS, str(self.use.value))

    @property
    def _head_location(self) -> Location:
        return self.entries["head"].node.location if "head" in self.entries else self.entry.location

    @property
    def _head_name(self) -> str | None:
        """The name of a head that has something wrong with it, if there is one."""
        use = self.entries["head"].node.entries.get("use") if "head" in self.entries else None
        return use.node.value if use and isinstance(use.node.value, str) else None

    def _call_factory(self, checker: Checker, options: Mapping[str, Any]) -> Task | None:
        """The task, or None after an issue for each line of the factory's error."""
        use = str(self.use.value)
        try:
            return call_factory(use, options)
        except (SeqkitError, ValueError, OSError) as error:
            for line in str(error).split("\n"):
                checker.add_issue(self.entry.location, f"{self.path}: {line}")
        except Exception as error:
            from seqkit.registry import registry

            if registry.lets_errors_through():
                raise
            message = f"{self.path}: the task '{use}' failed: {type(error).__name__}: {error}"
            checker.add_issue(self.entry.location, message, "tell its author")
        return None


def _head_factory(name: str | None) -> Callable[..., Any] | None:
    """The factory of a head; None if it does not load, for which there is an issue already."""
    try:
        return lookup("heads", name) if name else None
    except PluginError:
        return None


def _heads_for(task: Task) -> tuple[list[str], list[str]]:
    """(heads of seqkit that serve the task's target, all other installed heads).

    The others are not looked at: a third-party plugin is imported only if a recipe names it.
    """
    from seqkit.registry import registry

    plugins = registry.installed("heads")
    core = [plugin for plugin in plugins if plugin.distribution == registry.CORE]
    others = sorted({plugin.name for plugin in plugins} - {plugin.name for plugin in core})
    factories = {plugin.name: _head_factory(plugin.full_name) for plugin in core}
    able = [
        name for name, factory in factories.items() if isinstance(task.target, tuple(getattr(factory, "accepts", ())))
    ]
    return able, others
