"""Encoding in several processes, where there is enough to encode: the same packs in the same order as in one.

The process that reads hands chunks of examples to helpers in turn and takes back packs in the same turn, one chunk a
helper on its way, so that memory does not grow and the order is that of the data. A helper is a fresh interpreter that
imports the store, the fields' modules, and no torch; nothing is forked, and the user's own script is not run again.
Fields and examples travel as `multiprocessing` sends objects, through a socket that nobody else has a name for.

What a helper cannot do is done here instead, so that an error is raised where it always was, with its own traceback. A
helper ends when its socket closes, whatever became of the process that started it; signals it leaves to that process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, final

import numpy as np

from seqkit.data.store.encode import ChunkEncoder, EncodedChunk
from seqkit.errors import Interrupted, RunError, UsageError
from seqkit.fields import Text, Tokens
from seqkit.runtime.machine import usable_cores
from seqkit.types import Example, Field, Limit

VARIABLE: Final = "SEQKIT_WORKERS"
"""How many processes encode; 1: the one that reads. Default: as many as there are usable cores."""

PATIENCE: Final = 1.0
"""Seconds of encoding after which helpers are thought of, and the least that must be left to do for each of them."""
GAIN: Final = 1.3
"""How much faster it must get."""

_CHUNK_SECONDS = 0.03
_CHUNK_BYTES = 4 << 20
_MOST = 4096
_PACK_EXAMPLES = 256
_PACK_BYTES = 1 << 18

Chunk: TypeAlias = tuple[list[Any], list[Any], list[str]]
"""Inputs, targets and ids of some examples: three lists are sent several times as fast as a list of examples."""

_CODE = (
    "import signal\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1): signal.signal(number, signal.SIG_IGN)\n"
    "import sys\n"
    "sys.path[:] = sys.argv[2:]\n"
    "from seqkit.data.store.parallel_encode import serve\n"
    "serve(int(sys.argv[1]))\n"
)


@final
@dataclass(frozen=True)
class EncodeTask:
    """How a split is encoded: what a `ChunkEncoder` is made of.

    Attributes:
        split: its name.
        input: the fitted input field.
        target: the fitted target field; None where it follows from the input.
        limit: the most steps of an input.
        quarantine: inputs that cannot be encoded are left out.
        total: examples of the split, where that is known.
    """

    split: str
    input: Field
    target: Field | None
    limit: Limit | None
    quarantine: bool
    total: int | None = None

    def packer(self) -> ChunkEncoder:
        return ChunkEncoder(self.input, self.target, self.limit, quarantine=self.quarantine)


def workers() -> int:
    """How many processes may encode.

    Raises:
        UsageError: SEQKIT_WORKERS is no number above 0.
    """
    asked = os.environ.get(VARIABLE, "").strip()
    if not asked:
        return usable_cores()
    if not asked.isascii() or not asked.isdigit() or int(asked) < 1:
        raise UsageError(f"{VARIABLE} is {asked!r}; it is the number of processes that encode, 1 or more")
    return int(asked)


def encode_chunks(
    examples: Iterator[Example], job: EncodeTask, notes: list[str]
) -> Generator[EncodedChunk, None, None]:
    """All examples, encoded, in order: in this process, and after a while with helpers if that pays.

    Args:
        examples: as they are read.
        job: how they are encoded.
        notes: is told what the user should know.
    """
    most = workers()
    packer, clock = job.packer(), time.perf_counter
    began, spent, done, asked, held = clock(), 0.0, 0, most == 1 or os.name != "posix", 0
    for example in examples:
        at = clock()
        packer.add(example.input, example.target, example.id)
        done, held = done + 1, held + 1
        if held < _PACK_EXAMPLES and packer.size < _PACK_BYTES:
            spent += clock() - at
            continue
        size, pack, held = packer.size / held, packer.pack(), 0
        spent += clock() - at
        yield pack
        del pack
        if asked or spent < PATIENCE:
            continue
        asked = True
        count = _helpers(most, spent / done, (clock() - began - spent) / done, job.total and job.total - done)
        if count > 1:
            with WorkerPool(job, count) as helpers:
                if helpers.why:
                    notes.append(f"{job.split} was encoded in one process: {helpers.why}")
                    continue
                chunk = max(1, min(_MOST, int(_CHUNK_SECONDS * done / spent), int(_CHUNK_BYTES / max(1, size))))
                yield from helpers.packs(_chunks(examples, chunk))
                return
    yield packer.pack()


def _helpers(most: int, encoding: float, rest: float, left: int | None) -> int:
    """How many helpers to start.

    Args:
        most: processors.
        encoding: seconds an example takes to encode.
        rest: seconds that it takes to read and to write.
        left: examples that are left, if that is known.
    """
    count = min(most, 2 + int(encoding / max(rest, 1e-9)))
    # To send an example and to take it back costs about as much again as half of its reading and writing.
    together = max(1.5 * rest, (encoding + 1.5 * rest) / most)
    if together * GAIN > encoding + rest or (left is not None and left * encoding < PATIENCE * count):
        return 1
    return count


def _chunks(examples: Iterator[Example], count: int) -> Iterator[Chunk | Exception]:
    """Up to `count` examples at a time. An error of the reader comes last, as a value, after what was read before."""
    chunk: Chunk = ([], [], [])
    size = 0
    try:
        for example in examples:
            value, target = example.input, example.target
            # A reader may use an array or list again for the next example.
            if type(value) is not str:
                value = _own(value)
            if target is not None and type(target) is not str:
                target = _own(target)
            for side, part in zip(chunk, (value, target, example.id), strict=True):
                side.append(part)
            size += _size(value)
            if len(chunk[2]) >= count or size >= _CHUNK_BYTES:
                yield chunk
                chunk, size = ([], [], []), 0
    except Interrupted:
        raise
    except Exception as error:
        yield chunk
        yield error
        return
    yield chunk


def _own(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return value[:] if type(value) is list else value


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    return len(value) if isinstance(value, str | bytes) else 0


class WorkerPool:
    """Processes that encode.

    Args:
        job: what they are told to do.
        count: how many.

    Attributes:
        why: why there are none, if they cannot be had.
    """

    def __init__(self, job: EncodeTask, count: int) -> None:
        self._job = job
        self._children: list[tuple[subprocess.Popen[bytes], Connection[Any, Any]]] = []
        self.why = ""
        sent = replace(job, input=_bare(job.input), target=job.target and _bare(job.target))
        try:
            for _ in range(count):
                self._start()
            for _, line in self._children:
                line.send(sent)
            for _, line in self._children:
                self.why = self.why or line.recv()
        except (EOFError, OSError) as error:
            self.why = f"no other could be started ({str(error) or 'it ended at once'})"
        except Exception as error:  # whatever an object raises that cannot be sent
            self.why = f"its fields cannot be sent to another ({type(error).__name__}: {error})"
        except BaseException:
            self._end(at_once=True)
            raise
        if self.why:
            self._end(at_once=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(at_once=kind is not None)

    def packs(self, chunks: Iterable[Chunk | Exception]) -> Iterator[EncodedChunk]:
        """Each chunk's pack, in order. An error among the chunks is raised when those before it are done.

        Raises:
            RunError: a helper was killed.
        """
        waiting: deque[tuple[int | None, Chunk]] = deque()
        for number, chunk in enumerate(chunks):
            if isinstance(chunk, Exception):
                while waiting:
                    yield self._take(*waiting.popleft())
                raise chunk
            if len(waiting) == len(self._children):
                yield self._take(*waiting.popleft())
            waiting.append((self._give(number % len(self._children), chunk), chunk))
        while waiting:
            yield self._take(*waiting.popleft())

    def _start(self) -> None:
        own, other = Pipe()
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [sys.executable, *flags, "-P", "-c", _CODE, str(other.fileno()), *sys.path]
        with other:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[other.fileno()])
        self._children.append((child, own))

    def _give(self, which: int, chunk: Chunk) -> int | None:
        """Who has the chunk now; None: nobody, it cannot be sent."""
        try:
            self._children[which][1].send(chunk)
        except OSError:
            raise self._killed(which) from None
        except Exception:  # whatever an object raises that cannot be sent
            return None
        return which

    def _take(self, which: int | None, chunk: Chunk) -> EncodedChunk:
        pack = None
        if which is not None:
            try:
                pack = self._children[which][1].recv()
            except (EOFError, OSError):
                raise self._killed(which) from None
        if isinstance(pack, EncodedChunk):
            return pack
        packer = self._job.packer()
        for each in zip(*chunk, strict=True):
            packer.add(*each)
        return packer.pack()

    def _killed(self, which: int) -> RunError:
        child = self._children[which][0]
        try:
            code = child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"was killed ({signal.Signals(-code).name}); is there too little memory?" if code < 0 else "ended"
        what = f"a process that helped to encode {self._job.split} {how}"
        return RunError(f"{what}; with {VARIABLE}=1 there is one process")

    def _end(self, *, at_once: bool) -> None:
        for child, line in self._children:
            line.close()
            if at_once:
                child.kill()
        for child, _ in self._children:
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()


def _bare(side: Field) -> Field:
    """The field without what it was fitted from, which is a function as a rule and cannot be sent."""
    return replace(side, also=None) if isinstance(side, Tokens | Text) else side


def serve(descriptor: int) -> None:
    """What a helper does: take the job, then chunks, and give packs, until nobody is there any more."""
    with Connection(descriptor) as line:
        try:
            try:
                job = line.recv()
                packer = job.packer()
            except EOFError:
                return
            except Exception as error:
                line.send(f"its fields cannot be sent to another ({type(error).__name__}: {error})")
                return
            line.send("")
            while True:
                line.send(_packed(line, job, packer))
                packer = job.packer()
        except (EOFError, OSError):
            return


def _packed(line: Connection[Any, Any], job: EncodeTask, packer: ChunkEncoder) -> EncodedChunk | None:
    """The next chunk's pack; None: whoever sent it shall see for himself what is the matter with it."""
    try:
        for each in zip(*line.recv(), strict=True):
            packer.add(*each)
        return packer.pack()
    except (EOFError, OSError):
        raise
    except Exception:
        return None
