"""Exporting one task of a model: record, translate, compare, and only then write."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch

from seqkit.data.task_data import TaskData
from seqkit.errors import UsageError
from seqkit.export import description, onnx_file, parity
from seqkit.export.exported_model import score_export
from seqkit.export.program import (
    ROWS,
    STEPS,
    Recording,
    frozen,
    record_model,
    record_step,
    to_torch_operations,
)
from seqkit.export.quantise import quantise
from seqkit.heads.seq2seq import Seq2Seq
from seqkit.io import atomic
from seqkit.model import Model
from seqkit.recipe import Recipe
from seqkit.types import JSON, Field, Task

Target: TypeAlias = Literal["onnx", "torch"]

SUFFIXES: Final[Mapping[Target, str]] = {"onnx": ".onnx", "torch": ".pt2"}


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        files: the model, the step of a decoder if there is one, and the description.
        difference: the largest one between the exported model and seqkit, over random inputs.
        nodes: how often the model has each operator (ONNX only).
        int8: of weights of eight bits, what has them, and the scores before and after; None: there are none.
    """

    files: tuple[Path, ...]
    difference: float
    nodes: Mapping[str, int]
    int8: Mapping[str, JSON] | None = None


def export_model(
    model: Model,
    recipe: Recipe,
    tasks: Mapping[str, tuple[Task, Field, Field]],
    out: Path,
    *,
    task: str | None = None,
    to: Target = "onnx",
    int8: TaskData | None = None,
) -> ExportResult:
    """Write a task of a model to `out`, with a description beside it: the same name, ending in .json.

    A head that writes texts step by step has a second file, whose name ends in .step.onnx or .step.pt2.

    Args:
        model: as `load_model` gives it, like the next two.
        recipe: its recipe.
        tasks: its tasks with their fitted fields.
        out: the file to write.
        task: which task; None: the only one.
        to: the format.
        int8: with ONNX, data whose split `dev` scores a second file, whose weights have eight bits; its name ends in
            .int8.onnx. None: there is no such file.

    Raises:
        MissingExtra: a library of the extra `export` is not installed.
        RunError: the exported model and seqkit do not agree within 1e-5; then nothing is written.
        UsageError: there are several tasks and none is named, or this one cannot be exported.
    """
    if int8 is not None and to != "onnx":
        raise UsageError("--int8: is for ONNX only")
    if to == "onnx":
        onnx_file.require_libraries()
    if task is None:
        if len(tasks) > 1:
            raise UsageError(f"this model has several tasks; choose one: {', '.join(tasks)}")
        (task,) = tasks
    _check_can_export(model, task, tasks[task][1])
    device = model.device
    with frozen(model.to("cpu")):
        files, difference = _export_files(model, task, tasks[task][1], to)
        described = description.describe(model, recipe, task, tasks[task])
        quantised = None if int8 is None else _quantise(model, task, files, int8)
    model.to(device)
    described["format"] = to
    described["largest_difference"] = difference
    contents: dict[Path, bytes] = {}
    if quantised is not None:
        small_files, described["int8"] = quantised
        files |= small_files
    for key, file in files.items():
        middle = key.removeprefix("model").removeprefix(".")
        path = out.with_name(f"{out.stem}.{middle}{out.suffix}") if middle else out
        contents[path] = file.content
        described.setdefault("files", {})[key] = path.name
        if not key.endswith("int8"):
            described[key] = description.describe_tensors(file.recording, file.types)
    contents[out.with_suffix(".json")] = json.dumps(described, ensure_ascii=False, indent=1).encode()
    _write(contents)
    return ExportResult(tuple(contents), difference, files["model"].nodes, described.get("int8"))


@dataclass(frozen=True)
class _File:
    """One file: its recording, its bytes, the types of its inputs, and how often it has each operator of ONNX."""

    recording: Recording
    content: bytes
    types: Mapping[str, np.dtype[Any]]
    nodes: Mapping[str, int]
    run: parity.Runner
    proto: Any = None


