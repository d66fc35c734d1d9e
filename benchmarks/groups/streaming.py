"""I2: one step at a time, one sequence, the state carried on."""

from __future__ import annotations

from typing import Any

from benchmarks.frame import Case, Contender, Group, Prepared

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


def seqkit(hidden: int) -> Prepared:
    import torch

    from seqkit.encoders import lstm

    encoder = lstm(hidden, hidden=hidden).eval()
    with torch.no_grad():
        encoder.cells[0].load_state_dict(weights(hidden).state_dict())  # type: ignore[index, union-attr]
    length = torch.ones(1, dtype=torch.int64)

    def step(x: Any, state: Any) -> Any:
        encoded = encoder(x[:, None], length, state)
        return encoded.last, encoded.state

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
    ],
)
