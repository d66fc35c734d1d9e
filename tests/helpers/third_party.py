"""Distributions that are not there: a folder with a module and its metadata, put on sys.path for one test."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from pathlib import Path

_number = itertools.count()

TASK = """
    from pathlib import Path
    from typing import Annotated, Literal

    from annotated_types import Ge
    from seqkit import Count, DataError, Label, Next, Problem, Task, Tokens

    def task(
        *,
        k: Count = 3,
        rate: float = 0.5,
        mode: Literal["fast", "slow"] = "fast",
        folder: Path | None = None,
        widths: tuple[int, ...] = (1, 2),
        names: dict[str, int] = {},
        floor: Annotated[float, Ge(0)] | None = None,
        either: Literal["built-in"] | Path = "built-in",
        fails: bool = False,
        target: Literal["label", "next"] = "label",
        title: str = "a title",
    ) -> Task:
        '''Whether the middle of this window is a splice site.

        Args:
            k: letters a symbol.
            mode: how,
                in two lines.
        '''
        if fails:
            raise DataError(Problem("", "the options do not go together"))
        return Task(
            read=lambda split: [],
            input=Tokens(),
            target=Label() if target == "label" else Next(),
            head={"use": "classify", "pool": "max"} if target == "label" else "language",
            best="accuracy",
        )
"""

BROKEN = {
    "import-error": "from json import nothing_like_it",
    "syntax-error": "def task(:",
    "system-exit": "raise SystemExit(3)",
    "keyboard-interrupt": "raise KeyboardInterrupt",
    "own-base-exception": "class Own(BaseException): ...\nraise Own('mine')",
    "missing-attribute": "other = 1",
    "recursion-error": "def deep():\n    deep()\ndeep()",
    "output-noise": "import os\nprint('noise')\nos.write(1, b'more')\ndef task(): ...",
    "signal-hijack": "import signal\nfor n in (2, 15):\n    signal.signal(n, lambda *_: None)\ndef task(): ...",
    "abort": "import os\n\nos.abort()",
    "endless": "import time\n\nwhile True:\n    time.sleep(0.1)",
    "patched-torch-load": "import json\njson.loads = lambda text: None\nimport torch\ntorch.load = lambda path: None\n"
    "def task(): ...",
}
"""The ways in which an import can go wrong, by name."""


def break_all(root: Path) -> None:
    """A distribution `broken-NAME` with a task NAME for each of these ways."""
    for name, code in BROKEN.items():
        install(root, distribution=f"broken-{name}", code=code, entries={"seqkit.tasks": {name: "task"}})


def install(
    root: Path,
    *,
    distribution: str = "vendor",
    version: str = "1.2",
    code: str = TASK,
    entries: Mapping[str, Mapping[str, str]] | None = None,
    requires: str = "",
) -> str:
    """Write a distribution into `root` and return the name of its module, which no other test has.

    Args:
        root: a folder that is, or will be, on sys.path.
        distribution: its name in the metadata.
        version: its version.
        code: the module.
        entries: {"seqkit.tasks": {"name": "attribute"}}; default: the task `splice`, the module's `task`.
        requires: a Requires-Dist line.
    """
    module = f"vendor_{next(_number)}"
    (root / f"{module}.py").write_text(textwrap.dedent(code))
    info = root / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}")
    lines = []
    for group, points in (entries or {"seqkit.tasks": {"splice": "task"}}).items():
        lines += [f"[{group}]", *(f"{name} = {module}:{attribute}" for name, attribute in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return module
