"""Weights of eight bits: ONNX Runtime's dynamic quantisation, with a scale for each output of a product or layer."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

from seqkit.errors import UsageError

_OPERATORS: Final = {
    "MatMulInteger": "matrix product",
    "ConvInteger": "convolution",
    "DynamicQuantizeLSTM": "LSTM",
    "DequantizeLinear": "table",
}
"""The operators that a quantised model has, and what each is called in messages."""

_READS_WEIGHTS: Final = ("Conv", "Gather", "Gemm", "LSTM", "MatMul")
"""The operators whose weights ONNX Runtime may quantise."""


def quantise(proto: Any, fixed: Collection[str] = ()) -> tuple[bytes, dict[str, int]]:
    """A model of ONNX with weights of eight bits, and how many of its products, layers and tables have them.

    Products and LSTMs have a scale for each output, tables and convolutions one for all. ONNX Runtime quantises no GRU
    and no RNN; their weights stay as they are.

    Args:
        proto: the model (`onnx.ModelProto`).
        fixed: names of constants that are no weights, such as the filters of a spectrum. Their products stay as they
            are: a power spectrum spans many orders of magnitude, and with one scale for all of it, what is quiet would
            become 0.

    Raises:
        UsageError: there is nothing in it that ONNX Runtime can quantise.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exact = [
        name
        for node in proto.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and not set(fixed).isdisjoint(node.input)
        for name in (node.name, f"{node.name}_MatMul")  # what ONNX Runtime makes of Gemm first
    ]
    separate = onnx.ModelProto()
    separate.CopyFrom(proto)
    _copy_shared_weights(separate.graph)
    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory(prefix="seqkit-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "int8.onnx"
        logger.setLevel(logging.ERROR)
        try:
            with redirect_stdout(io.StringIO()):
                quantize_dynamic(separate, path, weight_type=QuantType.QInt8, per_channel=True, nodes_to_exclude=exact)
        finally:
            logger.setLevel(level)
        quantised = onnx.load(path)
    _share_equal_tensors(quantised.graph)
    operators = Counter(node.op_type for node in quantised.graph.node)
    counts = {name: operators[operator] for operator, name in _OPERATORS.items() if operators[operator]}
    if not counts:
        raise UsageError("--int8: ONNX Runtime can make nothing in this model smaller; leave --int8 out")
    return quantised.SerializeToString(), counts


def _copy_shared_weights(graph: Any) -> None:
    """Weights that several nodes read are copied, so that each node has its own.

    ONNX Runtime transposes the weights of an LSTM in place: of two nodes with the same weights, as a model has that
    reads DNA from both strands, the second one would transpose them again.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type not in _READS_WEIGHTS:
            continue
        for number, name in enumerate(node.input):
            if name not in weights or len(weights[name].dims) < 2:
                continue
            uses[name] += 1
            if uses[name] > 1:
                copy = graph.initializer.add()
                copy.CopyFrom(weights[name])
                copy.name = node.input[number] = f"{name}.{uses[name]}"


def _share_equal_tensors(graph: Any) -> None:
    """Of constants that are equal, one is kept, and all nodes read it."""
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return  # the graph of a branch or loop may read them too
    by_content: defaultdict[bytes, list[Any]] = defaultdict(list)
    outputs = {value.name for value in graph.output}
    for tensor in graph.initializer:
        if tensor.name in outputs:
            return
        unnamed = type(tensor)()
        unnamed.CopyFrom(tensor)
        unnamed.ClearField("name")
        by_content[unnamed.SerializeToString()].append(tensor)
    kept = {tensor.name: tensors[0].name for tensors in by_content.values() for tensor in tensors}
    for node in graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = kept.get(name, name)
    first = [tensors[0] for tensors in by_content.values()]
    del graph.initializer[:]
    graph.initializer.extend(first)
