"""Recording a model with `torch.export`, and recorded programs that need nothing but torch."""

from __future__ import annotations

import itertools
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.utils._sympy.value_ranges import ValueRanges

from seqkit.errors import UsageError
from seqkit.heads.seq2seq import Seq2Seq
from seqkit.interfaces import Head
from seqkit.model import Model
from seqkit.model.ensemble import JointEncoder

ROWS, STEPS = 3, 11
"""Batch and steps of the example that is recorded. The record holds for any others."""

_SKIP_NONE = 1e4
"""What is added to a gate that is to be closed, or open, for padding: exp(-10,000) is 0."""


@dataclass(frozen=True)
class Recording:
    """A program, and the names of its tensors with the names of their axes, in their order."""

    program: ExportedProgram
    inputs: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, tuple[str, ...]]


class _TaskModule(nn.Module):
    """A model's `forward` for one task, as a tuple in the order of `names`."""

    def __init__(self, model: Model, task: str, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.task, self.names = model, task, tuple(names)

    def forward(self, x: Tensor, lengths: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(x, lengths, *state, task=self.task)
        return tuple(outputs[name] for name in self.names)


class _StepModule(nn.Module):
    """One step of a decoder: `Seq2Seq.step_outputs`, as a tuple in the order of `names`."""

    def __init__(self, head: Seq2Seq, carried: Sequence[str], names: Sequence[str]) -> None:
        super().__init__()
        self.head, self.carried, self.names = head, tuple(carried), tuple(names)

    def forward(self, symbols: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        outputs = self.head.step_outputs(symbols, dict(zip(self.carried, carried, strict=True)))
        return tuple(outputs[name.removeprefix("next_")] for name in self.names)


def carries_state(head: Head) -> bool:
    """Whether an exported model takes the state of earlier steps and gives the next one: one that continues texts."""
    return head.generates


def record_model(model: Model, task: str, x: Tensor, lengths: Tensor) -> Recording:
    """The program of one task: inputs `x`, `lengths` and perhaps a state, outputs as `Model.forward` gives them.

    Args:
        model: in evaluation mode, on the CPU.
        task: its name.
        x: (ROWS, T, ...) an example of encoded inputs, with at least STEPS steps.
        lengths: (ROWS,).
    """
    head = model.head(task)
    state: tuple[Tensor, ...] = initial_state(model, len(x)) if carries_state(head) else ()
    inputs: dict[str, tuple[str, ...]] = {
        "x": ("batch", "steps", *(["numbers"] * (x.dim() - 2))),
        "lengths": ("batch",),
    }
    inputs |= {f"state_{number}": ("batch", "layers", "width") for number in range(len(state))}
    outputs = dict(head.output_axes)
    if any("steps" in axes for axes in outputs.values()):
        outputs["output_lengths"] = ("batch",)
    outputs |= {f"next_state_{number}": ("batch", "layers", "width") for number in range(len(state))}
    module = _TaskModule(model, task, list(outputs))
    return Recording(_record(module, (x, lengths, *state), inputs), inputs, outputs)


def record_step(head: Seq2Seq, carried: Mapping[str, Tensor]) -> Recording:
    """The program of one step of a decoder; `carried` is an example of what `Seq2Seq.outputs` gives."""
    inputs = {"symbols": ("batch",)} | {name: head.output_axes[name] for name in carried}
    symbols = torch.ones(ROWS, dtype=torch.int64)
    with torch.no_grad():
        names = list(head.step_outputs(symbols, carried))
    axes = {"log_probs": ("batch", "symbols"), "attention": ("batch", "steps")} | dict(head.output_axes)
    outputs = {(f"next_{name}" if name in carried else name): axes[name] for name in names}
    module = _StepModule(head, list(carried), list(outputs))
    return Recording(_record(module, (symbols, *carried.values()), inputs), inputs, outputs)


def initial_state(model: Model, rows: int) -> tuple[Tensor, ...]:
    """The encoder's state before the first step, each (B, layers, H); empty for one without a state.

    That of an ensemble is the state of each member after the other; empty if it is not known of one that has a state.
    """
    encoder = model.encoder
    if not isinstance(encoder, JointEncoder):
        return _initial_of(encoder, rows)
    states = [_initial_of(member, rows) for member in encoder.members]
    with torch.no_grad():
        sizes = encoder.state_sizes(next(model.parameters()))
    return () if [len(state) for state in states] != sizes else tuple(itertools.chain(*states))


@torch.no_grad()
def _initial_of(encoder: Any, rows: int) -> tuple[Tensor, ...]:
    if not hasattr(encoder, "initial"):
        return ()
    shape = (encoder.states, len(encoder.cells), encoder.hidden)
    values = torch.zeros(shape) if encoder.initial is None else encoder.initial.detach()
    return tuple(values[:, None].expand(-1, rows, -1, -1).clone().unbind(0))


def _record(module: nn.Module, example: tuple[Tensor, ...], inputs: Mapping[str, tuple[str, ...]]) -> ExportedProgram:
    shapes = tuple(
        {axis: Dim.DYNAMIC for axis, name in enumerate(axes) if name in ("batch", "steps")} for axes in inputs.values()
    )
    # The arguments after the first two are one tuple, *state.
    fixed = 1 if isinstance(module, _StepModule) else 2
    dynamic = (*shapes[:fixed], shapes[fixed:]) if len(example) > fixed else shapes
    # A view would be recorded with what it is a view of, and the program would ask for the same of its inputs.
    example = tuple(tensor.clone(memory_format=torch.contiguous_format) for tensor in example)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module.eval(), example, dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # torch, and the code of plugins, raise anything
        raise not_exportable(error) from error
    # torch takes every size for larger than 1, and the program would refuse inputs that a layer shortens to one step:
    # by its guards, or by a range of the steps if a layer reads several as one. That it gives the right numbers for
    # them is part of the comparison. That sizes are equal is still checked.
    guards = getattr(program, "_guards_code", None)
    if guards:
        program._guards_code = [guard for guard in guards if re.fullmatch(r"[^-+*/]* == [^-+*/]*", guard)]
    for size, bounds in program.range_constraints.items():
        if bounds.lower > 2:
            program.range_constraints[size] = ValueRanges(2, bounds.upper)
    return program


def not_exportable(error: Exception) -> UsageError:
    """For a model with an operation that cannot be recorded, or that a format does not have."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = getattr(error, "__cause__", None)
    reason = str(cause).strip().splitlines()[0] if cause is not None and str(cause).strip() else "".join(lines[:1])
    return UsageError(
        f"this model cannot be exported: {type(error).__name__}: {reason:.300}\nAn encoder, head or input layer of a "
        "plugin must not look at the values of a batch; docs/plugins.md says what an export asks of it"
    )


def to_torch_operations(program: ExportedProgram) -> ExportedProgram:
    """The program with torch's own recurrent layers in place of seqkit's operation, so that torch alone can run it."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.seqkit.recurrence.default:
            with graph.inserting_before(node):
                _replace(node)
            graph.erase_node(node)
    graph.lint()
    program.graph_module.recompile()
    return program


def _replace(node: fx.Node) -> None:
    """Put torch's layer in front of a node of `seqkit::recurrence`, and let its users use that.

    torch's layers know no lengths. A backward direction runs over reversed sequences. The state after each sequence's
    last step is gathered from the outputs, and an LSTM's memory is kept through the padding: there a further input of
    the layer closes the input gate and opens the forget gate.
    """
    arguments: Any = node.args
    x, lengths, h, c, weights, mode, reverse = arguments
    emit = _Emitter(node)
    aten = torch.ops.aten
    users = {user.args[1]: user for user in node.users if user.target is operator.getitem}
    time, batch = emit(aten.sym_size.int, x, 0), emit(aten.sym_size.int, x, 1)
    hidden = node.meta["val"][1].shape[1]
    t = emit(aten.unsqueeze.default, emit(aten.arange.default, time), 1)
    last = emit(aten.unsqueeze.default, emit(aten.sub.Tensor, lengths, 1), 0)

    def reversed_steps(steps: fx.Node, width: int) -> fx.Node:
        is_real = emit(aten.le.Tensor, t, last)
        index = emit(aten.where.self, is_real, emit(aten.sub.Tensor, last, t), t)
        index = emit(aten.expand.default, emit(aten.unsqueeze.default, index, 2), [time, batch, width])
        return emit(aten.gather.default, steps, 0, index)

    if reverse:
        x = reversed_steps(x, x.meta["val"].shape[2])
    if mode == "LSTM" and 2 in users:
        x, weights = _with_padding_gate(emit, x, lengths, weights, t)
    state = [emit(aten.unsqueeze.default, tensor, 0) for tensor in ((h, c) if mode == "LSTM" else (h,))]
    layer = {"LSTM": aten.lstm.input, "GRU": aten.gru.input, "RNN_TANH": aten.rnn_tanh.input}
    target = layer.get(mode, aten.rnn_relu.input)
    steps_value = node.meta["val"][0]
    values = (steps_value, *(tensor.unsqueeze(0) for tensor in node.meta["val"][1 : 1 + len(state)]))
    hx = state if mode == "LSTM" else state[0]
    result = emit.node(target, (x, hx, weights, True, 1, 0.0, False, False, False), values)
    raw = emit.node(operator.getitem, (result, 0), steps_value)
    steps = reversed_steps(raw, hidden) if reverse else raw
    if 0 in users:
        users[0].replace_all_uses_with(steps)
    if 1 in users:
        index = emit(aten.unsqueeze.default, last, 2)
        index = emit(aten.expand.default, index, [1, batch, hidden])
        users[1].replace_all_uses_with(emit(aten.select.int, emit(aten.gather.default, raw, 0, index), 0, 0))
    if 2 in users:
        memory = emit.node(operator.getitem, (result, len(state)), values[-1])
        users[2].replace_all_uses_with(emit(aten.select.int, memory, 0, 0))
    for user in users.values():
        user.graph.erase_node(user)


def _with_padding_gate(
    emit: _Emitter, x: fx.Node, lengths: fx.Node, weights: Sequence[fx.Node], t: fx.Node
) -> tuple[fx.Node, list[fx.Node]]:
    """The input with one more column, 1 where there is padding, and weights that keep the memory there."""
    aten = torch.ops.aten
    is_padding = emit(aten.ge.Tensor, t, emit(aten.unsqueeze.default, lengths, 0))
    column = emit(aten.unsqueeze.default, emit(aten.to.dtype, is_padding, x.meta["val"].dtype), 2)
    x = emit(aten.cat.default, [x, column], 2)
    gates = emit(aten.narrow.default, weights[0], 1, 0, 1)
    zero = emit(aten.mul.Tensor, gates, 0.0)
    hidden = weights[0].meta["val"].shape[0] // 4
    closed = emit(aten.sub.Tensor, emit(aten.narrow.default, zero, 0, 0, hidden), _SKIP_NONE)
    opened = emit(aten.add.Tensor, emit(aten.narrow.default, zero, 0, hidden, hidden), _SKIP_NONE)
    others = emit(aten.narrow.default, zero, 0, 2 * hidden, 2 * hidden)
    column_weights = emit(aten.cat.default, [closed, opened, others], 0)
    return x, [emit(aten.cat.default, [weights[0], column_weights], 1), *weights[1:]]


class _Emitter:
    """Adds nodes to a graph, with the values that they would have, as `torch.export` records them."""

    def __init__(self, node: fx.Node) -> None:
        self.graph, self.before = node.graph, node
        self.mode = node.meta["val"][0].fake_mode

    def __call__(self, target: Callable[..., Any], *args: Any) -> fx.Node:
        values = fx.map_arg(args, lambda node: node.meta["val"])
        with self.mode, torch.no_grad():
            return self.node(target, args, target(*values))

    def node(self, target: Callable[..., Any], args: tuple[Any, ...], value: Any) -> fx.Node:
        """A node whose value is known."""
        node = self.graph.call_function(target, args)
        node.meta["val"] = value
        return node


@contextmanager
def frozen(model: Model) -> Iterator[Model]:
    """The model in evaluation mode; afterwards in the mode that it was in."""
    was_training = model.training
    try:
        yield model.eval()
    finally:
        model.train(was_training)
