"""Weights of eight bits: ONNX Runtime's dynamic quantisation."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections import Counter
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


def quantise(proto: Any) -> tuple[bytes, dict[str, int]]:
    """A model of ONNX with weights of eight bits, and how many of its products, layers and tables have them.

    ONNX Runtime quantises no GRU and no RNN; their weights stay as they are.

    Raises:
        UsageError: there is nothing in it that ONNX Runtime can quantise.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory(prefix="seqkit-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "int8.onnx"
        logger.setLevel(logging.ERROR)
        try:
            with redirect_stdout(io.StringIO()):
                quantize_dynamic(proto, path, weight_type=QuantType.QInt8)
        finally:
            logger.setLevel(level)
        content = path.read_bytes()
    operators = Counter(node.op_type for node in onnx.load_from_string(content).graph.node)
    counts = {name: operators[operator] for operator, name in _OPERATORS.items() if operators[operator]}
    if not counts:
        raise UsageError("--int8: ONNX Runtime can make nothing in this model smaller; leave --int8 out")
    return content, counts
