"""Tokenizer models of unknown origin: whatever they contain, the process that opens them does not crash."""

from __future__ import annotations

import base64
import os
import random
import subprocess

import numpy as np
import pytest

from seqkit import Tokens
from seqkit.fields import sentencepiece_check

pytest.importorskip("sentencepiece")

TEXTS = [
    f"the {a} {b} {c}" for a in ("old", "new", "red") for b in ("house", "ship", "moon") for c in ("sings", "sinks")
]


@pytest.fixture(scope="module")
def fitted() -> Tokens:
    return Tokens("pieces", pieces=60).fit(TEXTS)


def model_of(field: Tokens) -> bytes:
    state = field.state()
    return base64.b64decode(_sentencepiece(state))


def _sentencepiece(state: object) -> str:
    """The model, wherever it is in the state of a field."""
    if isinstance(state, dict):
        for key, value in state.items():
            if key == "sentencepiece":
                return str(value)
            if model := _sentencepiece(value):
                return model
    return ""


def with_model(field: Tokens, model: bytes) -> object:
    state = field.state()
    old, new = _sentencepiece(state), base64.b64encode(model).decode()

    def changed(value: object) -> object:
        if isinstance(value, dict):
            return {key: changed(item) for key, item in value.items()}
        return new if value == old else value

    return changed(state)


def test_a_sound_model_passes_and_is_tried_once(fitted: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    sentencepiece_check._try_model.cache_clear()
    real, calls = subprocess.run, []
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: calls.append(args) or real(*args, **options))
    for _ in range(3):
        again = Tokens("pieces", pieces=60).restore(fitted.state())
        np.testing.assert_array_equal(again.encode("the red moon"), fitted.encode("the red moon"))
    assert len(calls) == 1


def mutations(data: bytes, count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    models = []
    for _ in range(count):
        changed = bytearray(data)
        kind = rng.randrange(6)
        for _ in range(rng.randint(1, 8)):
            start = rng.randrange(max(1, len(changed)))
            if kind == 0:
                changed[start : start + 1] = bytes([rng.randrange(256)])
            elif kind == 1:
                del changed[start : start + rng.randint(1, 40)]
            elif kind == 2:
                changed[start:start] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 40)))
            elif kind == 3:
                changed = changed[:start]
            elif kind == 4:
                changed[start:start] = changed[start : start + rng.randint(1, 300)]
            else:
                end = start + rng.randint(1, 8)
                changed[start:end] = b"\xff" * len(changed[start:end])
        models.append(bytes(changed))
    return models


def restore_all(fitted: Tokens, models: list[bytes]) -> tuple[int, int]:
    """(refused with a sentence, loaded) of these models, each opened as a model folder opens it and put to use."""
    refused = loaded = 0
    for model in models:
        try:
            field = Tokens("pieces", pieces=60).restore(with_model(fitted, model))
        except ValueError:
            refused += 1
            continue
        for text in ("the red moon", "zebra 中 \x01", "x" * 3000):
            ids = field.encode(text)
            assert int(ids.max()) < field.size
            field.decode(ids)
        loaded += 1
    return refused, loaded


def test_mutated_models_do_not_crash_the_process(fitted: Tokens) -> None:
    models = [b"", b"\0" * 100, b"not a model", *mutations(model_of(fitted), 17, seed=1)]
    refused, loaded = restore_all(fitted, models)
    assert refused + loaded == 20
    assert refused >= 5


@pytest.mark.slow
def test_a_thousand_mutated_models_do_not_crash_the_process(fitted: Tokens) -> None:
    refused, loaded = restore_all(fitted, mutations(model_of(fitted), 1000, seed=2))
    print(f"{refused} refused, {loaded} loaded")
    assert refused + loaded == 1000


def test_a_crash_of_the_child_is_an_error_message(monkeypatch: pytest.MonkeyPatch) -> None:
    sentencepiece_check._try_model.cache_clear()
    monkeypatch.setattr(sentencepiece_check, "_CHILD_CODE", "import os; os.abort()")
    with pytest.raises(ValueError, match=r"crashed the process that tried it \(SIGABRT\)"):
        sentencepiece_check.check(b"crash")
    sentencepiece_check._try_model.cache_clear()
    monkeypatch.setattr(sentencepiece_check, "_CHILD_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(sentencepiece_check, "SECONDS", 0.1)
    with pytest.raises(ValueError, match="took more than"):
        sentencepiece_check.check(b"slow")
    sentencepiece_check._try_model.cache_clear()
    monkeypatch.setattr(sentencepiece_check, "LARGEST", 3)
    with pytest.raises(ValueError, match="may have at most 3"):
        sentencepiece_check.check(b"much")


def test_the_child_runs_no_code_of_the_users(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the working directory nor PYTHONPATH may put another `sentencepiece` in its place."""
    sentencepiece_check._try_model.cache_clear()
    monkeypatch.chdir(tmp_path)
    planted = os.path.join(tmp_path, "sentencepiece.py")
    with open(planted, "w", encoding="utf-8") as file:
        file.write(f"open({os.path.join(tmp_path, 'canary')!r}, 'w')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ValueError):
        sentencepiece_check.check(b"not a model")
    assert not os.path.exists(os.path.join(tmp_path, "canary"))
