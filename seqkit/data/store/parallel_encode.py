"""Encoding in several processes if there is enough to encode: the same chunks in the same order as in one process.

The process that reads hands batches of examples to workers in turn and takes back encoded chunks in the same turn. Each
worker has one batch at a time, so memory does not grow and the order is that of the data. A worker is a fresh
interpreter that imports the store and the modules of the fields, but no torch. Nothing is forked, and the user's own
script is not run again. Fields and examples are sent as `multiprocessing` sends objects, through a socket without a
name.

What a worker cannot do is done here instead, so that an error is raised from the same place, with the same traceback,
as with one process. A worker ends when its socket closes, whatever happened to the process that started it. It ignores
signals: what to do about them is decided by that process.
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
"""How many processes encode; 1: only the one that reads. Default: as many as there are usable cores."""

PATIENCE: Final = 1.0
"""Seconds of encoding after which workers are considered, and the least work that must be left for each of them."""
GAIN: Final = 1.3
"""How much faster workers must make it."""

_BATCH_SECONDS = 0.03
_BATCH_BYTES = 4 << 20
_BATCH_EXAMPLES = 4096
"""What is sent to a worker at once: about so many seconds of encoding, and at most so many bytes and examples."""
_CHUNK_EXAMPLES = 256
_CHUNK_BYTES = 1 << 18
"""Without workers, a chunk is finished after so many examples or bytes."""

RawBatch: TypeAlias = tuple[list[Any], list[Any], list[str]]
"""Inputs, targets and ids of some examples: three lists are sent several times as fast as a list of examples."""

_WORKER_CODE = (
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
        target: the fitted target field; None if it follows from the input.
        limit: the most steps of an input.
        quarantine: inputs that cannot be encoded are left out.
        total: examples of the split, if that is known.
    """

    split: str
    input: Field
    target: Field | None
    limit: Limit | None
    quarantine: bool
    total: int | None = None

    def encoder(self) -> ChunkEncoder:
        return ChunkEncoder(self.input, self.target, self.limit, quarantine=self.quarantine)


def allowed_workers() -> int:
    """How many processes may encode.

    Raises:
        UsageError: SEQKIT_WORKERS is not a whole number of 1 or more.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return usable_cores()
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise UsageError(f"{VARIABLE} is {value!r}; expected the number of processes that encode, 1 or more")
    return int(value)


def encode_chunks(
    examples: Iterator[Example], encode_task: EncodeTask, notes: list[str]
) -> Generator[EncodedChunk, None, None]:
    """All examples, encoded, in order: in this process, and after a while by workers if that is faster.

    Args:
        examples: as they are read.
        encode_task: how they are encoded.
        notes: gets a line if the user should know something.
    """
    allowed = allowed_workers()
    encoder, clock = encode_task.encoder(), time.perf_counter
    started, encoding_seconds, done, in_chunk = clock(), 0.0, 0, 0
    may_start_workers = allowed > 1 and os.name == "posix"
    for example in examples:
        before = clock()
        encoder.add(example.input, example.target, example.id)
        done, in_chunk = done + 1, in_chunk + 1
        if in_chunk < _CHUNK_EXAMPLES and encoder.size < _CHUNK_BYTES:
            encoding_seconds += clock() - before
            continue
        bytes_each, chunk, in_chunk = encoder.size / in_chunk, encoder.finish_chunk(), 0
        encoding_seconds += clock() - before
        yield chunk
        del chunk
        if not may_start_workers or encoding_seconds < PATIENCE:
            continue
        may_start_workers = False
        other_seconds = clock() - started - encoding_seconds
        left = encode_task.total and encode_task.total - done
        count = _choose_workers(allowed, encoding_seconds / done, other_seconds / done, left)
        if count == 1:
            continue
        with WorkerPool(encode_task, count) as pool:
            if pool.failure:
                notes.append(f"{encode_task.split} was encoded in one process: {pool.failure}")
                continue
            size = min(int(_BATCH_SECONDS * done / encoding_seconds), int(_BATCH_BYTES / max(1, bytes_each)))
            yield from pool.encode(_batches(examples, max(1, min(_BATCH_EXAMPLES, size))))
            return
    yield encoder.finish_chunk()


def _choose_workers(allowed: int, encoding: float, other: float, left: int | None) -> int:
    """How many workers to start; 1: none, because they would not make it faster.

    Args:
        allowed: the most there may be.
        encoding: seconds to encode an example.
        other: seconds to read and write one.
        left: examples that are left, if that is known.
    """
    count = min(allowed, 2 + int(encoding / max(other, 1e-9)))
    # To send an example and take it back costs about half as much as to read and write it.
    with_workers = max(1.5 * other, (encoding + 1.5 * other) / allowed)
    if with_workers * GAIN > encoding + other or (left is not None and left * encoding < PATIENCE * count):
        return 1
    return count


def _batches(examples: Iterator[Example], count: int) -> Iterator[RawBatch | Exception]:
    """Up to `count` examples at a time. An error of the reader comes last, as a value, after what was read before."""
    batch: RawBatch = ([], [], [])
    size = 0
    try:
        for example in examples:
            value, target = example.input, example.target
            # A reader may use an array or list again for the next example.
            if type(value) is not str:
                value = _copy(value)
            if target is not None and type(target) is not str:
                target = _copy(target)
            inputs, targets, ids = batch
            inputs.append(value)
            targets.append(target)
            ids.append(example.id)
            size += _size_of(value)
            if len(ids) >= count or size >= _BATCH_BYTES:
                yield batch
                batch, size = ([], [], []), 0
    except Interrupted:
        raise
    except Exception as error:
        yield batch
        yield error
        return
    yield batch


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return value[:] if type(value) is list else value


def _size_of(value: Any) -> int:
    """Bytes of a value, as far as they are easily known."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    return len(value) if isinstance(value, str | bytes) else 0


