"""Weights of eight bits: a scale for each output, and weights that several nodes read."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from seqkit_speech.options import FrameOptions

from seqkit.errors import UsageError
from seqkit.export import parity
from seqkit.export.onnx_file import OPSET, Session
from seqkit.export.program import ROWS, STEPS, record_model
from seqkit.export.quantise import quantise
from tests.export.test_plugin_fields import tiny_model, waveform
from tests.helpers.sound import needs_audio

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

export_model: Any = importlib.import_module("seqkit.export.export_model")

WIDTH, HIDDEN = 24, 16


def graph_of(nodes: list[Any], shapes: dict[str, list[Any]], outputs: list[str], weights: dict[str, np.ndarray]) -> Any:
    """A model of these nodes, whose inputs are the other names in `shapes`."""
    from onnx import TensorProto, helper, numpy_helper

    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(
        nodes,
        "made",
        [value for name, value in values.items() if name not in outputs],
        [values[name] for name in outputs],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def two_lstms(scale: np.ndarray) -> Any:
    """The same layer over two inputs; `scale` (4 H, 1) multiplies the rows of its weights."""
    from onnx import helper

    generator = np.random.default_rng(0)
    weights = {
        "W": generator.normal(size=(1, 4 * HIDDEN, WIDTH)) * scale,
        "R": generator.normal(size=(1, 4 * HIDDEN, HIDDEN)) * scale,
    }
    nodes = [
        helper.make_node("LSTM", [x, "W", "R"], [y], name=f"layer_{y}", hidden_size=HIDDEN)
        for x, y in (("x", "y"), ("z", "v"))
    ]
    shapes: dict[str, list[Any]] = {name: ["steps", 1, WIDTH] for name in "xz"}
    shapes |= {name: ["steps", 1, 1, HIDDEN] for name in "yv"}
    return graph_of(nodes, shapes, ["y", "v"], weights)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def run_both(proto: Any, fed: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Any, Any]:
    """The outputs before and after, the graph with weights of eight bits, and the counts."""
    import onnx

    content, counts = quantise(proto)
    before, after = Session(proto.SerializeToString()).run(fed), Session(content).run(fed)
    return before, after, onnx.load_from_string(content).graph, counts


def test_two_lstms_with_the_same_weights_stay_right_and_share_them() -> None:
    """As DNA that is read from both strands has them."""
    proto = two_lstms(np.full((4 * HIDDEN, 1), 0.3))
    unchanged = proto.SerializeToString()
    before, after, graph, counts = run_both(proto, {"x": draw(9, 1, WIDTH), "z": draw(9, 1, WIDTH)[::-1]})
    assert counts == {"LSTM": 2}
    for name in before:
        assert np.abs(before[name] - after[name]).max() < 0.03
    stored = [tensor.name for tensor in graph.initializer if len(tensor.dims) == 3]
    assert len(stored) == 2
    assert proto.SerializeToString() == unchanged


def test_each_output_of_an_lstm_has_its_scale() -> None:
    """Small rows are not rounded to 0 because of a large one."""
    scale = np.full((4 * HIDDEN, 1), 0.02)
    scale[0] = 20.0
    before, after, graph, _ = run_both(two_lstms(scale), {"x": draw(9, 1, WIDTH), "z": draw(9, 1, WIDTH)})
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLSTM":
            assert sizes[node.input[8]] == sizes[node.input[10]] == (1, 4 * HIDDEN)
    others = [array[..., 1:] for array in (before["y"], after["y"])]
    assert np.abs(others[0] - others[1]).max() < 0.02 * np.abs(others[0]).max()


def test_each_output_of_a_product_has_its_scale() -> None:
    from onnx import helper

    weights = np.random.default_rng(0).normal(size=(WIDTH, 3)) * [1e-3, 1.0, 1e3]
    node = helper.make_node("MatMul", ["x", "W"], ["y"], name="product")
    proto = graph_of([node], {"x": ["rows", WIDTH], "y": ["rows", 3]}, ["y"], {"W": weights})
    before, after, _, counts = run_both(proto, {"x": draw(50, WIDTH)})
    assert counts == {"matrix product": 1}
    errors = np.abs(before["y"] - after["y"]).max(axis=0) / np.abs(before["y"]).max(axis=0)
    assert errors.max() < 0.02


def test_a_table_that_a_product_reads_too() -> None:
    """A table has one scale, the columns of a product have one each."""
    from onnx import TensorProto, helper

    weights = np.random.default_rng(0).normal(size=(WIDTH, 4)) * [0.5, 1.0, 1.0, 2.0]
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["y"], name="product"),
        helper.make_node("Gather", ["W", "rows"], ["v"], name="table"),
    ]
    proto = graph_of(nodes, {"x": ["n", WIDTH], "y": ["n", 4], "v": ["m", 4]}, ["y", "v"], {"W": weights})
    proto.graph.input.append(helper.make_tensor_value_info("rows", TensorProto.INT64, ["m"]))
    before, after, _, counts = run_both(proto, {"x": draw(7, WIDTH), "rows": np.array([3, 0, WIDTH - 1])})
    assert counts == {"matrix product": 1, "table": 1}
    for name in before:
        assert np.abs(before[name] - after[name]).max() < 0.02 * np.abs(before[name]).max()


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_products_with_constants_that_are_not_trained_stay_exact(operator: str) -> None:
    """A loud row does not make a quiet one 0."""
    from onnx import helper

    generator = np.random.default_rng(0)
    weights = {"filters": generator.random((WIDTH, 6)), "W": generator.normal(size=(6, 3))}
    nodes = [
        helper.make_node(operator, ["x", "filters"], ["powers"], name="mel"),
        helper.make_node("MatMul", ["powers", "W"], ["y"], name="product"),
    ]
    shapes: dict[str, list[Any]] = {"x": ["n", WIDTH], "powers": ["n", 6], "y": ["n", 3]}
    proto = graph_of(nodes, shapes, ["powers", "y"], weights)
    fed = {"x": np.abs(draw(2, WIDTH)) * np.float32([[1e6], [1.0]])}
    content, counts = quantise(proto, fixed=["filters"])
    expected = Session(proto.SerializeToString()).run(fed)["powers"]
    assert np.allclose(Session(content).run(fed)["powers"], expected, rtol=1e-5)
    assert counts == {"matrix product": 1}
    rounded = Session(quantise(proto)[0]).run(fed)["powers"]
    assert (rounded[1] == 0).all()


@needs_audio
def test_the_spectrum_of_sound_stays_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filters of its bands are buffers of the model, and an export says which constants are."""
    field = waveform(FrameOptions(bands=12))
    model = tiny_model(field)
    monkeypatch.setattr(export_model, "score_export", lambda *arguments: {})
    x, lengths = parity.draw_batch(field, ROWS, STEPS, np.random.default_rng(3))
    recording = record_model(model, "task", x, lengths)
    file = export_model._translate(recording, "onnx", {"x": x.numpy().dtype})
    data: Any = None
    small, counts = export_model._quantise(model, "task", {"model": file}, data)
    stored = {tensor.name for tensor in onnx.load_from_string(small["model.int8"].content).graph.initializer}
    (filters,) = [name for name in recording.program.graph_signature.buffers if name.endswith("mel_scale.fb")]
    assert filters in stored
    assert counts["operators"] == {"model": {"matrix product": 2}}


def test_nothing_to_quantise() -> None:
    from onnx import helper

    proto = graph_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n"], "y": ["n"]}, ["y"], {})
    with pytest.raises(UsageError, match="leave --int8 out"):
        quantise(proto)
