"""What pytest knows of seqkit wherever seqkit is installed.

`pytest --conformance encoder:mine` checks the contracts of something registered without a test file, beside the tests
that there are; it may be repeated, and `task:`, `encoder:` and `head:` say what kind. A contract that fails, there or
in a class of `seqkit.testing`, is shown as the sentence that says what moved and why, not as the code that found out.

Nothing of seqkit is imported until one of these is needed: every pytest run of the environment loads this module.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

KINDS = {"task": "TaskConformance", "encoder": "EncoderConformance", "head": "HeadConformance"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("seqkit").addoption(
        "--conformance",
        action="append",
        default=[],
        metavar="KIND:NAME",
        help="check the contracts of a registered task, encoder or head, e.g. encoder:mine; may be repeated",
    )


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """The classes that `--conformance` asks for, after all tests that were found."""
    asked: list[str] = config.getoption("--conformance")
    if not asked:
        return
    from seqkit import testing

    module = pytest.Module.from_parent(session, path=Path(testing.__file__))
    for what in asked:
        kind, _, name = what.partition(":")
        if kind not in KINDS or not name:
            raise pytest.UsageError(f"--conformance {what}: expected task:NAME, encoder:NAME or head:NAME")
        made = type(f"Test {what}", (getattr(testing, KINDS[kind]),), {kind: name, "__module__": testing.__name__})
        node = pytest.Class.from_parent(module, name=made.__name__)
        node.obj = made  # there is no attribute of the module to take it from
        items += session.genitems(node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed contract as its sentence; `--full-trace` shows everything."""
    report = yield
    if report.failed and _is_contract(item) and not item.config.getoption("fulltrace") and call.excinfo is not None:
        error = call.excinfo.value
        if isinstance(error, AssertionError) and error.args:
            report.longrepr = str(error)
    return report


def _is_contract(item: pytest.Item) -> bool:
    """Whether a test is one of `seqkit.testing`'s own, not one that somebody added to a class of it."""
    testing: Any = sys.modules.get("seqkit.testing")
    function = getattr(item, "function", None)
    return testing is not None and getattr(function, "__module__", None) == testing.__name__
