"""The head of the task `handwriting`: a recurrent decoder of pen movements, with a window over the text if wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit import Batch, Encoded, Field, Head, Prediction, UsageError, mask_of, read_back, upload
from seqkit.nn import LSTM, Dropout
from seqkit_handwriting.fields import DOWN, END, Movements
from seqkit_handwriting.mixture import StepDistribution, width_of
from seqkit_handwriting.svg import lines_of, svg
from seqkit_handwriting.window import Window, WindowState

PICTURE_TEMPERATURE = 0.3
"""Of the drawings on TensorBoard."""


@dataclass(frozen=True)
class DecoderState:
    """The states of the window's layer (None: there is no window) and of the layers above, (L, B, H) twice."""

    window: WindowState | None
    layers: tuple[Tensor, Tensor]


PenState: TypeAlias = "DecoderState | tuple[PenState, ...]"
"""Of a model, or of each member of an ensemble."""


class Pen(Head):
    """A decoder with its loss and its drawings; see `seqkit_handwriting.pen` for the options.

    `Prediction.value` is the likeliest drawing, step by step, [dx, dy, lifted] in the units of the data. Where the true
    drawing is known, `scores` has `{"nats": {"movement": ..., "pen": ..., "steps": ...}}`, sums over its steps. A
    drawing that has not ended at `max_length` has `{"cut": True}`.
    """

    accepts = (Movements,)
    writes = True
    loss_name = "nats"
    is_density = True

    def __init__(
        self,
        dim: int,
        target: Field,
        *,
        hidden: int,
        layers: int,
        mixtures: int,
        window: int,
        dropout: float,
        max_length: int,
    ) -> None:
        super().__init__()
        assert isinstance(target, Movements)
        self.target, self.max_length = target, max_length
        width = 4  # movement, lifted, first step
        self.window = Window(dim, width, hidden, window) if window else None
        below = width + (hidden + dim if window else dim)
        self.lstm = LSTM(below, hidden, num_layers=layers, batch_first=True)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(hidden + (hidden if window else 0), width_of(mixtures))
        with torch.no_grad():
            for layer in range(layers):
                getattr(self.lstm, f"bias_ih_l{layer}")[hidden : 2 * hidden] = 1.0
            self.out.weight.mul_(0.5)
            self.out.bias[mixtures : 3 * mixtures].normal_()  # the Gaussians begin at different places
        self.members: nn.ModuleList | None = None
        self.widths: list[int] = []

    def join_members(self, members: Sequence[Pen], widths: Sequence[int]) -> None:
        """The mean of the members' densities of a movement and of their probabilities of the pen's states.

        They read the same movements; a drawing ends too when the windows of all members have left the text.
        """
        del self.window, self.lstm, self.out
        self.members, self.widths = nn.ModuleList(members), list(widths)

    def start(self, encoded: Encoded) -> PenState:
        """The state before the first step."""
        if self.members is not None:
            return tuple(head.start(part) for head, part in self._pairs(encoded))
        zero = encoded.steps.new_zeros(self.lstm.num_layers, len(encoded.steps), self.lstm.hidden_size)
        return DecoderState(None if self.window is None else self.window.start(encoded), (zero, zero))

    def run(
        self, inputs: Tensor, lengths: Tensor, encoded: Encoded, state: PenState
    ) -> tuple[StepDistribution, PenState]:
        """The distributions after each input step (B, U, 4), and the state after the last one.

        On a GPU, the state of a sequence that ends earlier has read its padding too.
        """
        if isinstance(state, tuple):
            triples = zip(self._pairs(encoded), state, strict=True)
            done = [head.run(inputs, lengths, part, before) for (head, part), before in triples]
            distributions, states = zip(*done, strict=True)
            return StepDistribution.mean_of(distributions), states
        if self.window is None or state.window is None:
            window, shown = None, encoded.last[:, None].expand(-1, inputs.shape[1], -1)
        else:
            shown, window = self.window(inputs, state.window, encoded, lengths)
        # Steps past the end change nothing before it. A CPU leaves them out; a GPU would have to wait for that.
        real_lengths = lengths if inputs.device.type == "cpu" else None
        outputs, layers = self.lstm(torch.cat([inputs, shown], dim=-1), state.layers, lengths=real_lengths)
        assert isinstance(outputs, Tensor)
        if self.window is not None:
            outputs = torch.cat([outputs, shown[..., : self.window.hidden]], dim=-1)
        raw = self.out(self.dropout(outputs)).float()
        return StepDistribution.of(raw), DecoderState(window, layers)

    def is_past_end(self, state: PenState, encoded: Encoded) -> Tensor | None:
        """(B,) whether the window has left the text; None: there is no window."""
        if isinstance(state, tuple):
            triples = zip(self._pairs(encoded), state, strict=True)
            members = [head.is_past_end(before, part) for (head, part), before in triples]
            of_windows = [is_past for is_past in members if is_past is not None]
            return torch.stack(of_windows).all(dim=0) if of_windows else None
        if self.window is None or state.window is None:
            return None
        return self.window.is_past_end(state.window, encoded)

    def _pairs(self, encoded: Encoded) -> Iterator[tuple[Pen, Encoded]]:
        """The members of an ensemble, each with what its encoder has encoded."""
        heads: list[Any] = list(self.members or ())
        return zip(heads, encoded.split(self.widths), strict=True)

    def nats(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(B, U) of the movements and of the pen, zero past the end of a drawing; and (B,) its lengths."""
        y, lengths = batch.y, batch.y_lengths
        assert y is not None
        assert lengths is not None
        if self in encoded.scored:  # where no gradients are computed, once for loss and predictions
            movement, pen = encoded.scored[self].unbind()
            return movement, pen, lengths
        distribution, _ = self.run(_inputs(y), lengths, encoded, self.start(encoded))
        inside = mask_of(lengths, y.shape[1], y.device)
        movement, pen = (part.masked_fill(~inside, 0.0) for part in distribution.nats(y[..., :2], y[..., 2].long()))
        if not torch.is_grad_enabled():
            encoded.scored[self] = torch.stack([movement, pen])
        return movement, pen, lengths

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats of all steps, and how many these are."""
        movement, pen, lengths = self.nats(encoded, batch)
        return movement.sum() + pen.sum(), lengths.sum()

    def comparison(self) -> str:
        """Raises TypeError: of mixtures in two dimensions there is no divergence in closed form."""
        raise TypeError(
            "the divergence of two mixtures of Gaussians in two dimensions has no closed form, and a sum over points "
            "of the plane at each step would take far longer than the loss"
        )

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One an example."""
        drawings = self._drawings(encoded, self.max_length, StepDistribution.likely)
        scores: list[dict[str, Any]] = [{} if is_over else {"cut": True} for _, is_over in drawings]
        if batch.y is not None:
            movement, pen, lengths = self.nats(encoded, batch)
            movement_sums, pen_sums = (tensor.tolist() for tensor in read_back(movement.sum(dim=1), pen.sum(dim=1)))
            sums = zip(movement_sums, pen_sums, lengths.tolist(), strict=True)
            for of_example, (of_movement, of_pen, steps) in zip(scores, sums, strict=True):
                of_example["nats"] = {"movement": of_movement, "pen": of_pen, "steps": steps}
        return [
            Prediction(self.target.decode(rows), scores=score or None)
            for (rows, _), score in zip(drawings, scores, strict=True)
        ]

    @torch.no_grad()
    def write(
        self,
        encoded: Encoded,
        *,
        length: int,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        generator: torch.Generator,
    ) -> list[str]:
        """A picture (SVG) of a drawing for each example, drawn at random; at temperature 0 the likeliest one.

        Raises:
            UsageError: `top_k` or `top_p` is given, which are of symbols.
        """
        if top_k is not None or top_p is not None:
            raise UsageError("top-k and top-p choose among symbols, and this model draws movements; use temperature")

        def draw(distribution: StepDistribution) -> tuple[Tensor, Tensor]:
            if temperature == 0.0:
                return distribution.likely()
            return _on_cpu(distribution).draw(temperature, generator)

        return [svg(self.target.to_draw(rows)) for rows, _ in self._drawings(encoded, length, draw)]

    @torch.no_grad()
    def drawings(self, encoded: Encoded) -> list[list[list[tuple[float, float]]]]:
        """A drawing for each example, drawn near the likeliest one, always from the same draws."""
        generator = torch.Generator().manual_seed(0)

        def draw(distribution: StepDistribution) -> tuple[Tensor, Tensor]:
            return _on_cpu(distribution).draw(PICTURE_TEMPERATURE, generator)

        return [lines_of(self.target.to_draw(rows)) for rows, _ in self._drawings(encoded, self.max_length, draw)]

    def _drawings(
        self, encoded: Encoded, length: int, choose: Callable[[StepDistribution], tuple[Tensor, Tensor]]
    ) -> list[tuple[np.ndarray, bool]]:
        """For each example its steps (U, 3), as `Movements.encode` gives them, and whether the drawing has ended.

        It ends where the pen says so, or the window has left the text.
        """
        batch, device = len(encoded.steps), encoded.steps.device
        state, one = self.start(encoded), torch.ones(batch, dtype=torch.int64)
        x = encoded.steps.new_zeros(batch, 1, 4)
        x[..., 3].fill_(1.0)
        rows: list[Tensor] = []
        is_over = torch.zeros(batch, dtype=torch.bool)
        for _ in range(length):
            distribution, state = self.run(x, one, encoded, state)
            movement, pen = (upload(tensor, device) for tensor in choose(_of_step(distribution)))
            is_past_end = self.is_past_end(state, encoded)
            if is_past_end is not None:
                pen = pen.masked_fill(is_past_end, END)
            # Waited for once a step: it says whether there is another one.
            rows.extend(read_back(torch.cat([movement, pen[:, None].to(movement.dtype)], dim=-1)))
            is_over |= rows[-1][:, 2] == END
            if bool(is_over.all()):
                break
            x = torch.cat([movement, (pen > DOWN).to(movement.dtype)[:, None], torch.zeros_like(movement[:, :1])], -1)
            x = x[:, None].to(encoded.steps.dtype)
        steps = torch.stack(rows, dim=1).numpy()
        ends = [np.flatnonzero(row[:, 2] == END) for row in steps]
        return [(row[: end[0] + 1] if len(end) else row, bool(len(end))) for row, end in zip(steps, ends, strict=True)]


def _on_cpu(distribution: StepDistribution) -> StepDistribution:
    tensors = vars(distribution)
    return StepDistribution(**dict(zip(tensors, read_back(*tensors.values()), strict=True)))


def _of_step(distribution: StepDistribution) -> StepDistribution:
    """Of (B, 1) steps, that of the only one."""
    return StepDistribution(**{name: tensor[:, 0] for name, tensor in vars(distribution).items()})


def _inputs(y: Tensor) -> Tensor:
    """(B, U, 3) true steps -> (B, U, 4) what is read before each: the step before, and whether there is none."""
    before = functional.pad(y, (0, 0, 1, 0))[:, :-1]
    is_first = torch.zeros_like(y[..., :1])
    is_first[:, 0] = 1.0
    return torch.cat([before[..., :2], (before[..., 2:] > DOWN).to(y.dtype), is_first], dim=-1)
