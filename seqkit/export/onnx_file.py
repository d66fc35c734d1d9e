"""A recorded program as a file of ONNX: standard operators, recurrences as LSTM, GRU and RNN with `sequence_lens`."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch

from seqkit.errors import MissingExtra
from seqkit.export.program import Recording, not_exportable

OPSET = 18
_ANY_SIZE = 1 << 60

# torch has the gates of an LSTM in the order i f g o and those of a GRU in the order r z n; ONNX has i o f c and z r h.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN_TANH": (0,), "RNN_RELU": (0,)}


def require_libraries() -> None:
    """Raise MissingExtra unless the libraries of the extra `export` are installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtra("an export to ONNX", "export") from None


def to_onnx(recording: Recording) -> Any:
    """The recorded program as an ONNX model (`onnx.ModelProto`); tensors and axes have the recording's names."""
    from onnxscript import optimizer

    dynamic = ("batch", "steps")
    with _quiet(), torch.no_grad():
        try:
            exported = torch.onnx.export(
                recording.program,
                (),
                None,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(recording.inputs),
                output_names=list(recording.outputs),
                custom_translation_table={torch.ops.seqkit.recurrence.default: _recurrence},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise not_exportable(error) from error
        assert exported is not None
        # torch folds small constants only; the weights of recurrences are to be in their nodes, not computed.
        optimizer.optimize_ir(exported.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
        model = exported.model_proto
    del model.graph.value_info[:]
    for tensors, axes_of in ((model.graph.input, recording.inputs), (model.graph.output, recording.outputs)):
        for tensor in tensors:
            dims = tensor.type.tensor_type.shape.dim
            for dim, axis in zip(dims, axes_of[tensor.name], strict=True):
                if axis in dynamic:
                    dim.dim_param = axis if tensors is model.graph.input or axis == "batch" else f"output_{axis}"
    return model


def _recurrence(
    x: Any, lengths: Any, h: Any, c: Any, weights: Sequence[Any], mode: str, reverse: bool
) -> tuple[Any, Any, Any]:
    """One node of ONNX for a layer in one direction."""
    from onnxscript import opset18

    op: Any = opset18  # typed for evaluation, not for building a graph

    w, r, w_bias, r_bias = weights
    gates = _GATES[mode]
    hidden = h.shape[1]
    order = np.concatenate([np.arange(gate * hidden, (gate + 1) * hidden) for gate in gates])

    def ordered(tensor: Any) -> Any:
        rows = tensor if len(gates) == 1 else op.Gather(tensor, op.Constant(value_ints=order.tolist()), axis=0)
        return op.Unsqueeze(rows, op.Constant(value_ints=[0]))

    biases = op.Concat(ordered(w_bias), ordered(r_bias), axis=1)
    first = op.Constant(value_ints=[0])
    inputs = [x, ordered(w), ordered(r), biases, op.Cast(lengths, to=6), op.Unsqueeze(h, first)]
    options: dict[str, Any] = {"hidden_size": hidden, "direction": "reverse" if reverse else "forward"}
    squeezed = op.Constant(value_ints=[1])
    if mode == "LSTM":
        steps, last_h, last_c = op.LSTM(*inputs, op.Unsqueeze(c, first), **options)
        return op.Squeeze(steps, squeezed), op.Squeeze(last_h, first), op.Squeeze(last_c, first)
    if mode == "GRU":
        steps, last_h = op.GRU(*inputs, linear_before_reset=1, **options)
    else:
        steps, last_h = op.RNN(*inputs, activations=["Tanh" if mode == "RNN_TANH" else "Relu"], **options)
    return op.Squeeze(steps, squeezed), op.Squeeze(last_h, first), c


@contextmanager
def _quiet() -> Iterator[None]:
    """torch and ONNX Runtime say much that a user cannot act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class Session:
    """A model in ONNX Runtime, on one thread: named arrays in, named arrays out."""

    def __init__(self, content: bytes | str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs = [tensor.name for tensor in self._session.get_inputs()]
        self.outputs = [tensor.name for tensor in self._session.get_outputs()]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name; inputs that the model does not need are left out."""
        fed = {name: np.ascontiguousarray(arrays[name]) for name in self.inputs}
        return dict(zip(self.outputs, self._session.run(None, fed), strict=True))
