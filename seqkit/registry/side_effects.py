"""What an import leaves behind in the process: the import of a plugin must have no side effect beside its own modules.

A change is grave if it can alter another plugin's numbers or how a run is stopped: signal handlers, functions and
defaults of others, the working directory. Threads, variables, warning filters and log handlers are worth a note.
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
"""Modules whose functions are looked at."""

CLASSES: Final = (("torch", "Tensor"), ("torch.nn", "Module"), ("torch.optim", "Optimizer"))
"""Classes whose methods are looked at."""

_DEPENDENCIES: Final = ("KMP_", "TORCHINDUCTOR_")
"""Beginnings of variables that torch and scikit-learn set when they are imported."""


@dataclass(frozen=True, slots=True)
class SideEffect:
    """One thing that is not as it was. `what` completes "it ...": `took over SIGINT`."""

    what: str
    grave: bool


class ProcessSnapshot:
    """The state of the process when this is made, for comparison.

    Args:
        is_theirs: whether a file belongs to the plugin. Modules that are imported only now were never seen unchanged:
            there, a function from such a file cannot be where it belongs.
    """

    def __init__(self, is_theirs: Callable[[str], bool] = lambda filename: False) -> None:
        self._is_theirs = is_theirs
        self._signals = _handlers()
        self._functions = {name: _functions(names) for name, names in _namespaces()}
        self._hooks = _hooks()
        self._defaults = _torch_defaults()
        self._folder = _folder()
        self._variables = dict(os.environ)
        self._threads = set(threading.enumerate())
        self._filters = list(warnings.filters)
        self._logging = (list(logging.root.handlers), logging.root.level)
        self._limit = sys.getrecursionlimit()

    def changes(self) -> list[SideEffect]:
        """Everything that is another now, grave things first."""
        grave = [*self._signals_taken(), *self._patched(), *self._moved()]
        return [*(SideEffect(what, True) for what in grave), *(SideEffect(what, False) for what in self._left_behind())]

    def _signals_taken(self) -> Iterator[str]:
        now = _handlers()
        taken = [number.name for number in now if now[number] is not self._signals.get(number)]
        if taken:
            yield f"took over {_some(taken)}"

    def _patched(self) -> Iterator[str]:
        found = []
        for name, names in _namespaces():
            before = self._functions.get(name)
            now = _functions(names)
            if before is None:
                found += [f"{name}.{key}" for key, value in now.items() if self._is_theirs(_file_of(value))]
                continue
            top = name.partition(".")[0]
            found += [f"{name}.{key}" for key, old in before.items() if _replaced(old, now.get(key), top)]
        if found:
            yield f"replaced {_some(found)}"

    def _moved(self) -> Iterator[str]:
        hooks = _hooks()
        taken = [name for name, value in hooks.items() if value is not self._hooks[name]]
        if taken:
            yield f"replaced {_some(taken)}"
        defaults, before = _torch_defaults(), self._defaults or _TORCH
        moved = [f"{name} to {value}" for name, value in defaults.items() if name in before and value != before[name]]
        if moved:
            yield f"set {_some(moved)}"
        if _folder() != self._folder:
            yield f"changed the working directory to {_folder()}"

    def _left_behind(self) -> Iterator[str]:
        names = {**self._variables, **os.environ}
        variables = sorted(name for name in names if self._variables.get(name) != os.environ.get(name))
        variables = [name for name in variables if not name.startswith(_DEPENDENCIES)]
        if variables:
            yield f"changed the environment: {_some(variables)}"
        threads = [each.name for each in threading.enumerate() if each not in self._threads]
        if threads:
            yield f"started {len(threads)} thread{'s' if len(threads) > 1 else ''}: {_some(threads)}"
        if len(_blanket(warnings.filters)) > len(_blanket(self._filters)):
            yield "silenced the warnings of others"
        if (list(logging.root.handlers), logging.root.level) != self._logging:
            yield "configured the root logger"
        if sys.getrecursionlimit() != self._limit:
            yield f"set the recursion limit to {sys.getrecursionlimit()}"


_TORCH: Final = {"torch's default dtype": "torch.float32", "torch's gradients": "on"}
"""How torch starts, for an import that brought it."""


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


def _handlers() -> dict[signal.Signals, Any]:
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
    for name in MODULES:
        if name in sys.modules:
            yield name, vars(sys.modules[name])
    for module, name in CLASSES:
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type):
            yield (
                f"{module}.{name}",
                {key: value for base in reversed(found.__mro__) for key, value in vars(base).items()},
            )


def _functions(names: dict[str, Any]) -> dict[str, Any]:
    """What can be called in a namespace, without classes of streams and hooks that are looked at by themselves."""
    hooks = {"stdout", "stderr", "stdin", "excepthook"}
    return {
        key: value
        for key, value in list(names.items())
        if (callable(value) or isinstance(value, (staticmethod, classmethod))) and key not in hooks
    }


def _replaced(old: Any, new: Any, package: str) -> bool:
    """Whether somebody else changed a package's function: torch itself puts real ones in place of stand-ins."""
    if new is old:
        return False
    if (getattr(new, "__module__", None) or "").partition(".")[0] != package:
        return True
    place = getattr(sys.modules.get(package), "__file__", None) or ""
    return bool(_file_of(new)) and not _file_of(new).startswith(os.path.dirname(place) or "?")


def _file_of(function: Any) -> str:
    """The file that a function's code is in; "" for one that is not written in Python."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code.co_filename if isinstance(code, types.CodeType) else ""


def _blanket(filters: Any) -> list[Any]:
    """Filters that silence everything of some category, wherever it comes from."""
    return [each for each in filters if each[0] == "ignore" and each[1] is None and each[3] is None]


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
