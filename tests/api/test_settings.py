"""A call leaves the caller's program as it was: random states, settings of torch, signals, logging, folder, threads."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqkit
from tests.api.samples import TEXTS

TINY: dict[str, Any] = {
    "tasks": {"sentiment": {"source": "generated", "sizes": [40, 20, 20]}},
    "encoder": {"use": "lstm", "hidden": 8, "dropout": 0.2},
    "train": {"steps": 2},
}


def settings() -> dict[str, Any]:
    """What belongs to the caller."""
    return {
        "python": random.getstate(),
        "numpy": [str(part) for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "device": str(torch.get_default_device()),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "denormal": float(torch.full((1,), 1e-310, dtype=torch.float64, device="cpu") * 1.0),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "logging": (list(logging.root.handlers), logging.root.level),
        "warnings": list(warnings.filters),
        "live threads": {thread.name for thread in threading.enumerate()},
        "streams": (sys.stdout, sys.stderr),
    }


@contextmanager
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def denormals_are_zero() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def determinism() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


CALLERS: dict[str, Callable[[], Any]] = {
    "usual": torch.enable_grad,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "double": double_precision,
    "meta": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "denormals": denormals_are_zero,
    "deterministic": determinism,
}


@pytest.mark.parametrize("name", CALLERS)
def test_calls_leave_the_callers_settings_and_do_not_depend_on_them(
    name: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, writer = trained("sentiment"), trained("charlm")
    expected = list(seqkit.load(folder).predict(TEXTS))
    expected_scores = seqkit.load(folder).evaluate()
    expected_texts = seqkit.load(writer).generate("to", length=8)
    expected_run = seqkit.run(TINY, out=tmp_path / "expected", progress=False).scores
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    with CALLERS[name]():
        before = settings()
        model = seqkit.load(folder)
        assert settings() == before, "load"
        assert list(model.predict(TEXTS)) == expected
        assert settings() == before, "predict"
        assert [row.dtype for row in model.encode(TEXTS)] == [np.float32] * len(TEXTS)
        assert settings() == before, "encode"
        assert model.evaluate() == expected_scores
        assert settings() == before, "evaluate"
        assert seqkit.load(writer).generate("to", length=8) == expected_texts
        assert settings() == before, "generate"
        finished = seqkit.run(TINY, out=tmp_path / "run", progress=False)
        assert settings() == before, "run"
        assert finished.scores == expected_run
        assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("fails", ["recipe", "data", "callback"])
def test_a_call_that_fails_leaves_the_callers_settings_too(fails: str, tmp_path: Path) -> None:
    def fail(*call: object) -> None:
        raise ValueError("enough")

    calls: dict[str, Callable[[], Any]] = {
        "recipe": lambda: seqkit.run(TINY, set={"train.batch": 0}),
        "data": lambda: seqkit.run(TINY, set={"tasks.sentiment.folder": tmp_path / "nothing"}, out=tmp_path / "run"),
        "callback": lambda: seqkit.run(TINY, out=tmp_path / "run", progress=fail),
    }
    seqkit.run(TINY, out=tmp_path / "warm", progress=False)
    before = settings()
    with pytest.raises((seqkit.SeqkitError, ValueError)):
        calls[fails]()
    assert settings() == before


def test_a_module_in_training_mode_predicts_without_dropout_and_stays_so(trained: Callable[[str], Path]) -> None:
    model = seqkit.load(trained("genome"))  # its head has dropout
    inputs = ["ACGTTGCA" * 6] * 3
    expected = list(model.predict(inputs))
    model.module.train()
    assert list(model.predict(inputs)) == expected
    results = model.predict(iter(inputs), batch=1)
    next(results)
    assert model.module.training, "not even between two results"
    assert model.module.training
    assert model.evaluate() == seqkit.load(trained("genome")).evaluate()
    assert model.module.training
    assert all(parameter.requires_grad for parameter in model.module.parameters())


def test_two_threads_use_one_model(trained: Callable[[str], Path]) -> None:
    model = seqkit.load(trained("ner"))
    expected = list(model.predict(TEXTS, batch=2))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                assert list(model.predict(TEXTS, batch=2)) == expected
                assert not model.module.training
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def run_script(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_and_checking_need_no_torch() -> None:
    script = """
        import sys, seqkit
        assert not {"torch", "numpy", "pandas", "IPython"} & set(sys.modules), "import"
        seqkit.load, seqkit.run, seqkit.check, seqkit.Model, seqkit.Run, seqkit.Result
        assert seqkit.check("charlm") == []
        assert not {"torch", "pandas", "IPython"} & set(sys.modules), "check"
        assert "load" in dir(seqkit)
        print("ok")
    """
    assert run_script(script) == "ok\n"


def test_no_call_ends_the_process(tmp_path: Path) -> None:
    script = f"""
        import seqkit
        for call in (
            lambda: seqkit.load("nowhere"),
            lambda: seqkit.load({str(tmp_path)!r}),
            lambda: seqkit.load({str(tmp_path)!r}, device="tpu"),
            lambda: seqkit.run("nowhere"),
            lambda: seqkit.run("sentiment", set={{"tasks.sentiment.folder": "nowhere"}}, progress=False),
            lambda: seqkit.run(resume={str(tmp_path)!r}),
            lambda: seqkit.Run({str(tmp_path)!r}),
        ):
            try:
                call()
            except seqkit.SeqkitError as error:
                print("DataError" if isinstance(error, seqkit.DataError) else type(error).__name__)
    """
    names = run_script(script, HOME=str(tmp_path)).split()
    assert names == ["UsageError", "DataError", "UsageError", "UsageError", "DataError", "UsageError", "UsageError"]
