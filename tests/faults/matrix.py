"""Every point times every kind, once: what the run does, and that it can be resumed to the same end."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch

from seqkit._version import __version__
from seqkit.fault_injection import KINDS, POINTS, why_impossible
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
"""The visit at which it happens: in the middle of the run."""

EXPECTED = {"kill": 137, "term": 143, "raise": 1, "enospc": 1, "sleep": 0, "nan": 1, "short_write": 0, "oom": 1}
"""The exit code of each kind; a batch that does not fit into memory is computed in parts where possible."""

IN_PARTS = {"loss", "eval"}
"""Points at which a batch can be computed in parts."""

MESSAGES = {
    "enospc": "disk full",
    "nan": "nan|NaN|not finite",
    "oom": "out of memory",
    "raise": "SEQKIT_FAULT",
}
"""What must be in the output."""

TOLERANCE = 1e-5
"""How far weights may differ if a batch was computed in parts: the sum has another order."""


@dataclass
class Cell:
    """One failure and its result."""

    point: str
    kind: str
    text: str
    problems: list[str] = field(default_factory=list)
    was_tried: bool = True


def sweep(case: Case, points: tuple[str, ...] = tuple(POINTS)) -> Iterator[Cell]:
    """Try every pair once."""
    for point in points:
        for kind in KINDS:
            if why := why_impossible(point, kind):
                yield Cell(point, kind, f"({why})", was_tried=False)
            else:
                yield _try(case, point, kind)


def _try(case: Case, point: str, kind: str) -> Cell:
    attempt = Attempt(case, f"{point}-{kind}")
    code = shell(attempt.start(fault=f"{point}:{kind}:{VISIT[point]}").wait())
    in_parts = kind == "oom" and point in IN_PARTS
    is_recorded = (point, kind) == ("eval", "nan")  # a dev score, not a weight: it is recorded as NaN
    expected = 0 if in_parts or is_recorded else EXPECTED[kind]
    cell = Cell(point, kind, str(code))
    output = attempt.output.read_text(errors="replace") + (attempt.out / "run.log").read_text(errors="replace")
    if "!!! SEQKIT_FAULT: " not in output:
        cell.problems.append("the failure did not happen")
    if code != expected:
        cell.problems.append(f"exited with {code}, not {expected}: {attempt.tail()}")
    if kind in MESSAGES and not is_recorded and not re.search(MESSAGES[kind], output):
        cell.problems.append(f"its output does not have {MESSAGES[kind]!r}: {attempt.tail()}")
    if kind in ("enospc", "nan") and "Traceback" in attempt.output.read_text(errors="replace"):
        cell.problems.append("a traceback was shown")
    if code == 0:
        problems = _find_far_weights(case, attempt) if in_parts or is_recorded else attempt.differences()
        cell.text += ", in parts" if in_parts else ", written as NaN" if is_recorded else ", the same"
        if is_recorded and '"NaN"' not in (attempt.out / "metrics.jsonl").read_text():
            problems.append("a NaN was not recorded")
    else:
        problems = attempt.finish()
        cell.text += ", resumed"
    cell.problems += problems
    if cell.problems:
        cell.text = f"FAILED: {cell.problems[0]}"
    else:
        attempt.clear()
    return cell


def _find_far_weights(case: Case, attempt: Attempt) -> list[str]:
    """Weights that are not close to those of the uninterrupted run."""
    digest = comparison.read(attempt.out)
    return [
        f"{name} is off by {float((digest.tensors[name] - tensor).abs().max())}"
        for name, tensor in case.uninterrupted.tensors.items()
        if name.startswith("last model") and not torch.allclose(digest.tensors[name], tensor, atol=TOLERANCE)
    ] + list(digest.duplicates)


def table(cells: list[Cell]) -> str:
    """The matrix as Markdown, with its date, its commit, and the pairs that are impossible."""
    by_pair = {(cell.point, cell.kind): cell for cell in cells}
    points = list(dict.fromkeys(cell.point for cell in cells))
    lines = [
        f"Run on {datetime.now(UTC):%Y-%m-%d}: commit {_commit()}, seqkit {__version__}, torch {torch.__version__}.",
        "",
        "| point | " + " | ".join(f"`{kind}`" for kind in KINDS) + " |",
        "| --- |" + " --- |" * len(KINDS),
    ]
    reasons: dict[str, str] = {}
    for point in points:
        row = []
        for kind in KINDS:
            text = by_pair[point, kind].text
            if not by_pair[point, kind].was_tried:
                text = reasons.setdefault(text[1:-1], "abcdefgh"[len(reasons)])
            row.append(text)
        lines.append(f"| `{point}` | " + " | ".join(row) + " |")
    tried = [cell for cell in cells if cell.was_tried]
    failed = [cell for cell in tried if cell.problems]
    lines += [
        "",
        f"{len(tried) - len(failed)} of {len(tried)} as documented; {len(cells) - len(tried)} pairs are impossible: "
        + "; ".join(f"{letter}: {why}" for why, letter in reasons.items())
        + ".",
    ]
    lines += [f"FAILED {cell.point}:{cell.kind}: {'; '.join(cell.problems[:3])}" for cell in failed]
    return "\n".join(lines)


def _commit() -> str:
    result = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
