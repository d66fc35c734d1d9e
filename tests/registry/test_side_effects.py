"""What an import leaves behind is noticed, and what it leaves alone is not."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seqkit.registry.side_effects import ProcessSnapshot, SideEffect


def hook(*given: object) -> None: ...


def noticed(action: Callable[[], object]) -> list[SideEffect]:
    watch = ProcessSnapshot()
    action()
    return watch.changes()


def test_nothing_done_is_nothing_noticed() -> None:
    assert noticed(lambda: None) == []


def test_what_a_package_does_to_itself_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch puts real functions in place of stand-ins when more of it is imported.
    assert noticed(lambda: monkeypatch.setattr(torch, "load", torch.save)) == []


class TestGrave:
    def test_signal_handlers(self) -> None:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
        try:
            found = noticed(lambda: [signal.signal(number, hook) for number in before])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        assert found == [SideEffect("took over SIGUSR1, SIGTERM", True)]

    @pytest.mark.parametrize(
        ("owner", "name", "shown"),
        [
            (json, "loads", "json.loads"),
            (torch, "load", "torch.load"),
            (torch.nn.functional, "dropout", "torch.nn.functional.dropout"),
            (torch.nn.Module, "__call__", "torch.nn.Module.__call__"),
            (torch.Tensor, "sum", "torch.Tensor.sum"),
            (math, "log", "math.log"),
        ],
    )
    def test_functions_of_others(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, shown: str) -> None:
        found = noticed(lambda: monkeypatch.setattr(owner, name, hook))
        monkeypatch.undo()
        assert found == [SideEffect(f"replaced {shown}", True)]

    def test_a_function_in_a_module_that_was_not_there_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = []

        def load() -> None:
            monkeypatch.setitem(sys.modules, "torch", torch)
            monkeypatch.setattr(torch, "load", hook)

        monkeypatch.delitem(sys.modules, "torch")
        watch = ProcessSnapshot(lambda filename: filename == __file__)
        load()
        found = watch.changes()
        monkeypatch.undo()
        assert found == [SideEffect("replaced torch.load", True)]

    def test_hooks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def take() -> None:
            monkeypatch.setattr(sys, "excepthook", hook)
            monkeypatch.setattr(threading, "excepthook", hook)

        assert noticed(take) == [SideEffect("replaced sys.excepthook, threading.excepthook", True)]

    def test_torchs_defaults(self) -> None:
        try:
            found = noticed(lambda: (torch.set_default_dtype(torch.float64), torch.set_grad_enabled(False)))
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
        assert found == [SideEffect("set torch's default dtype to torch.float64, torch's gradients to off", True)]

    def test_the_working_directory(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert noticed(lambda: monkeypatch.chdir(tmp_path)) == [
            SideEffect(f"changed the working directory to {tmp_path}", True)
        ]


class TestWorthANote:
    def test_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEQKIT_GONE", "1")

        def change() -> None:
            monkeypatch.setenv("OMP_NUM_THREADS", "77")
            monkeypatch.delenv("SEQKIT_GONE")
            os.environ["KMP_INIT_AT_FORK"] = "x"

        before = os.environ.get("KMP_INIT_AT_FORK")
        found = noticed(change)
        os.environ.pop("KMP_INIT_AT_FORK")
        if before is not None:
            os.environ["KMP_INIT_AT_FORK"] = before
        assert found == [SideEffect("changed the environment: OMP_NUM_THREADS, SEQKIT_GONE", False)]

    def test_threads(self) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait, name="left")
        found = noticed(thread.start)
        end.set()
        thread.join()
        assert found == [SideEffect("started 1 thread: left", False)]

    def test_warnings_of_others(self) -> None:
        with warnings.catch_warnings():
            assert noticed(lambda: warnings.simplefilter("ignore")) == [
                SideEffect("silenced the warnings of others", False)
            ]
        with warnings.catch_warnings():
            assert noticed(lambda: warnings.filterwarnings("ignore", module="mine")) == []

    def test_the_root_logger(self) -> None:
        handler = logging.NullHandler()
        found = noticed(lambda: logging.root.addHandler(handler))
        logging.root.removeHandler(handler)
        assert found == [SideEffect("configured the root logger", False)]

    def test_the_recursion_limit(self) -> None:
        limit = sys.getrecursionlimit()
        found = noticed(lambda: sys.setrecursionlimit(limit + 7))
        sys.setrecursionlimit(limit)
        assert found == [SideEffect(f"set the recursion limit to {limit + 7}", False)]


def test_many_names_are_told_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def change() -> None:
        for name in ("choice", "random", "randint", "shuffle", "sample", "uniform", "gauss"):
            monkeypatch.setattr(random, name, hook)

    (found,) = noticed(change)
    monkeypatch.undo()
    assert found.what.endswith(" and 2 more")
