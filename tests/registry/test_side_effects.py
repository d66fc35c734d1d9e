"""Side effects of an import are noticed, and nothing else is."""

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


def hook(*arguments: object) -> None: ...


def side_effects(action: Callable[[], object]) -> list[SideEffect]:
    snapshot = ProcessSnapshot()
    action()
    return snapshot.changes()


def test_no_change_is_no_side_effect() -> None:
    assert side_effects(lambda: None) == []


def test_changes_of_a_package_to_itself_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch replaces placeholders by real functions when more of it is imported.
    assert side_effects(lambda: monkeypatch.setattr(torch, "load", torch.save)) == []


class TestGrave:
    def test_signal_handlers(self) -> None:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
        try:
            effects = side_effects(lambda: [signal.signal(number, hook) for number in before])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        assert effects == [SideEffect("took over SIGUSR1, SIGTERM", True)]

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
        effects = side_effects(lambda: monkeypatch.setattr(owner, name, hook))
        monkeypatch.undo()
        assert effects == [SideEffect(f"replaced {shown}", True)]

    def test_a_function_in_a_module_that_is_imported_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load() -> None:
            monkeypatch.setitem(sys.modules, "torch", torch)
            monkeypatch.setattr(torch, "load", hook)

        monkeypatch.delitem(sys.modules, "torch")
        snapshot = ProcessSnapshot(lambda filename: filename == __file__)
        load()
        effects = snapshot.changes()
        monkeypatch.undo()
        assert effects == [SideEffect("replaced torch.load", True)]

    def test_hooks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def take() -> None:
            monkeypatch.setattr(sys, "excepthook", hook)
            monkeypatch.setattr(threading, "excepthook", hook)

        assert side_effects(take) == [SideEffect("replaced sys.excepthook, threading.excepthook", True)]

    def test_torchs_defaults(self) -> None:
        try:
            effects = side_effects(lambda: (torch.set_default_dtype(torch.float64), torch.set_grad_enabled(False)))
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
        assert effects == [SideEffect("set torch's default dtype to torch.float64, torch's gradients to off", True)]

    def test_the_working_directory(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert side_effects(lambda: monkeypatch.chdir(tmp_path)) == [
            SideEffect(f"changed the working directory to {tmp_path}", True)
        ]


class TestNotes:
    def test_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEQKIT_GONE", "1")

        def change() -> None:
            monkeypatch.setenv("OMP_NUM_THREADS", "77")
            monkeypatch.delenv("SEQKIT_GONE")
            os.environ["KMP_INIT_AT_FORK"] = "x"

        before = os.environ.get("KMP_INIT_AT_FORK")
        effects = side_effects(change)
        os.environ.pop("KMP_INIT_AT_FORK")
        if before is not None:
            os.environ["KMP_INIT_AT_FORK"] = before
        assert effects == [SideEffect("changed the environment: OMP_NUM_THREADS, SEQKIT_GONE", False)]

    def test_threads(self) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait, name="left")
        effects = side_effects(thread.start)
        end.set()
        thread.join()
        assert effects == [SideEffect("started 1 thread: left", False)]

    def test_warning_filters(self) -> None:
        with warnings.catch_warnings():
            assert side_effects(lambda: warnings.simplefilter("ignore")) == [
                SideEffect("silenced warnings of other modules", False)
            ]
        with warnings.catch_warnings():
            assert side_effects(lambda: warnings.filterwarnings("ignore", module="own")) == []

    def test_the_root_logger(self) -> None:
        handler = logging.NullHandler()
        effects = side_effects(lambda: logging.root.addHandler(handler))
        logging.root.removeHandler(handler)
        assert effects == [SideEffect("configured the root logger", False)]

    def test_the_recursion_limit(self) -> None:
        limit = sys.getrecursionlimit()
        effects = side_effects(lambda: sys.setrecursionlimit(limit + 7))
        sys.setrecursionlimit(limit)
        assert effects == [SideEffect(f"set the recursion limit to {limit + 7}", False)]


def test_many_names_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    def change() -> None:
        for name in ("choice", "random", "randint", "shuffle", "sample", "uniform", "gauss"):
            monkeypatch.setattr(random, name, hook)

    (effect,) = side_effects(change)
    monkeypatch.undo()
    assert effect.description.endswith(" and 2 more")
