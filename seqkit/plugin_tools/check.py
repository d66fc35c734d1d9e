"""The conformance tests of `seqkit.testing` run on one plugin, without a test runner: `seqkit plugins check`."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqkit.errors import RecipeError, SeqkitError
from seqkit.recipe.checker import Checker
from seqkit.recipe.parser import Entry, Location, node_of
from seqkit.registry.registry import Plugin
from seqkit.testing import EncoderConformance, HeadConformance, TaskConformance
from seqkit.types import JSON


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one test found. `said` is empty if it passed."""

    contract: str
    passed: bool
    said: str = ""

    def __str__(self) -> str:
        head = f"{'ok  ' if self.passed else 'FAIL'}  {self.contract}"
        return head + "".join(f"\n        {line}" for line in self.said.strip().split("\n") if line)


def check(plugin: Plugin, options: Mapping[str, JSON]) -> Iterator[CheckResult]:
    """Every contract of a plugin's kind, one after another. The plugin is imported here: look at it with `probe` first.

    Args:
        plugin: what is checked.
        options: what a recipe would say to it.

    Raises:
        SeqkitError: what keeps it from being tried at all: options that are wrong, data that are not there.
    """
    tests = _tests(plugin, options)
    for name, method in inspect.getmembers(tests, inspect.ismethod):
        if not name.startswith("test_"):
            continue
        contract = inspect.getdoc(method) or name.removeprefix("test_").replace("_", " ")
        contract = contract.partition("\n")[0].rstrip(".")
        try:
            method()
        except AssertionError as error:
            yield CheckResult(contract, False, str(error))
        except SeqkitError:
            raise
        except Exception as error:  # whatever a stranger's code raises
            last = traceback.extract_tb(error.__traceback__)[-1]
            yield CheckResult(contract, False, f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})")
        else:
            yield CheckResult(contract, True)


def _tests(plugin: Plugin, options: Mapping[str, JSON]) -> Any:
    """An instance of the test class that an author would have written."""
    name = plugin.full_name
    if plugin.kind == "tasks":
        return type("Check", (TaskConformance,), {"task": name, "options": dict(options)})()
    checked = _checked(plugin, options)
    if plugin.kind == "encoders":
        return type("Check", (EncoderConformance,), {"encoder": name, "options": checked})()
    return type("Check", (HeadConformance,), {"head": {"use": name, **checked}})()


def _checked(plugin: Plugin, options: Mapping[str, JSON]) -> Mapping[str, Any]:
    """Options of an encoder or head as a recipe's are checked, defaults filled in.

    Raises:
        RecipeError: with what is wrong.
    """
    location = Location((1, 0, 0), "--set", Path.cwd())
    entry = Entry(location, node_of({"use": plugin.full_name, **options}, location))
    checker = Checker()
    choice = checker.choice(entry, plugin.name, plugin.kind, location)
    if choice is None:
        raise RecipeError([issue.problem for issue in checker.issues])
    return choice.options