def _quantise(
    model: Model, task: str, files: Mapping[str, _File], data: TaskData
) -> tuple[dict[str, _File], dict[str, JSON]]:
    """The same files with weights of eight bits, and what has them, with the scores of both on dev."""
    small: dict[str, _File] = {}
    counts: dict[str, JSON] = {}
    for key, file in files.items():
        content, counts[key] = quantise(file.proto, file.recording.program.graph_signature.buffers)
        small[f"{key}.int8"] = replace(file, content=content, run=onnx_file.Session(content).run)
    before = score_export(model, task, data, files["model"].run, files["step"].run if "step" in files else None)
    after = score_export(
        model, task, data, small["model.int8"].run, small["step.int8"].run if "step" in files else None
    )
    return small, {"operators": counts, "split": "dev", "scores_before": before, "scores_after": after}


def _export_files(model: Model, task: str, field: Field, to: Target) -> tuple[dict[str, _File], float]:
    """The files of a task by their kind, and the largest difference from seqkit.

    Raises:
        RunError: it is too large.
    """
    head, generator = model.head(task), np.random.default_rng(2)
    # With one patch only, the record would hold for one.
    steps = max(STEPS, 2 * getattr(field, "patch", 1) + 1)
    x, lengths = parity.draw_batch(field, ROWS, steps, generator)
    recording = record_model(model, task, x, lengths)
    types = {"x": x.numpy().dtype}
    file = _translate(recording, to, types)
    difference = parity.compare_model(model, task, field, recording, file.run)
    parity.check(difference, "the exported model")
    files = {"model": file}
    if isinstance(head, Seq2Seq):
        with torch.no_grad():
            carried = dict(model(x, lengths, task=task))
        carried.pop("output_lengths", None)
        recording = record_step(head, carried)
        types = {name: tensor.numpy().dtype for name, tensor in carried.items()}
        files["step"] = _translate(recording, to, types)
        of_step = parity.compare_step(model, task, field, recording, files["step"].run)
        parity.check(of_step, "the exported step of the decoder")
        difference = max(difference, of_step)
    return files, difference


def _translate(recording: Recording, to: Target, types: Mapping[str, np.dtype[Any]]) -> _File:
    """The recording as a file."""
    known = {"lengths": np.dtype(np.int64), "symbols": np.dtype(np.int64)}
    all_types = {name: types.get(name, known.get(name, np.dtype(np.float32))) for name in recording.inputs}
    if to == "onnx":
        proto = onnx_file.to_onnx(recording)
        content = proto.SerializeToString()
        nodes: dict[str, int] = {}
        for node in proto.graph.node:
            nodes[node.op_type] = nodes.get(node.op_type, 0) + 1
        return _File(recording, content, all_types, nodes, onnx_file.Session(content).run, proto)
    buffer = io.BytesIO()
    torch.export.save(to_torch_operations(recording.program), buffer)
    program = torch.export.load(io.BytesIO(buffer.getvalue()))
    return _File(recording, buffer.getvalue(), all_types, {}, parity.torch_runner(program, recording))


def _check_can_export(model: Model, task: str, field: Field) -> None:
    """Raise UsageError if the head or the input field has not what an export needs."""
    head = model.head(task)
    if not head.output_axes:
        raise UsageError(f"task {task}: its head, {type(head).__name__}, has no `outputs`, so it cannot be exported")
    if type(field).sample is Field.sample:
        raise UsageError(
            f"task {task}: its input field, {type(field).__name__}, has no `sample`, so the export cannot be compared "
            "with the model"
        )
    try:
        field.sample(np.random.default_rng(0), 1)
    except TypeError as error:
        raise UsageError(f"task {task}: {error}") from None


def _write(contents: Mapping[Path, bytes]) -> None:
    """Raises RunError if the disk is full or read-only."""
    for path, content in contents.items():
        try:
            atomic.write(path, content)
        except OSError as error:
            raise atomic.write_error(error, path.absolute().parent) from error
