"""The pytest plugin, which pytest loads wherever seqkit is installed.

`pytest --conformance encoder:mine` checks the contracts of a registered task, encoder or head without a test file, in
addition to the other tests; it may be repeated. A contract that fails, there or in a class of `seqkit.testing`, is
shown as the sentence that says what changed and why, not as the code of the check.

Every run of pytest in the environment loads this module, so the rest of seqkit is imported only when it is needed.
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
    """Add the test classes that `--conformance` asks for, after all other tests."""
    requests: list[str] = config.getoption("--conformance")
    if not requests:
        return
    from seqkit import testing

    module = pytest.Module.from_parent(session, path=Path(testing.__file__))
    for request in requests:
        kind, _, name = request.partition(":")
        if kind not in KINDS or not name:
            raise pytest.UsageError(f"--conformance {request}: expected task:NAME, encoder:NAME or head:NAME")
        attributes = {kind: name, "__module__": testing.__name__}
        test_class = type(f"Test {request}", (getattr(testing, KINDS[kind]),), attributes)
        node = pytest.Class.from_parent(module, name=test_class.__name__)
        node.obj = test_class  # it is not an attribute of the module, where pytest would look for it
        items += session.genitems(node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a failed contract as its sentence; `--full-trace` shows everything."""
    report = yield
    if report.failed and _is_contract(item) and not item.config.getoption("fulltrace") and call.excinfo is not None:
        error = call.excinfo.value
        if isinstance(error, AssertionError) and error.args:
            report.longrepr = str(error)
    return report


def _is_contract(item: pytest.Item) -> bool:
    """Whether a test is defined in `seqkit.testing`, not added in a subclass."""
    testing: Any = sys.modules.get("seqkit.testing")
    function = getattr(item, "function", None)
    return testing is not None and getattr(function, "__module__", None) == testing.__name__
