"""Runs the conformance tests of `seqkit.testing` on one plugin, without a test runner: `seqkit plugins check`."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqkit.errors import Problem, RecipeError, SeqkitError
from seqkit.recipe.option_checker import Checker
from seqkit.recipe.parser import Entry, Location, node_of
from seqkit.registry.registry import Plugin
from seqkit.testing import EncoderConformance, HeadConformance, TaskConformance
from seqkit.types import JSON


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one conformance test. `message` is empty if it passed."""

    contract: str
    passed: bool
    message: str = ""

    def __str__(self) -> str:
        head = f"{'ok  ' if self.passed else 'FAIL'}  {self.contract}"
        return head + "".join(f"\n        {line}" for line in self.message.strip().split("\n") if line)

    def facts(self) -> dict[str, JSON]:
        """As JSON."""
        return {"contract": self.contract, "passed": self.passed, "said": self.message}


def check(plugin: Plugin, options: Mapping[str, JSON]) -> Iterator[CheckResult]:
    """Check every contract of a plugin's kind. This imports the plugin: examine it with `probe` first.

    Args:
        plugin: what is checked.
        options: its options, as in a recipe.

    Raises:
        SeqkitError: it cannot be checked at all: the options are wrong, or the data are missing.
    """
    tests = _make_tests(plugin, options)
    for name, method in inspect.getmembers(tests, inspect.ismethod):
        if not name.startswith("test_"):
            continue
        contract = inspect.getdoc(method) or name.removeprefix("test_").replace("_", " ")
        contract = contract.partition("\n")[0].rstrip(".")
        try:
            method()
        except AssertionError as error:
            yield CheckResult(contract, False, str(error))
        except RecipeError as error:
            raise RecipeError([_about_option(problem, plugin) for problem in error.problems]) from error
        except SeqkitError:
            raise
        except Exception as error:  # third-party code can raise anything
            last = traceback.extract_tb(error.__traceback__)[-1]
            yield CheckResult(contract, False, f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})")
        else:
            yield CheckResult(contract, True)


def _make_tests(plugin: Plugin, options: Mapping[str, JSON]) -> Any:
    """An instance of the test class that an author would write for the plugin."""
    name = plugin.full_name
    if plugin.kind == "tasks":
        return type("Check", (TaskConformance,), {"task": name, "options": dict(options)})()
    checked = _check_options(plugin, options)
    if plugin.kind == "encoders":
        return type("Check", (EncoderConformance,), {"encoder": name, "options": checked})()
    return type("Check", (HeadConformance,), {"head": {"use": name, **checked}})()


def _about_option(problem: Problem, plugin: Plugin) -> Problem:
    """A problem of the recipe that a task is tried with, as one of the options that it was given."""
    if not problem.where.startswith("Check.yaml"):
        return problem
    return Problem("--set", problem.what.replace("tasks.task.", f"{plugin.name}."), problem.hint)


def _check_options(plugin: Plugin, options: Mapping[str, JSON]) -> Mapping[str, Any]:
    """Options of an encoder or head, checked like those of a recipe, defaults filled in.

    Raises:
        RecipeError: with everything that is wrong.
    """
    location = Location((1, 0, 0), "--set", Path.cwd())
    entry = Entry(location, node_of({"use": plugin.full_name, **options}, location))
    checker = Checker()
    choice = checker.choice(entry, plugin.name, plugin.kind, location)
    if choice is None:
        raise RecipeError([issue.problem for issue in checker.issues])
    return choice.options
