"""The allocator's settings: what they change, and that a user's own settings stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqkit.runtime import allocator
from tests.helpers.pages import PAGES

SCRIPT = """
import ctypes, json, os, sys

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

from seqkit.runtime import allocator
allocator.configure()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.mallinfo2.restype = Info
for _ in range(3):
    libc.free(libc.malloc(8 << 20))  # glibc moves its threshold up when a mapped block is freed
before = libc.mallinfo2().hblks
libc.malloc(8 << 20)
names = ("THP_MEM_ALLOC_ENABLE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
print(json.dumps({"mapped": libc.mallinfo2().hblks - before, "torch": "torch" in sys.modules,
                  **{name: os.environ.get(name) for name in names}}))
"""


def configured(**environment: str) -> dict[str, Any]:
    """What a fresh process finds after `configure`."""
    names = (
        "THP_MEM_ALLOC_ENABLE",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
        "LRU_CACHE_CAPACITY",
        "MALLOC_MMAP_THRESHOLD_",
        "SEQKIT_ALLOCATOR",
    )
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=inherited | environment, capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_a_large_block_keeps_a_map_of_its_own_after_others_were_freed() -> None:
    tuned = configured()
    assert tuned["mapped"] == 1
    assert tuned["THP_MEM_ALLOC_ENABLE"] == "1"
    assert tuned["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == tuned["LRU_CACHE_CAPACITY"] == "64"
    assert tuned["torch"] is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_system_allocator_can_be_asked_for() -> None:
    system = configured(SEQKIT_ALLOCATOR="system")
    assert system["mapped"] == 0, "glibc takes the block from the heap: what the setting is there to change"
    assert system["THP_MEM_ALLOC_ENABLE"] is None


def test_what_the_environment_has_set_stays() -> None:
    own = configured(THP_MEM_ALLOC_ENABLE="0", ONEDNN_PRIMITIVE_CACHE_CAPACITY="7")
    assert (own["THP_MEM_ALLOC_ENABLE"], own["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("0", "7")


SHAPES = """
import ctypes, sys
from seqkit.runtime import allocator
allocator.configure()
import torch
from tests.runtime.test_allocator import heap_in_use
layer = torch.nn.Linear(512, 2000)
def step(rows):
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.zeros(rows, 512)).sum().backward()
for rows in range(1, 71):
    step(rows)
before = heap_in_use()
for rows in range(71, 151):
    step(rows)
print((heap_in_use() - before) / 2**20)
"""


def heap_in_use() -> int:
    """Bytes of this process that are allocated, in its heap."""
    import ctypes

    class Info(ctypes.Structure):
        _fields_ = [
            (name, ctypes.c_size_t)
            for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks")
        ] + [("keepcost", ctypes.c_size_t)]

    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Info
    return int(libc.mallinfo2().uordblks)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_new_shapes_take_no_more_memory() -> None:
    """In bf16, which oneDNN computes. 80 new shapes hold over 20 MB where either list of primitives stays long."""
    environment = {name: value for name, value in os.environ.items() if "CAPACITY" not in name}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SHAPES], env=environment, capture_output=True, text=True, check=True, cwd=root
    )
    assert float(done.stdout) < 5


def test_the_page_on_speed_says_what_is_set() -> None:
    page = PAGES["docs/speed.md"]
    section = page[page.index("## Memory") : page.index("## Data")]
    assert f"fixed at {allocator.MAP_FROM >> 20} MiB" in section
    for variable in allocator.PRIMITIVE_LISTS:
        assert f"`{variable}={allocator.PRIMITIVES}`" in section
    assert f"`{allocator.VARIABLE}=system`" in section
