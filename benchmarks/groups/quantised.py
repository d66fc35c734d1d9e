"""Weights of eight bits: what `seqkit export --int8` writes, beside the same model in single precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from benchmarks.frame import SHARED_FOLDER, Arrays, Case, Contender, Group, Limit, Prepared, Target
from benchmarks.groups.prediction import run_recipe

RECIPES = {
    "sentences": """seed: 1
tasks:
  sentiment: {source: sst2, min_count: 2, head: {use: classify, pool: last}}
encoder: {use: lstm, dim: 128, hidden: 512}
train: {steps: STEPS, batch: 32, histograms: false, log_every: 100}
""",
    "characters": """seed: 1
tasks:
  charlm: {source: shakespeare, window: 64, dev_at: start}
encoder: {use: lstm, dim: 64, hidden: 512}
train: {steps: STEPS, batch: 32, histograms: false, log_every: 100}
""",
}
PIECE = 100
"""Characters of a piece of Shakespeare."""

Inputs: TypeAlias = "dict[str, Any]"
"""The named arrays of one call of an exported model."""


class Exported:
    """A model that was trained for a short time and then exported, by the first contender that needs it."""

    def __init__(self, data: str, train_steps: int) -> None:
        folder = Path(os.environ[SHARED_FOLDER]) / f"{data} {train_steps}"
        self.run_folder, self.out, facts = folder / "run", folder / "model.onnx", folder / "facts.json"
        if not facts.exists():
            folder.mkdir()
            run_recipe(RECIPES[data].replace("STEPS", str(train_steps)), self.run_folder)
            facts.write_text(self._export())
        self.facts: Mapping[str, Any] = json.loads(facts.read_text())

    def _export(self) -> str:
        """What `seqkit export` says, after it has written both files."""
        command = [sys.executable, "-m", "seqkit", "export", str(self.run_folder), "--out", str(self.out)]
        done = subprocess.run([*command, "--int8", "--json"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"seqkit export: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout

    def load(self) -> tuple[Any, str, tuple[Any, Any, Any]]:
        """The model, the name of its task, and the task with its fields."""
        import torch

        from seqkit.model import load_model

        model, _, tasks = load_model(self.run_folder, torch.device("cpu"))
        ((name, task_and_fields),) = tasks.items()
        return model.eval(), name, task_and_fields

    def inputs(self, data: str, texts: int, by_step: bool) -> list[list[Inputs]]:
        """The calls for each text of dev, the batch of which is 1: one for all of its steps, or one for each step."""
        import numpy as np

        _, _, (task, field, _) = self.load()
        calls = []
        for text in islice(_texts(task, data), texts):
            ids = np.asarray(field.encode(text), dtype=np.int64)[None]
            pieces = [ids[:, t : t + 1] for t in range(ids.shape[1])] if by_step else [ids]
            calls.append([{"x": piece, "lengths": np.array([piece.shape[1]])} for piece in pieces])
        return calls


def _texts(task: Any, data: str) -> Iterator[str]:
    """Sentences, or pieces of as many characters."""
    for example in task.read("dev"):
        text = example.input
        if data == "sentences":
            yield text
        else:
            yield from (text[start : start + PIECE] for start in range(0, len(text) - PIECE + 1, PIECE))


def in_onnxruntime(path: Path, calls: Sequence[Sequence[Inputs]]) -> Callable[[], Iterator[Any]]:
    """Runs an exported model over the calls of each text; a state begins at 0 and goes from call to call."""
    import numpy as np
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    outputs = [tensor.name for tensor in session.get_outputs() if tensor.name != "output_lengths"]
    start = {
        tensor.name: np.zeros([1, *tensor.shape[1:]], dtype=np.float32)
        for tensor in session.get_inputs()
        if tensor.name.startswith("state_")
    }

    def run() -> Iterator[Any]:
        for text in calls:
            state = start
            for fed in text:
                first, *after = session.run(outputs, fed | state)
                state = dict(zip(start, after, strict=True))
                yield first

    return run


def exported(data: str, texts: int, train_steps: int, by_step: bool, int8: bool) -> Prepared:
    model = Exported(data, train_steps)
    calls = model.inputs(data, texts, by_step)
    path = model.out.with_suffix(".int8.onnx") if int8 else model.out
    notes = {"int8": model.facts["int8"], "bytes": path.stat().st_size}
    return prepared(in_onnxruntime(path, calls), calls, compared=not int8, notes=notes)


def seqkit(data: str, texts: int, train_steps: int, by_step: bool) -> Prepared:
    """The exported model with weights of eight bits, in ONNX Runtime."""
    return exported(data, texts, train_steps, by_step, int8=True)


def fp32(data: str, texts: int, train_steps: int, by_step: bool) -> Prepared:
    """The exported model in single precision, in ONNX Runtime."""
    return exported(data, texts, train_steps, by_step, int8=False)


def pytorch(data: str, texts: int, train_steps: int, by_step: bool) -> Prepared:
    """The model as it was trained. Single steps are those of a stream."""
    import torch

    from seqkit.export.program import initial_state

    trained = Exported(data, train_steps)
    model, name, _ = trained.load()
    calls = trained.inputs(data, texts, by_step)
    batches = [[(torch.from_numpy(fed["x"]), torch.from_numpy(fed["lengths"])) for fed in text] for text in calls]
    state = initial_state(model, 1) if model.head(name).generates else ()

    @torch.inference_mode()
    def run() -> Iterator[Any]:
        for text in batches:
            for x, lengths in text:
                yield next(iter(model(x, lengths, *state, task=name).values())).numpy()

    return prepared(_by_step(model, name, batches) if by_step else run, calls, compared=True)


def _by_step(model: Any, name: str, texts: Sequence[Sequence[Any]]) -> Callable[[], Iterator[Any]]:
    """As `seqkit.inference.stream_model` advances one session by one step."""
    import torch

    from seqkit.interfaces import Encoded

    step, start = model.encoder.stepper()
    layer, head = model.layer(name), model.head(name)

    @torch.inference_mode()
    def run() -> Iterator[Any]:
        for text in texts:
            state = start
            for x, lengths in text:
                embedded, lengths = layer(x, lengths)
                steps, [state] = step(embedded, [1], [state])
                yield head.outputs(Encoded(steps, lengths, steps[:, 0], tuple))["log_probs"].numpy()

    return run


def prepared(
    run: Callable[[], Iterator[Any]],
    calls: Sequence[Sequence[Inputs]],
    *,
    compared: bool,
    notes: Mapping[str, Any] = MappingProxyType({}),
) -> Prepared:
    """Weights of eight bits compute something else, so they are not compared; the others are."""

    def run_all() -> None:
        for _ in run():
            pass

    def outputs() -> Arrays:
        import numpy as np

        return {"outputs": np.concatenate([array.reshape(-1, array.shape[-1]) for array in run()])}

    steps = sum(int(fed["lengths"][0]) for text in calls for fed in text)
    return Prepared(run_all, outputs if compared else None, {"tokens": steps, **notes})


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What eight bits cost: scores on dev before and after, as the export reports them; and bytes."""
    figures: dict[str, Any] = {}
    for case in cases:
        notes = {name: result.get("notes", {}) for name, result in case["results"].items()}
        if "int8" not in notes.get("seqkit", {}):
            continue
        before, after = (notes["seqkit"]["int8"][f"scores_{when}"] for when in ("before", "after"))
        for score in before.keys() & {"accuracy", "nats"}:
            figures[f"{case['name']}: {score} on dev, fp32"] = round(before[score], 5)
            figures[f"{case['name']}: {score} on dev, int8"] = round(after[score], 5)
        if "accuracy" in before:
            lost = 100 * (before["accuracy"] - after["accuracy"])
            figures[LOST] = round(max(lost, figures.get(LOST, lost)), 3)
        if "bytes" in notes.get("fp32", {}):
            share = notes["seqkit"]["bytes"] / notes["fp32"]["bytes"]
            figures[f"{case['name']}: size of the file, int8 over fp32"] = round(share, 2)
    return figures


