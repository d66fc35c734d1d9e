"""Saved states are restored exactly: every type, every bit, every next random number."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit.runs import checkpoint, state_tree
from seqkit.runtime import random_state


def test_pack_gives_back_every_type() -> None:
    state: dict[Any, Any] = {
        "state": {0: {"step": torch.tensor(3.0), "none": None}, 7: {}},
        "groups": [{"betas": (0.9, 0.999), "lr": 1e-3, "fused": True, "params": [0, 1]}],
        "$tensor": "a string",
        "a.b": torch.ones(1),
        "a": {"b": torch.zeros(2)},
        "nested": ((), [], {}, (1, (2, [3]))),
        "limits": float("inf"),
    }
    packed, json_part = state_tree.pack(state)
    checkpoint.check_json(json_part)
    back = state_tree.unpack(packed, json.loads(json.dumps(json_part)))

    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor):
            return isinstance(b, Tensor) and torch.equal(a, b) and a.dtype == b.dtype and a.shape == b.shape
        if type(a) is not type(b):
            return False
        if isinstance(a, dict):
            return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(equal, a, b))
        return bool(a == b)

    assert equal(state, back)
    with pytest.raises(TypeError, match=r"a\.1: cannot save a set"):
        state_tree.pack({"a": [0, {1}]})


def test_generators_go_on_where_they_were() -> None:
    random.seed(5)
    torch.manual_seed(5)
    random.gauss(0, 1)  # keeps a second number for the next call
    kept, state = random_state.random_state()
    checkpoint.check_json(state)
    state = json.loads(json.dumps(state))
    expected = [random.gauss(0, 1), random.random(), random.getrandbits(99)], torch.randn(4)
    random.seed(6)
    torch.manual_seed(6)
    random_state.restore_random_state(kept, state)
    python_numbers, torch_numbers = [random.gauss(0, 1), random.random(), random.getrandbits(99)], torch.randn(4)
    assert python_numbers == expected[0]
    assert torch.equal(torch_numbers, expected[1])


def test_numbers_drawn_in_the_block_are_drawn_again_after_it() -> None:
    random.seed(3)
    np.random.seed(3)
    wanted = (random.random(), float(np.random.rand()))
    random.seed(3)
    np.random.seed(3)
    with random_state.preserve_random_state():
        assert random.random() == wanted[0]
        np.random.rand(5)
    assert (random.random(), float(np.random.rand())) == wanted


def test_a_run_leaves_torch_as_it_was() -> None:
    from seqkit.runtime.determinism import deterministic

    def settings() -> tuple[bool, ...]:
        checks, cudnn = torch.utils.deterministic, torch.backends.cudnn
        flags = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
        return (*flags, checks.fill_uninitialized_memory, cudnn.benchmark, cudnn.deterministic)  # type: ignore[attr-defined, unused-ignore]

    def fail() -> None:
        with deterministic(torch.device("cpu")):
            assert settings()[:3] == (True, True, False)
            raise KeyError

    before = settings()
    with pytest.raises(KeyError):
        fail()
    assert settings() == before
