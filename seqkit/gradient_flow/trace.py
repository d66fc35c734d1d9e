"""The gradient of single losses with respect to every state of a recurrent encoder.

Autograd does not give it: to autograd a layer is one operation, whose states have no gradient of their own. The
unpadded kernels compute it on the way to the gradients of the weights; here it is put together from what they leave.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from seqkit import kernels
from seqkit.encoders.recurrent import Recurrent
from seqkit.gradient_flow.undisturbed import undisturbed
from seqkit.interfaces import Batch, Encoded, State, mask_of
from seqkit.kernels import DirectionPass, Layout
from seqkit.model import Model

Direction: TypeAlias = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, Direction] = ("forward", "backward")


@dataclass(frozen=True)
class LayerTrace:
    """One layer in one direction.

    Attributes:
        layer: counted from 1.
        direction: that in which it reads.
        run: its tensors: gates, states, weights; rows are the real steps.
        norms: (R, T) the norm of the gradient of each sequence's loss with respect to the state at each step: h, for an
            LSTM h and c together. Zero after a sequence's end.
    """

    layer: int
    direction: Direction
    run: DirectionPass
    norms: Tensor


@dataclass(frozen=True)
class Trace:
    """Some sequences, each with the loss of one of its steps for each direction of the encoder.

    Attributes:
        lengths: (R,) encoded steps of each sequence.
        steps: for each direction (R,) the step whose loss it is, counted from 0.
        layers: all layers, each direction traced from its own step.
    """

    lengths: Tensor
    steps: dict[Direction, Tensor]
    layers: tuple[LayerTrace, ...]


def trace_gradients(model: Model, task: str, batch: Batch, *, scored: Batch | None = None) -> Trace:
    """Gradients of the losses of single steps; the model and all random states are left as they were.

    The loss of a step is what reaches the encoder's output there. For the forward direction the step is in the second
    half of a sequence, for the backward one in the first half, so that there is something to look back on; within that
    half, steps of large gradients are chosen more often. The choice depends on nothing random.

    Args:
        model: with a `Recurrent` encoder.
        task: whose batch it is.
        batch: R sequences.
        scored: the last steps of `batch`, if the head is to score only those; None: all.
    """
    encoder, device = model.encoder, model.device
    assert isinstance(encoder, Recurrent)
    with undisturbed(model, device):
        with torch.no_grad():
            x, lengths = model.layer(task)(batch.x, batch.lengths)
        if device.type != "cpu":
            encoder = copy.deepcopy(encoder).cpu()
        x = x.detach().cpu().requires_grad_()
        with torch.enable_grad(), _unpadded_kernels(), torch.autocast("cpu", enabled=False):
            watched = _Watched()
            with kernels.watch_backward(watched):
                encoded = encoder(x, lengths)
                state = encoded.state
            gradient, state_gradients = _head_gradients(model, task, batch, encoded, scored)
            kept = [
                (values, of_state)
                for values, of_state in zip(state, state_gradients, strict=True)
                if of_state is not None
            ]
            layers: list[LayerTrace] = []
            steps: dict[Direction, Tensor] = {}
            for numbers in _passes_backward(encoder):
                sent = [torch.zeros_like(gradient), *(torch.zeros_like(of_state) for _, of_state in kept)]
                for number in numbers:
                    direction = DIRECTIONS[number]
                    columns = slice(number * encoder.hidden, (number + 1) * encoder.hidden)
                    steps[direction] = _choose_steps(gradient[..., columns], lengths, direction)
                    sent[0] += _at_steps(gradient, steps[direction], columns)
                    for total, (_, of_state) in zip(sent[1:], kept, strict=True):
                        total += _at_end(of_state, steps[direction], lengths, number, encoder.directions)
                watched.seen.clear()
                is_last = numbers[-1] + 1 == encoder.directions
                # A number whose gradients they are: given gradients, torch imports its compiler's symbols to compare
                # shapes, which takes most of a second at the first step of a run.
                outputs = encoded.steps, *(values for values, _ in kept)
                total = torch.stack([(values * of).sum() for values, of in zip(outputs, sent, strict=True)]).sum()
                torch.autograd.grad(total, [x], retain_graph=not is_last)
                for number in numbers:
                    layers += _layer_traces(watched.seen, DIRECTIONS[number], number, lengths, encoder.layers)
    return Trace(lengths, steps, tuple(layers))


def _passes_backward(encoder: Recurrent) -> list[range]:
    """The numbers of the directions that each pass backward traces: both at once where neither reads the other."""
    if encoder.layers == 1 and encoder.norms is None:
        return [range(encoder.directions)]
    return [range(number, number + 1) for number in range(encoder.directions)]


def encoder_input_gradients(model: Model, task: str, batch: Batch, state: State | None) -> tuple[Tensor, Tensor]:
    """The norm of the loss's gradient with respect to each step that enters the encoder, whichever encoder that is.

    The model and all random states are left as they were.

    Returns:
        (B, T) norms on the CPU, zero after a sequence's end, and (B,) lengths.
    """
    with undisturbed(model, model.device):
        with torch.no_grad():
            x, lengths = model.layer(task)(batch.x, batch.lengths)
        x = x.detach().requires_grad_()
        with torch.enable_grad(), _unpadded_kernels():
            loss, _ = model.head(task).loss(model.encoder(x, lengths, state), batch)
            (gradient,) = torch.autograd.grad(loss, [x], allow_unused=True)
    return (torch.zeros(x.shape[:2]) if gradient is None else gradient.norm(dim=-1).cpu()), lengths


@contextlib.contextmanager
def _unpadded_kernels() -> Iterator[None]:
    """On a CPU, recurrent layers run by a kernel whose backward pass can be watched."""
    with kernels.use("native" if kernels.has_native() else "stepwise"):
        yield


class _Watched:
    """Collects the layers whose backward pass has run, the last one first."""

    def __init__(self) -> None:
        self.seen: list[tuple[Sequence[DirectionPass], Layout, Sequence[Tensor | None]]] = []

    def __call__(
        self, passes: Sequence[DirectionPass], layout: Layout, final_memories: Sequence[Tensor | None]
    ) -> None:
        self.seen.append((passes, layout, final_memories))


def _head_gradients(
    model: Model, task: str, batch: Batch, encoded: Encoded, scored: Batch | None
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss's gradient where it enters the encoder: (R, T, H) of its outputs, and of each tensor of its state."""
    device, time = model.device, encoded.steps.shape[1]
    first = 0 if scored is None else time - scored.x.shape[1]

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device).requires_grad_()

    steps, last = leaf(encoded.steps[:, first:]), leaf(encoded.last)
    state = tuple(leaf(tensor) for tensor in encoded.state)
    loss, _ = model.head(task).loss(Encoded(steps, encoded.lengths - first, last, lambda: state), scored or batch)
    gradients = torch.autograd.grad(loss, [steps, last, *state], allow_unused=True)
    on_cpu: list[Tensor | None] = [None if gradient is None else gradient.cpu() for gradient in gradients]
    of_steps, of_last, *of_state = on_cpu
    total = torch.zeros_like(encoded.steps)
    if of_steps is not None:
        total[:, first:] += of_steps
    if of_last is not None:  # the last output is a copy of the last step's, of a backward direction the first step's
        rows, ends = torch.arange(len(total)), encoded.lengths - 1
        encoder = model.encoder
        assert isinstance(encoder, Recurrent)
        total[rows, ends, : encoder.hidden] += of_last[:, : encoder.hidden]
        total[:, 0, encoder.hidden :] += of_last[:, encoder.hidden :]
    return total, of_state


