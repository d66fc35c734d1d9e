"""The allocator's settings: what they change, and that a user's own settings stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

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
names = ("THP_MEM_ALLOC_ENABLE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
print(json.dumps({"mapped": libc.mallinfo2().hblks - before, "torch": "torch" in sys.modules,
                  **{name: os.environ.get(name) for name in names}}))
"""


def configured(**environment: str) -> dict[str, Any]:
    """What a fresh process finds after `configure`."""
    names = ("THP_MEM_ALLOC_ENABLE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "MALLOC_MMAP_THRESHOLD_", "SEQKIT_ALLOCATOR")
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
    assert tuned["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "256"
    assert tuned["torch"] is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_system_allocator_can_be_asked_for() -> None:
    system = configured(SEQKIT_ALLOCATOR="system")
    assert system["mapped"] == 0, "glibc takes the block from the heap: what the setting is there to change"
    assert system["THP_MEM_ALLOC_ENABLE"] is None


def test_what_the_environment_has_set_stays() -> None:
    own = configured(THP_MEM_ALLOC_ENABLE="0", ONEDNN_PRIMITIVE_CACHE_CAPACITY="7")
    assert (own["THP_MEM_ALLOC_ENABLE"], own["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("0", "7")
