"""A field that does what it is told, in a module that another process can import. It imports no torch."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqkit.types import Field


@dataclass(frozen=True)
class Odd(Field):
    """A text as its characters' numbers, unless the text is an order.

    Args:
        home: the process in which nothing is to happen: orders are for its workers.
    """

    home: int = 0

    def encode(self, value: Any) -> np.ndarray:
        away = os.getpid() != self.home
        if value == "type":
            raise TypeError("this field is broken")
        if value == "kill" and away:
            os.kill(os.getpid(), signal.SIGKILL)
        if value == "leave" and away:
            os._exit(3)
        if value == "sleep" and away:
            time.sleep(60)
        if value == "torch" and away and "torch" in sys.modules:
            raise ValueError("was encoded where torch is")
        if value == "where" and away:
            raise ValueError("was encoded by a worker")
        if not value:
            raise ValueError("is empty")
        return np.array([ord(letter) for letter in value], dtype=np.int64 if value == "wide" else np.int32)

    def decode(self, array: np.ndarray) -> str:
        return "".join(map(chr, array))

    @property
    def size(self) -> int:
        return 0x110000
