"""Memory through time on TensorBoard: curves at every measurement, heat maps and sentences now and then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from seqkit.runs.canvas import ORANGE, RED
from seqkit.runs.heat_map import Curve, HeatMap, draw_heat_map
from seqkit.runs.tensorboard import Board
from seqkit.types import JSON

GROUP = "through time"
"""The group of all tags."""

PICTURED = frozenset(2 * 4**power for power in range(1, 16))
"""Pictures are drawn with these records, and at the end: each takes as long as several steps of a small model."""

DARKEST = -4.0
"""The power of ten, relative to distance 0, that is drawn as nothing."""


def show_record(board: Board, task: str, records: Sequence[Mapping[str, JSON]]) -> None:
    """The newest record as points; with the 8th, 32nd, 128th, ... of a task also pictures and sentences."""
    record, count = records[-1], len(records)
    board.scalars(record["step"], {f"{GROUP}/{task}/{name}": value for name, value in _numbers(record).items()})
    if count in PICTURED:
        show_pictures(board, record["step"], task, records)


def show_final(board: Board, step: int, task: str, records: Sequence[Mapping[str, JSON]]) -> None:
    """Pictures and sentences of all records, at the last step."""
    show_pictures(board, step, task, records)


def show_pictures(board: Board, step: int, task: str, records: Sequence[Mapping[str, JSON]]) -> None:
    """The heat maps of a task's records, and what the newest one says and advises."""
    with_gradient = [record for record in records if record["cell"] is not None]
    if with_gradient:
        board.picture(f"{GROUP}/{task}/gradient by distance", draw_heat_map(gradient_map(task, with_gradient)), step)
    for layer in with_gradient[-1]["layers"] if with_gradient else ():
        if layer["half_life"] is not None:
            name = layer_name(layer)
            picture = draw_heat_map(half_life_map(task, with_gradient, layer["layer"], layer["direction"]))
            board.picture(f"{GROUP}/{task}/half-life by unit, {name}", picture, step)
    rows = [(entry["kind"], entry["sentence"]) for entry in records[-1]["advice"]]
    board.table(f"{GROUP}/{task}/advice", ["about", f"at step {records[-1]['step']:,}"], rows, step)


def layer_name(layer: Mapping[str, JSON]) -> str:
    return f"layer {layer['layer']} {layer['direction']}"


def _numbers(record: Mapping[str, JSON]) -> dict[str, float]:
    """The curves of a record: those of the whole encoder, and for each layer radius, half-life and saturation."""
    numbers: dict[str, float] = {}
    if record["norms"]["clipped"] is not None and record["norms"]["clip"] is not None:
        numbers["share of steps clipped"] = record["norms"]["clipped"]
    for pair, cosine in record.get("agreement", {}).items():
        numbers[f"cosine of gradients, {pair}"] = cosine
    if record["cell"] is None:
        return numbers
    numbers["effective memory (steps)"] = record["effective_memory"]
    numbers["gradient growth"] = record["growth"]
    if record["vanishes_within"] is not None:
        numbers["gradient vanishes within (steps)"] = record["vanishes_within"]
    if record["cut"] is not None:
        numbers["share cut by truncation"] = record["cut"]
    for layer in record["layers"]:
        name = layer_name(layer)
        for gate, radius in layer["spectral_radius"].items():
            if gate in ("state", "candidate"):
                numbers[f"{name}: spectral radius"] = radius
        if layer["half_life"] is not None:
            numbers[f"{name}: half-life, median unit (steps)"] = layer["half_life"][10]
        for gate, share in layer["saturated"].items():
            numbers[f"{name}: saturated, {gate}"] = sum(share) if isinstance(share, list) else share
    return {name: float(value) for name, value in numbers.items()}


def gradient_map(task: str, records: Sequence[Mapping[str, JSON]]) -> HeatMap:
    """The gradient by distance over training, each column relative to distance 0."""
    longest = max((record["distances"] for record in records), key=len)
    values = np.full((len(longest), len(records)), np.nan)
    for column, record in enumerate(records):
        gradient = np.array([float(value) for value in record["gradient"]])
        if gradient[0] > 0:  # what has become zero is drawn as the smallest
            values[: len(gradient), column] = np.log10(np.maximum(gradient / gradient[0], 10**DARKEST))
    lines = [Curve([record["effective_memory"] + 0.5 for record in records], RED, "95 % of it is within")]
    if records[-1]["window"] is not None:
        lines.append(Curve([record["window"] for record in records], ORANGE, "window of training"))
    ticks = [(0.0, "as at 0"), *((float(-power), f"1/{10**power:,}") for power in range(1, -int(DARKEST) + 1))]
    return HeatMap(
        title=f"{task}: gradient of the loss by distance",
        note="norm at a state so many steps away, relative to distance 0",
        steps=[record["step"] for record in records],
        edges=[*longest, longest[-1] + max(1, longest[-1] // 11)],
        values=values,
        low=DARKEST,
        high=0.0,
        ticks=ticks,
        name="distance in steps",
        curves=lines,
    )


def half_life_map(task: str, records: Sequence[Mapping[str, JSON]], number: int, direction: str) -> HeatMap:
    """The share of units whose half-life is in each range, over training."""
    edges = [0.0, *(2.0 ** (power / 2) for power in range(-2, 21))]
    values, medians = np.zeros((len(edges) - 1, len(records))), list[float]()
    for column, record in enumerate(records):
        layer = next(layer for layer in record["layers"] if (layer["layer"], layer["direction"]) == (number, direction))
        quantiles = np.array([float(value) for value in layer["half_life"]])
        shares = np.interp(edges, quantiles, np.linspace(0, 1, len(quantiles)), left=0.0, right=1.0)
        shares[-1] = 1.0
        values[:, column] = np.diff(shares)
        medians.append(float(quantiles[10]))
    highest = max(2, int(np.flatnonzero(values.max(axis=1) > 0)[-1]) + 1)
    return HeatMap(
        title=f"{task}: half-life of units, layer {number} {direction}",
        note="steps until a unit has let go of half; darker: more units",
        steps=[record["step"] for record in records],
        edges=edges[: highest + 1],
        values=values[:highest],
        low=0.0,
        high=max(0.05, float(math.ceil(values.max() * 20) / 20)),
        ticks=[(0.0, "no unit"), (max(0.05, float(math.ceil(values.max() * 20) / 20)), "most units")],
        name="half-life in steps",
        curves=[Curve(medians, RED, "median unit")],
    )
