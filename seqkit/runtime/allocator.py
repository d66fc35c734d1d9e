"""How the C library gives memory to torch on a CPU: set before torch starts, so that long runs stay small.

Tensors of ever new sizes (batches of ever new lengths) are taken from the heap as soon as glibc has seen a few large
ones freed: its threshold for memory maps moves up to 32 MiB. oneDNN keeps up to 1,024 compiled primitives, and torch a
second list of as many in front of it: a few MB for each new shape, and each that lies behind a freed tensor pins the
tensor's memory. A language model over 8,000 symbols with batches of 40 lengths holds two to three times what it needs,
a translation model several GB. A primitive is released only when both lists have dropped it, so both are made short.

A fixed threshold gives every large tensor a map of its own, which is returned when the tensor is freed. New maps cost
page faults, so torch is asked to take huge pages for them, and smaller tensors stay in the heap. glibc's rule that goes
with a fixed threshold would return the heap's end after nearly every step, only to take it again: that is a quarter of
a small model's time, so the heap may keep some memory. Imports no torch.
"""

from __future__ import annotations

import os
import sys
from typing import Final

VARIABLE: Final = "SEQKIT_ALLOCATOR"
"""`tuned` (the default), or `system` to leave everything as the C library has it."""

MAP_FROM: Final = 8 << 20
"""Bytes from which an allocation gets a memory map of its own."""

KEEP: Final = 256 << 20
"""Free bytes at the end of the heap that are kept for what comes next."""

PRIMITIVES: Final = 64
"""How many compiled primitives oneDNN keeps, and torch. A training step uses a few for each shape."""

PRIMITIVE_LISTS: Final = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""The variables that say how many: of oneDNN, and of torch's own list."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""The parameters' numbers in glibc's malloc.h."""


def configure() -> None:
    """Set what has not been set by the environment. Without effect on other C libraries than glibc.

    Huge pages and the short lists count only if torch has not been imported yet; variables that are already set stay.
    """
    if os.environ.get(VARIABLE) == "system" or not sys.platform.startswith("linux"):
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    for variable in PRIMITIVE_LISTS:
        os.environ.setdefault(variable, str(PRIMITIVES))
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_THRESHOLD, MAP_FROM)
        libc.mallopt(_M_TRIM_THRESHOLD, KEEP)