def _choose_steps(gradient: Tensor, lengths: Tensor, direction: Direction) -> Tensor:
    """(R, T, H) gradient at each output -> (R,) one step of each sequence, in the half that its direction ends in.

    Row r of R takes the step at the share (r + 1/2) / R of the sum of squares: each row another quantile.
    """
    weights = gradient.square().sum(dim=-1, dtype=torch.float64)
    time, rows = torch.arange(weights.shape[1])[None], len(lengths)
    is_late = time >= (lengths // 2)[:, None]
    in_half = weights * (is_late if direction == "forward" else ~is_late)
    has_any = in_half.sum(dim=1) > 0
    weights = torch.where(has_any[:, None], in_half, weights)
    share = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    sums = weights.cumsum(dim=1)
    chosen = (sums < share[:, None] * sums[:, -1:]).sum(dim=1)
    return torch.minimum(chosen, lengths - 1)


def _at_steps(gradient: Tensor, steps: Tensor, columns: slice) -> Tensor:
    """(R, T, H) the gradient at each row's step, in these columns; zero elsewhere."""
    single, rows = torch.zeros_like(gradient), torch.arange(len(steps))
    single[rows, steps, columns] = gradient[rows, steps, columns]
    return single


def _at_end(gradient: Tensor, steps: Tensor, lengths: Tensor, number: int, directions: int) -> Tensor:
    """(R, L x directions, H) the final state's gradient, where the row's step is the one after which that state is."""
    end = lengths - 1 if number == 0 else torch.zeros_like(lengths)
    kept = torch.zeros_like(gradient)
    kept[:, number::directions] = gradient[:, number::directions]
    return kept * (steps == end)[:, None, None]


def _layer_traces(
    seen: Sequence[tuple[Sequence[DirectionPass], Layout, Sequence[Tensor | None]]],
    direction: Direction,
    number: int,
    lengths: Tensor,
    count: int,
) -> Iterator[LayerTrace]:
    """This direction of every layer, the first layer first."""
    for depth, (passes, layout, final_memories) in enumerate(reversed(seen)):
        final = final_memories[number] if final_memories else None
        norms = state_gradient_norms(passes[number], layout, lengths, final)
        yield LayerTrace(count - len(seen) + depth + 1, direction, passes[number], norms)


@torch.no_grad()
def state_gradient_norms(run: DirectionPass, layout: Layout, lengths: Tensor, final_memory: Tensor | None) -> Tensor:
    """(R, T) the norm of the gradient with respect to the state at each step: h, for an LSTM h and c.

    Args:
        run: after its backward pass.
        layout: of its rows.
        lengths: (R,).
        final_memory: (R, H) the gradient of an LSTM's final c from outside the layer; None: none.
    """
    rows, time, hidden = len(lengths), layout.padded_length, run.weights.shape[1]

    def in_order(values: Tensor) -> Tensor:
        """(N, K) -> (T, R, K) in the order in which the layer reads."""
        block = kernels.pad(values.contiguous(), layout.flat_index, rows * time).view(rows, time, -1).transpose(0, 1)
        return block.flip(0) if run.reverse else block

    def from_next(values: Tensor) -> Tensor:
        """(T, R, K) -> the same one step earlier: what step t gets from step t + 1."""
        return torch.cat([values[1:], torch.zeros_like(values[:1])])

    assert run.grad_h is not None
    assert run.grad_gates is not None
    recurrent = run.grad_gates[:, hidden:] if run.kind == "gru" else run.grad_gates
    grad_h = in_order(run.grad_h) + from_next(in_order(recurrent @ run.weights))
    if run.kind == "gru":
        squares = _accumulate(grad_h, from_next(in_order(run.gates[:, hidden : 2 * hidden]))).square().sum(dim=-1)
    elif run.kind == "lstm":
        assert run.memory is not None
        _, forget, _, output = run.gates.chunk(4, dim=1)
        slope = in_order(output * (1 - run.memory.tanh().square()))
        from_outside = grad_h * slope
        if final_memory is not None:
            last = lengths - 1 if not run.reverse else torch.full_like(lengths, time - 1)
            from_outside[last, torch.arange(rows)] += final_memory
        grad_c = _accumulate(from_outside, from_next(in_order(forget)))
        squares = grad_h.square().sum(dim=-1) + grad_c.square().sum(dim=-1)
    else:
        squares = grad_h.square().sum(dim=-1)
    norms = (squares.flip(0) if run.reverse else squares).sqrt().t()
    # What a backward direction would send to a step after the end is the gradient of its initial state.
    return norms * mask_of(lengths, time)


def _accumulate(values: Tensor, kept: Tensor) -> Tensor:
    """(T, R, H) y with y_t = values_t + kept_t y_{t+1}: what reaches step t directly, and through the states after it.

    Args:
        values: (T, R, H).
        kept: (T, R, H) the share of step t + 1 that comes from step t.
    """
    total = values.clone()
    for t in range(len(total) - 2, -1, -1):
        total[t].addcmul_(kept[t], total[t + 1])
    return total
