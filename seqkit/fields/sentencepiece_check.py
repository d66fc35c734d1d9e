"""Trying a sentencepiece model of unknown origin in a child process, because its C++ code may crash on a bad model.

A crash ends only the child and becomes an error message. A model that passes has been loaded, asked for every piece,
and has encoded and decoded some text within limits of memory and time. That makes a crash later unlikely, not
impossible.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from functools import lru_cache
from typing import Final

SECONDS: Final = 30.0
"""Processor time that trying a model may take."""
MEMORY: Final = 4 << 30
"""Bytes of address space that it may take."""
LARGEST: Final = 256 << 20
"""Bytes of a model. A larger file is not a tokenizer."""

_CHILD_CODE: Final = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
resource.setrlimit(resource.RLIMIT_CPU, ({int(SECONDS)}, {int(SECONDS)}))
import sentencepiece
model = sys.stdin.buffer.read()
try:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.get_piece_size()
    specials = [processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id()]
    if specials != [0, 1, 2, 3]:
        raise ValueError(f"its special symbols have the ids {{specials}}, not 0 to 3")
    pieces = processor.id_to_piece(list(range(size)))
    for text in ("", " ", "a", "the cat sat", "\\u00e9\\u4e2d\\U0001f600", "\\x01\\x7f", "x" * 5000, "a b " * 500):
        ids = processor.encode(text)
        if any(not 0 <= id < size for id in ids):
            raise ValueError("it gives ids that are none of its pieces")
        processor.decode(ids)
    processor.decode(list(range(size)))
except Exception as error:
    print("refused", " ".join(str(error).split())[-200:])
else:
    print("ok", size)
"""


def check(model: bytes) -> None:
    """Try a model in a child process, unless an equal one has been tried before.

    Raises:
        ValueError: it cannot be loaded, or it crashed the child.
    """
    if len(model) > LARGEST:
        raise ValueError(f"has {len(model):,} bytes, but a sentencepiece model may have at most {LARGEST:,}")
    problem = _try_model(_Model(model))
    if problem:
        raise ValueError(problem)


class _Model:
    """Bytes that are compared by their hash."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.digest = hashlib.sha256(content).digest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Model) and self.digest == other.digest


@lru_cache(maxsize=64)
def _try_model(model: _Model) -> str:
    """Why this model must not be loaded; an empty text if it may."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD_CODE],
            input=model.content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=2 * SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the sentencepiece model took more than {2 * SECONDS:.0f} seconds to try"
    except OSError as error:
        return f"the sentencepiece model could not be tried in a process of its own: {error}"
    last_line = child.stdout.decode("utf-8", "replace").strip().rpartition("\n")[2]
    verdict, _, reason = last_line.partition(" ")
    if child.returncode == 0 and verdict == "ok":
        return ""
    if verdict == "refused":
        return f"is not a sentencepiece model: {reason}"
    if child.returncode < 0:
        return f"the sentencepiece model crashed the process that tried it ({_signal_name(-child.returncode)})"
    return f"the sentencepiece model could not be tried: that process exited with {child.returncode}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
