"""Memory through time in the report of a run: what memory.jsonl says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqkit.errors import RunError
from seqkit.reports.charts import Line, line_chart
from seqkit.runs.memory_log import read_memory


def memory_sections(folder: Path) -> list[dict[str, Any]]:
    """A section for each task that was measured; of a damaged file, one that says so."""
    try:
        records = read_memory(folder)
    except RunError as error:
        return [{"name": "memory.jsonl", "advice": [str(error)], "charts": []}]
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record.get("cell") is not None:
            by_task.setdefault(str(record["task"]), []).append(record)
    return [
        {"name": name, "advice": _advice(of_task[-1]), "charts": [c for c in _charts(of_task) if c["svg"]]}
        for name, of_task in by_task.items()
    ]


def _advice(record: Mapping[str, Any]) -> list[str]:
    advice = record.get("advice")
    return [str(item.get("sentence")) for item in advice or () if isinstance(item, Mapping)]


def _charts(records: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    chosen = records if len(records) <= 3 else [records[0], records[len(records) // 2], records[-1]]
    lines = []
    for record in chosen:
        pairs = list(zip(_numbers(record.get("distances")), _numbers(record.get("gradient")), strict=False))
        pairs = [(x, y) for x, y in pairs if y > 0]
        lines.append(Line(f"step {record['step']:,}", [x for x, _ in pairs], [y for _, y in pairs]))
    yield {
        "caption": "norm of the loss's gradient with respect to the states so many steps before",
        "svg": line_chart(lines, x="steps before the loss", y="norm", logarithmic=True),
    }
    points = [(record["step"], record.get("effective_memory")) for record in records]
    known = [(x, float(y)) for x, y in points if isinstance(y, int | float)]
    line = Line("effective memory", [x for x, _ in known], [y for _, y in known], dots=len(known) <= 12)
    yield {
        "caption": "effective memory: the distance that holds 95 % of the gradient",
        "svg": line_chart([line], x="optimiser step", y="steps"),
    }
    layers = [layer for layer in records[-1].get("layers") or () if isinstance(layer, Mapping)]
    shares = [5.0 * number for number in range(21)]
    lines = [
        Line(_layer_name(layer), shares[: len(values)], values)
        for layer in layers
        if (values := _numbers(layer.get("half_life")))
    ]
    yield {
        "caption": "half-life of what a unit holds, from the units that forget first to those that forget last",
        "svg": line_chart(lines, x="share of units, %", y="steps", logarithmic=True),
    }
    lines = []
    for number, layer in enumerate(layers):
        for gate in layer.get("spectral_radius") or {}:
            rows = [record for record in records if len(record.get("layers") or ()) > number]
            values = [record["layers"][number].get("spectral_radius", {}).get(gate) for record in rows]
            radii = [
                (record["step"], float(value))
                for record, value in zip(rows, values, strict=True)
                if isinstance(value, int | float)
            ]
            lines.append(Line(f"{_layer_name(layer)}, {gate}", [x for x, _ in radii], [y for _, y in radii]))
    yield {
        "caption": "spectral radius of the recurrent matrices",
        "svg": line_chart(lines, x="optimiser step", y="spectral radius"),
    }


def _layer_name(layer: Mapping[str, Any]) -> str:
    return f"layer {layer.get('layer')}, {layer.get('direction')}"


def _numbers(values: Any) -> list[float]:
    """Numbers; NaN and infinities are texts in the file, and left out of charts."""
    return [float(value) if isinstance(value, int | float) else math.nan for value in values or ()]
