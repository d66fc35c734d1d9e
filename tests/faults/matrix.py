"""Every point times every kind, once: what the run does, and that it can be gone on with to the same end."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch

from seqkit._version import __version__
from seqkit.fault_injection import KINDS, POINTS, impossible
from seqkit.runs import comparison
from tests.faults.runs import Attempt, Case, shell

VISIT = {
    "save.open": 9,
    "save.write": 9,
    "save.fsync": 9,
    "save.rename": 3,
    "save.dirfsync": 3,
    "save.manifest": 3,
    "retain.delete": 2,
    "log.flush": 7,
    "batch.fetch": 33,
    "loss": 33,
    "step": 33,
    "eval": 2,
    "report": 2,
}
"""At which visit it strikes: in the middle of the run."""

EXPECTED = {"kill": 137, "term": 143, "raise": 1, "enospc": 1, "sleep": 0, "nan": 1, "short_write": 0, "oom": 1}
"""The exit code of each kind; what does not fit into memory is worked on in parts where that can be done."""

CUT = {"loss", "eval"}

SAID = {
    "enospc": "disk full",
    "nan": "nan|NaN|not finite",
    "oom": "out of memory",
    "raise": "SEQKIT_FAULT",
}
"""What must have been said."""

CLOSE = 1e-5
"""How far weights may be off when a batch was worked on in parts: a sum in another order."""


@dataclass
class Cell:
    """One failure and what came of it."""

    point: str
    kind: str
    text: str
    problems: list[str] = field(default_factory=list)


def sweep(case: Case, points: tuple[str, ...] = tuple(POINTS)) -> Iterator[Cell]:
    """Every pair once."""
    for point in points:
        for kind in KINDS:
            if why := impossible(point, kind):
                yield Cell(point, kind, f"({why})")
            else:
                yield _cell(case, point, kind)


def _cell(case: Case, point: str, kind: str) -> Cell:
    attempt = Attempt(case, f"{point}-{kind}")
    code = shell(attempt.start(fault=f"{point}:{kind}:{VISIT[point]}").wait())
    cut = kind == "oom" and point in CUT
    told = (point, kind) == ("eval", "nan")  # a score of dev, not a weight: written down as it is
    expected = 0 if cut or told else EXPECTED[kind]
    cell = Cell(point, kind, str(code))
    said = attempt.said.read_text(errors="replace") + (attempt.out / "run.log").read_text(errors="replace")
    if "!!! SEQKIT_FAULT: " not in said:
        cell.problems.append("it never struck")
    if code != expected:
        cell.problems.append(f"left with {code}, not {expected}: {attempt.tail()}")
    if kind in SAID and not told and not re.search(SAID[kind], said):
        cell.problems.append(f"it did not say {SAID[kind]!r}: {attempt.tail()}")
    if kind in ("enospc", "nan") and "Traceback" in attempt.said.read_text(errors="replace"):
        cell.problems.append("a traceback was shown")
    if code == 0:
        found = _far(case, attempt) if cut or told else attempt.differences()
        cell.text += ", in parts" if cut else ", written as NaN" if told else ", the same"
        if told and '"NaN"' not in (attempt.out / "metrics.jsonl").read_text():
            found.append("a NaN was not written down")
    else:
        found = attempt.finish()
        cell.text += ", resumed"
    cell.problems += found
    if cell.problems:
        cell.text = f"FAILED: {cell.problems[0]}"
    else:
        attempt.clear()
    return cell


def _far(case: Case, attempt: Attempt) -> list[str]:
    """Weights that are not close to those of the run that was left alone."""
    found = comparison.read(attempt.out)
    return [
        f"{name} is off by {float((found.tensors[name] - tensor).abs().max())}"
        for name, tensor in case.whole.tensors.items()
        if name.startswith("last model") and not torch.allclose(found.tensors[name], tensor, atol=CLOSE)
    ] + list(found.duplicates)


def table(cells: list[Cell]) -> str:
    """The matrix as Markdown, with its date, its commit, and the pairs that cannot be."""
    shown = {(cell.point, cell.kind): cell for cell in cells}
    points = list(dict.fromkeys(cell.point for cell in cells))
    lines = [
        f"Swept on {datetime.now(UTC):%Y-%m-%d}: commit {_commit()}, seqkit {__version__}, torch {torch.__version__}.",
        "",
        "| point | " + " | ".join(f"`{kind}`" for kind in KINDS) + " |",
        "| --- |" + " --- |" * len(KINDS),
    ]
    reasons: dict[str, str] = {}
    for point in points:
        row = []
        for kind in KINDS:
            text = shown[point, kind].text
            if text.startswith("("):
                text = reasons.setdefault(text[1:-1], "abcdefgh"[len(reasons)])
            row.append(text)
        lines.append(f"| `{point}` | " + " | ".join(row) + " |")
    tried = [cell for cell in cells if not cell.text.startswith("(")]
    failed = [cell for cell in tried if cell.problems]
    lines += [
        "",
        f"{len(tried) - len(failed)} of {len(tried)} as documented; {len(cells) - len(tried)} pairs cannot be: "
        + "; ".join(f"{letter}: {why}" for why, letter in reasons.items())
        + ".",
    ]
    lines += [f"FAILED {cell.point}:{cell.kind}: {'; '.join(cell.problems[:3])}" for cell in failed]
    return "\n".join(lines)


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
