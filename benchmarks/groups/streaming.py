"""I2: one step at a time, one sequence, the state carried on."""

from __future__ import annotations

from typing import Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target

STEPS = 300


def weights(hidden: int) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(4)
    return nn.LSTM(hidden, hidden)


def inputs(hidden: int) -> Any:
    import torch

    return torch.randn(STEPS, 1, hidden, generator=torch.Generator().manual_seed(6))


def prepared(step: Any, hidden: int) -> Prepared:
    """`step(x (1, H), state)` -> (output (1, H), state)."""
    import numpy as np
    import torch

    x = inputs(hidden)

    def run() -> None:
        state = None
        with torch.inference_mode():
            for t in range(STEPS):
                _, state = step(x[t], state)

    def outputs() -> dict[str, Any]:
        state, outputs = None, []
        with torch.inference_mode():
            for t in range(STEPS):
                output, state = step(x[t], state)
                outputs.append(output.numpy().copy())
        return {"outputs": np.concatenate(outputs)}

    return Prepared(run, outputs, {"tokens": STEPS, "padded": STEPS})


def encoder(hidden: int) -> Any:
    """seqkit's LSTM with the weights of the others."""
    import torch

    from seqkit.encoders import lstm

    built: Any = lstm(hidden, hidden=hidden).eval()
    with torch.no_grad():
        built.cells[0].load_state_dict(weights(hidden).state_dict())
    return built


def seqkit(hidden: int) -> Prepared:
    run, start = encoder(hidden).stepper()

    def step(x: Any, state: Any) -> Any:
        output, [state] = run(x[:, None], [1], [start if state is None else state])
        return output[:, 0], state

    return prepared(step, hidden)


def stream(hidden: int) -> Prepared:
    """A session of a stream, with the prediction and the bookkeeping of each step."""
    from torch import nn

    from seqkit.fields import Label, Vectors
    from seqkit.heads import classify
    from seqkit.inference.stream import Stream
    from seqkit.model import Model
    from seqkit.types import Task

    class Unchanged(nn.Module):
        pointwise = True

        def forward(self, x: Any, lengths: Any) -> Any:
            return x, lengths

    target = Label().fit(["no", "yes"])
    task = Task(read=lambda split: iter(()), input=Vectors(hidden), target=target, head="classify", best="accuracy")
    model = Model({"t": Unchanged()}, encoder(hidden), {"t": classify(hidden, target)})
    sessions = Stream(model, "t", (task, Vectors(hidden), target))

    def step(x: Any, state: Any) -> Any:
        if state is None and sessions.ids:
            sessions.close("s")
        answer = sessions.push("s", x.numpy())
        return answer.recurrent[0], True

    return prepared(step, hidden)


def onnxruntime(hidden: int) -> Prepared:
    """A graph of one LSTM node whose state goes in and comes out."""
    import numpy as np
    import onnx
    import onnxruntime as ort
    import torch
    from onnx import TensorProto, helper, numpy_helper

    i, o, f, c = (slice(n * hidden, (n + 1) * hidden) for n in (0, 3, 1, 2))  # ONNX has the gates in another order
    tensors = weights(hidden).state_dict()

    def in_order(name: str) -> Any:
        array = tensors[name].numpy()
        return np.concatenate([array[gate] for gate in (i, o, f, c)])

    bias = np.concatenate([in_order("bias_ih_l0"), in_order("bias_hh_l0")])
    constants = {"W": in_order("weight_ih_l0"), "R": in_order("weight_hh_l0"), "B": bias}
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y", "new_h", "new_c"], hidden_size=hidden)
    shapes = {"x": [1, 1, hidden], "h": [1, 1, hidden], "c": [1, 1, hidden], "y": [1, 1, 1, hidden]}
    shapes |= {"new_h": shapes["h"], "new_c": shapes["c"]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(
        [node],
        "step",
        [values[name] for name in ("x", "h", "c")],
        [values[name] for name in ("y", "new_h", "new_c")],
        [numpy_helper.from_array(array[None], name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    zero = np.zeros((1, 1, hidden), dtype=np.float32)

    def step(x: Any, state: Any) -> Any:
        h, memory = (zero, zero) if state is None else state
        h, memory = session.run(["new_h", "new_c"], {"x": x.numpy()[None], "h": h, "c": memory})
        return torch.from_numpy(h[0]), (h, memory)

    return prepared(step, hidden)


def layer(hidden: int) -> Prepared:
    lstm = weights(hidden)
    return prepared(lambda x, state: _first(lstm(x[None], state)), hidden)


def _first(result: Any) -> Any:
    return result[0][0], result[1]


def cell(hidden: int) -> Prepared:
    import torch
    from torch import nn

    lstm, lstm_cell = weights(hidden), nn.LSTMCell(hidden, hidden)
    with torch.no_grad():
        lstm_cell.load_state_dict({name.removesuffix("_l0"): value for name, value in lstm.state_dict().items()})

    def step(x: Any, state: Any) -> Any:
        state = lstm_cell(x, state)
        return state[0], state

    return prepared(step, hidden)


HERE = __name__
GROUP = Group(
    "streaming",
    "300 steps of one sequence, one call per step, with the state carried over.",
    [Case(f"LSTM H{hidden}", {"hidden": hidden}, quick=hidden == 128) for hidden in (128, 512)],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("nn.LSTM, T=1", f"{HERE}:layer"),
        Contender("nn.LSTMCell", f"{HERE}:cell"),
        Contender("ONNX Runtime", f"{HERE}:onnxruntime", needs=("onnx", "onnxruntime")),
        Contender("seqkit, a session with its predictions", f"{HERE}:stream"),
    ],
    [
        Target("A step of an LSTM", "LSTM", "nn.LSTM, T=1", 4.0, 4.0),
        Target("A step of an LSTM", "LSTM", "nn.LSTMCell", 1.0, 1.0),
        Target("A step of an LSTM", "LSTM", "ONNX Runtime", 0.5, 1.0),
    ],
)
