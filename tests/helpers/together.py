"""Several processes that train together, forked from this one: they need not import anything again."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from seqkit import fault_injection
from seqkit.cli import main
from seqkit.runtime.launch import without_option
from seqkit.runtime.ranks import Ranks, joined


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _be(rank: int, size: int, port: int) -> None:
    """Become this one of so many processes."""
    torch.set_num_threads(1)
    environment = {
        "RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_RANK": rank,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in environment.items()})


def _work(rank: int, size: int, port: int, function: Callable[[Ranks], Any], out: Connection) -> None:
    _be(rank, size, port)
    try:
        with joined(uses_gpu=False) as ranks:
            out.send_bytes(pickle.dumps((True, function(ranks))))
    except BaseException as error:
        out.send_bytes(pickle.dumps((False, (type(error).__name__, str(error), traceback.format_exc()))))
    finally:
        out.close()
        os._exit(0)


def outcomes(size: int, function: Callable[[Ranks], Any], *, seconds: float = 300) -> list[tuple[bool, Any]]:
    """Call `function(ranks)` in so many processes. For each: (True, result) or (False, (error, message, trace)).

    A process that ends without either has (False, ("", "", "")).
    """
    if size == 1:
        return [(True, function(Ranks()))]
    context, port = multiprocessing.get_context("fork"), free_port()
    pipes, processes = [], []
    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(rank, size, port, function, sender))
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    results: list[tuple[bool, Any]] = []
    try:
        for pipe in pipes:
            try:
                is_ready = pipe.poll(seconds)
                results.append(pickle.loads(pipe.recv_bytes()) if is_ready else (False, ("", "still running", "")))
            except EOFError:
                results.append((False, ("", "", "")))
    finally:
        for process in processes:
            process.kill()
            process.join()
    return results


def together(size: int, function: Callable[[Ranks], Any]) -> list[Any]:
    """What `function(ranks)` returns in each of so many processes."""
    results = outcomes(size, function)
    for succeeded, value in results:
        assert succeeded, value[2]
    return [value for _, value in results]


def launch_forked(arguments: Sequence[str], fault: str | None, log: Path) -> int:
    """`seqkit ARGUMENTS` with `--nproc N` in as many forked processes, for `verify_resume`."""
    size, port = int(arguments[arguments.index("--nproc") + 1]), free_port()
    words = without_option(arguments, "--nproc")
    children = []
    for rank in range(size):
        if child := os.fork():
            children.append(child)
            continue
        code = 70
        try:
            _be(rank, size, port)
            sys.stdout = sys.stderr = log.open("a", buffering=1)
            fault_injection.arm(fault)
            main(words, prog_name="seqkit")
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return -signal.SIGKILL if -signal.SIGKILL in codes else max(codes)