def _encode(encoder: ChunkEncoder, batch: RawBatch) -> EncodedChunk:
    for input, target, id in zip(*batch, strict=True):
        encoder.add(input, target, id)
    return encoder.finish_chunk()


class WorkerPool:
    """Processes that encode.

    Args:
        encode_task: how they encode.
        count: how many.

    Attributes:
        failure: why there are none, if they could not be started.
    """

    def __init__(self, encode_task: EncodeTask, count: int) -> None:
        self._task = encode_task
        self._workers: list[tuple[subprocess.Popen[bytes], Connection[Any, Any]]] = []
        self.failure = ""
        target = encode_task.target and _sendable(encode_task.target)
        sendable_task = replace(encode_task, input=_sendable(encode_task.input), target=target)
        try:
            for _ in range(count):
                self._start()
            for _, connection in self._workers:
                connection.send(sendable_task)
            for _, connection in self._workers:
                self.failure = self.failure or connection.recv()
        except (EOFError, OSError) as error:
            self.failure = f"no other process could be started ({str(error) or 'it ended at once'})"
        except Exception as error:  # an object that cannot be sent may raise anything
            self.failure = _unsendable(error)
        except BaseException:
            self._end(at_once=True)
            raise
        if self.failure:
            self._end(at_once=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(at_once=kind is not None)

    def encode(self, batches: Iterable[RawBatch | Exception]) -> Iterator[EncodedChunk]:
        """The chunk of each batch, in order. An error among the batches is raised after the chunks before it.

        Raises:
            RunError: a worker was killed.
        """
        waiting: deque[tuple[int | None, RawBatch]] = deque()
        for number, batch in enumerate(batches):
            if isinstance(batch, Exception):
                while waiting:
                    yield self._receive(*waiting.popleft())
                raise batch
            if len(waiting) == len(self._workers):
                yield self._receive(*waiting.popleft())
            waiting.append((self._send(number % len(self._workers), batch), batch))
        while waiting:
            yield self._receive(*waiting.popleft())

    def _start(self) -> None:
        connection, remote = Pipe()
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [sys.executable, *flags, "-P", "-c", _WORKER_CODE, str(remote.fileno()), *sys.path]
        with remote:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[remote.fileno()])
        self._workers.append((process, connection))

    def _send(self, worker: int, batch: RawBatch) -> int | None:
        """The worker that has the batch now; None: it cannot be sent."""
        try:
            self._workers[worker][1].send(batch)
        except OSError:
            raise self._death(worker) from None
        except Exception:  # an object that cannot be sent may raise anything
            return None
        return worker

    def _receive(self, worker: int | None, batch: RawBatch) -> EncodedChunk:
        """The chunk of a batch: from the worker that has it, or encoded here if no worker could."""
        chunk = None
        if worker is not None:
            try:
                chunk = self._workers[worker][1].recv()
            except (EOFError, OSError):
                raise self._death(worker) from None
        return chunk if isinstance(chunk, EncodedChunk) else _encode(self._task.encoder(), batch)

    def _death(self, worker: int) -> RunError:
        """The error that says how a worker ended."""
        process = self._workers[worker][0]
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"was killed ({signal.Signals(-code).name}); is there too little memory?" if code < 0 else "ended"
        message = f"a process that helped to encode {self._task.split} {how}"
        return RunError(f"{message}; with {VARIABLE}=1 everything is encoded in one process")

    def _end(self, *, at_once: bool) -> None:
        for process, connection in self._workers:
            connection.close()
            if at_once:
                process.kill()
        for process, _ in self._workers:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._workers.clear()


def _sendable(side: Field) -> Field:
    """The field without the values it was fitted on, which a function gives as a rule, and those cannot be sent."""
    return replace(side, also=None) if isinstance(side, Tokens | Text) else side


def _unsendable(error: Exception) -> str:
    return f"its fields cannot be sent to another process ({type(error).__name__}: {error})"


def serve(descriptor: int) -> None:
    """The work of a worker: receive how to encode, then encode batches until the connection closes.

    It first answers with an empty text, or with the reason why it cannot work. A batch that raises an error is answered
    with None, and then the process that sent it encodes it and raises the error itself.
    """
    with Connection(descriptor) as connection:
        try:
            try:
                encode_task = connection.recv()
                encoder = encode_task.encoder()
            except EOFError:
                return
            except Exception as error:
                connection.send(_unsendable(error))
                return
            connection.send("")
            while True:
                connection.send(_answer(connection, encoder))
                encoder = encode_task.encoder()
        except (EOFError, OSError):
            return


def _answer(connection: Connection[Any, Any], encoder: ChunkEncoder) -> EncodedChunk | None:
    """The chunk of the next batch; None if it raised an error."""
    try:
        return _encode(encoder, connection.recv())
    except (EOFError, OSError):
        raise
    except Exception:
        return None
