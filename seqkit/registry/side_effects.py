"""Side effects of an import: a plugin's import should change nothing in the process but add its own modules.

A side effect is grave if it can change the numbers of other code or how a run is stopped: signal handlers, functions
and defaults of other modules, the working directory. Threads, environment variables, warning filters and log handlers
are worth a note.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

MODULES: Final = (
    *("builtins", "io", "json", "math", "os", "pathlib", "pickle", "random", "signal", "sys", "time", "warnings"),
    *("numpy", "numpy.random", "sklearn.metrics", "safetensors.torch"),
    *("torch", "torch.nn.functional", "torch.nn.init", "torch.optim", "torch.serialization", "torch.utils.data"),
)
"""Modules whose functions are compared."""

CLASSES: Final = (("torch", "Tensor"), ("torch.nn", "Module"), ("torch.optim", "Optimizer"))
"""Classes whose methods are compared."""

_DEPENDENCY_PREFIXES: Final = ("KMP_", "TORCHINDUCTOR_")
"""Environment variables that torch and scikit-learn set when they are imported begin with these."""


@dataclass(frozen=True, slots=True)
class SideEffect:
    """One change in the process. `description` completes a sentence: `took over SIGINT`."""

    description: str
    is_grave: bool


class ProcessSnapshot:
    """The state of the process now, for comparison with a later one.

    Args:
        is_theirs: says whether a file belongs to the plugin. Of modules that the plugin is the first to import, the
            snapshot has no functions; there, a function from one of its files is a replaced one.
    """

    def __init__(self, is_theirs: Callable[[str], bool] = lambda filename: False) -> None:
        self._is_theirs = is_theirs
        self._signals = _signal_handlers()
        self._functions = {name: _functions(namespace) for name, namespace in _namespaces()}
        self._hooks = _hooks()
        self._defaults = _torch_defaults()
        self._folder = _working_directory()
        self._variables = dict(os.environ)
        self._threads = set(threading.enumerate())
        self._filters = list(warnings.filters)
        self._logging = (list(logging.root.handlers), logging.root.level)
        self._limit = sys.getrecursionlimit()

    def changes(self) -> list[SideEffect]:
        """Everything that has changed since, grave changes first."""
        grave = [*self._changed_signals(), *self._changed_functions(), *self._changed_defaults()]
        mild = self._mild_changes()
        return [*(SideEffect(text, True) for text in grave), *(SideEffect(text, False) for text in mild)]

    def _changed_signals(self) -> Iterator[str]:
        handlers = _signal_handlers()
        changed = [number.name for number in handlers if handlers[number] is not self._signals.get(number)]
        if changed:
            yield f"took over {_shorten(changed)}"

    def _changed_functions(self) -> Iterator[str]:
        replaced = []
        for name, namespace in _namespaces():
            before = self._functions.get(name)
            functions = _functions(namespace)
            if before is None:
                replaced += [f"{name}.{key}" for key, value in functions.items() if self._is_theirs(_file_of(value))]
                continue
            top = name.partition(".")[0]
            replaced += [f"{name}.{key}" for key, old in before.items() if _is_replaced(old, functions.get(key), top)]
        if replaced:
            yield f"replaced {_shorten(replaced)}"

    def _changed_defaults(self) -> Iterator[str]:
        replaced = [name for name, value in _hooks().items() if value is not self._hooks[name]]
        if replaced:
            yield f"replaced {_shorten(replaced)}"
        before = self._defaults or _TORCH
        changed = [
            f"{name} to {value}"
            for name, value in _torch_defaults().items()
            if name in before and value != before[name]
        ]
        if changed:
            yield f"set {_shorten(changed)}"
        if _working_directory() != self._folder:
            yield f"changed the working directory to {_working_directory()}"

    def _mild_changes(self) -> Iterator[str]:
        names = {**self._variables, **os.environ}
        variables = sorted(name for name in names if self._variables.get(name) != os.environ.get(name))
        variables = [name for name in variables if not name.startswith(_DEPENDENCY_PREFIXES)]
        if variables:
            yield f"changed the environment: {_shorten(variables)}"
        threads = [thread.name for thread in threading.enumerate() if thread not in self._threads]
        if threads:
            yield f"started {len(threads)} thread{'s' if len(threads) > 1 else ''}: {_shorten(threads)}"
        if len(_ignore_filters(warnings.filters)) > len(_ignore_filters(self._filters)):
            yield "silenced warnings of other modules"
        if (list(logging.root.handlers), logging.root.level) != self._logging:
            yield "configured the root logger"
        if sys.getrecursionlimit() != self._limit:
            yield f"set the recursion limit to {sys.getrecursionlimit()}"


_TORCH: Final = {"torch's default dtype": "torch.float32", "torch's gradients": "on"}
"""The defaults of torch, for a plugin that is the first to import it."""


def _torch_defaults() -> dict[str, str]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):
        return {}
    return {
        "torch's default dtype": str(torch.get_default_dtype()),
        "torch's gradients": "on" if torch.is_grad_enabled() else "off",
        "torch's threads": str(torch.get_num_threads()),
        "torch's deterministic algorithms": "on" if torch.are_deterministic_algorithms_enabled() else "off",
    }


def _signal_handlers() -> dict[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals() if isinstance(number, signal.Signals)}


def _hooks() -> dict[str, Any]:
    return {
        "sys.stdout": sys.stdout,
        "sys.stderr": sys.stderr,
        "sys.excepthook": sys.excepthook,
        "threading.excepthook": threading.excepthook,
        "the trace function": sys.gettrace(),
        "the profile function": sys.getprofile(),
    }


def _namespaces() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, attributes) of the modules and classes that are compared, as far as they are imported."""
    for name in MODULES:
        if name in sys.modules:
            yield name, vars(sys.modules[name])
    for module, name in CLASSES:
        cls = getattr(sys.modules.get(module), name, None)
        if isinstance(cls, type):
            attributes = {key: value for base in reversed(cls.__mro__) for key, value in vars(base).items()}
            yield f"{module}.{name}", attributes


def _functions(namespace: dict[str, Any]) -> dict[str, Any]:
    """The callables in a namespace, except the streams and hooks that `_hooks` has."""
    hooks = {"stdout", "stderr", "stdin", "excepthook"}
    return {
        key: value
        for key, value in list(namespace.items())
        if (callable(value) or isinstance(value, (staticmethod, classmethod))) and key not in hooks
    }


def _is_replaced(old: Any, new: Any, package: str) -> bool:
    """Whether other code has replaced a package's function: torch itself replaces placeholders by real ones."""
    if new is old:
        return False
    if (getattr(new, "__module__", None) or "").partition(".")[0] != package:
        return True
    init = getattr(sys.modules.get(package), "__file__", None) or ""
    return bool(_file_of(new)) and not _file_of(new).startswith(os.path.dirname(init) or "?")


def _file_of(function: Any) -> str:
    """The file that a function's code is in; empty for one that is not written in Python."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code.co_filename if isinstance(code, types.CodeType) else ""


def _ignore_filters(filters: Any) -> list[Any]:
    """The filters that silence a whole category, with any message and from any module."""
    return [
        (action, message, category, module, line)
        for action, message, category, module, line in filters
        if action == "ignore" and message is None and module is None
    ]


def _working_directory() -> str:
    """Empty if it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _shorten(names: list[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