HERE = __name__
LOST = "points of accuracy on dev lost to eight bits, the worst case"
GROUP = Group(
    "quantised",
    "Text by text, with a batch of 1, by models with an LSTM of 512 that were trained for a short time: a classifier "
    "of SST-2 over 200 sentences of dev, and a language model of Shakespeare over 60 pieces of 100 characters, each in "
    "one call, or over 10 of them, one character a call, with the state carried over. Text is made numbers "
    "beforehand. Ours is what `seqkit export --int8` writes, fp32 the file that it writes beside it, both in ONNX "
    "Runtime; PyTorch fp32 is the same model in seqkit. Its outputs and those of fp32 are compared; ours are others. "
    "Scores are those of the export's report, over all of dev in batches of 64.",
    [
        Case(
            f"LSTM 512, {name}",
            {"data": data, "texts": texts, "train_steps": train_steps, "by_step": by_step},
            quick=data == "sentences",
            quick_options={"texts": 20, "train_steps": 20},
        )
        for name, data, texts, train_steps, by_step in (
            ("sentences", "sentences", 200, 217, False),
            ("pieces of 100 characters", "characters", 60, 150, False),
            ("one character a call", "characters", 10, 150, True),
        )
    ],
    [
        Contender("seqkit", f"{HERE}:seqkit", needs=("onnx", "onnxruntime", "onnxscript")),
        Contender("fp32", f"{HERE}:fp32", needs=("onnx", "onnxruntime", "onnxscript")),
        Contender("PyTorch fp32", f"{HERE}:pytorch", needs=("onnx", "onnxruntime", "onnxscript")),
    ],
    [Target("int8 inference, LSTM 512, batch 1", "LSTM 512", "fp32", 2, 2)],
    rounds=7,
    derive=derive,
    limits=[Limit("int8 inference, LSTM 512: points of accuracy lost", LOST, 0.2, 0)],
)
