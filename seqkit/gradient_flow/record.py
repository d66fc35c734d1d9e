"""One measurement as what memory.jsonl holds; docs/memory.md has its keys."""

from __future__ import annotations

from seqkit.gradient_flow import measures
from seqkit.gradient_flow.trace import LayerTrace, Trace
from seqkit.types import JSON

DIGITS = 5
"""Significant digits of the numbers in a record, which would be most of the file otherwise."""


def describe(trace: Trace, cell: str, window: int | None) -> dict[str, JSON]:
    """What a record says of the encoder, without step and task."""
    gradient = measures.gradient_by_distance(trace, trace.layers)
    cut = measures.cut_by_window(gradient)
    record = {
        "cell": cell,
        "sequences": len(trace.lengths),
        "length": float(trace.lengths.double().mean()),
        "window": window,
        "distances": measures.bins(len(gradient) - 1),
        "gradient": measures.bin_means(gradient),
        "effective_memory": measures.effective_memory(gradient),
        "vanishes_within": measures.vanishes_within(gradient),
        "growth": measures.growth(gradient),
        "cut": None if window is None else float(cut[min(window, len(cut)) - 1]),
        "window_enough": None if window is None else measures.window_enough(gradient),
        "layers": [_describe_layer(trace, layer) for layer in trace.layers],
    }
    rounded: dict[str, JSON] = round_numbers(record)
    return rounded


def _describe_layer(trace: Trace, layer: LayerTrace) -> dict[str, JSON]:
    gradient = measures.gradient_by_distance(trace, [layer])
    return {
        "layer": layer.layer,
        "direction": layer.direction,
        "gradient": measures.bin_means(gradient),
        "effective_memory": measures.effective_memory(gradient),
        "spectral_radius": measures.spectral_radii(layer.run),
        "half_life": measures.half_life_quantiles(layer.run),
        "saturated": measures.saturation(layer.run),
    }


def round_numbers(value: JSON) -> JSON:
    """The same value, its fractions rounded."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: round_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [round_numbers(item) for item in value]
    return value
