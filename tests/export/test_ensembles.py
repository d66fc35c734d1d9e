"""An exported ensemble gives the mean of what its members say, computed here from each member alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from seqkit.cli import main
from seqkit.encoders import lngru
from seqkit.export import onnx_file, parity
from seqkit.export.export_model import export_model
from seqkit.export.program import initial_state, record_model, to_torch_operations
from seqkit.heads.seq2seq import Seq2Seq
from seqkit.inference.evaluate import evaluate
from seqkit.model import Model, load_model, make_ensemble
from seqkit.model.ensemble import JointEncoder
from tests.helpers.models import model_of
from tests.model.test_ensemble import RECIPES, recipe_text

pytest.importorskip("onnxruntime")

NUMBERS = (
    "tasks: {adding: {sizes: [40, 8, 8], length: 9, head: {use: regress, loss: LOSS}}}\nencoder: {ENCODER}\nseed: "
)
LOSSES = ("mse", "gaussian", "mixture", "quantiles")
KINDS = (*RECIPES, *LOSSES)

QUICK = ("label, attention", "text with feeding", "next symbol")
"""Those that the default tests export to ONNX; the others are slow, because torch takes seconds for each."""


def text_of(kind: str, seed: int, encoder: str) -> str:
    if kind in RECIPES:
        return recipe_text(kind, seed, encoder)
    return NUMBERS.replace("LOSS", kind).replace("ENCODER", encoder) + f"{seed}\n"


@pytest.fixture(scope="module")
def ensembles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """The folders of two models with other encoders, and that of the ensemble of both."""
    made: dict[str, list[Path]] = {}

    def make(kind: str) -> list[Path]:
        if kind not in made:
            root = tmp_path_factory.mktemp("members")
            encoders = "use: lstm, dim: 10, hidden: 6, layers: 2, initial: learned", "use: gru, dim: 12, hidden: 5"
            folders = [model_of(root / str(k), text_of(kind, k, encoder)) for k, encoder in enumerate(encoders)]
            make_ensemble(folders, root / "joint")
            made[kind] = [*folders, root / "joint"]
        return made[kind]

    return make


def mean_outputs(outputs: list[Mapping[str, Tensor]], loss: str = "") -> dict[str, Tensor]:
    """The mean of probabilities, of scores, and of numbers; what one is of is seen from its name."""

    def mean(name: str) -> Tensor:
        return sum(o[name] for o in outputs) / len(outputs)  # type: ignore[return-value]

    means: dict[str, Tensor] = {}
    for name in outputs[0]:
        if name == "log_probs":
            means[name] = (sum(o[name].exp() for o in outputs) / len(outputs)).log()
        elif name in ("probabilities", "emissions") or (name == "values" and loss != "mixture"):
            means[name] = mean(name)
        elif name == "deviations":
            variances = [o["deviations"].square() + (o["values"] - mean("values")).square() for o in outputs]
            means[name] = (sum(variances) / len(variances)).sqrt()  # type: ignore[arg-type, operator, union-attr]
        elif name == "parameters" and loss == "quantiles":
            means[name] = mean(name)
        elif name == "parameters":
            parts = [
                torch.cat(columns, dim=-1) for columns in zip(*(o[name].chunk(3, -1) for o in outputs), strict=True)
            ]
            means[name] = torch.cat([parts[0] / len(outputs), *parts[1:]], dim=-1)
    return means


def check_means(run: parity.Runner, run_step: parity.Runner | None, folders: list[Path], kind: str) -> None:
    """The exported files against the members, over batches with padding; and the rows of a batch alone."""
    models = [load_model(folder)[0] for folder in folders[:2]]
    joint, _, tasks = load_model(folders[2])
    ((task, (_, field, _)),) = tasks.items()
    for rows, steps in ((1, 1), (4, 17)):
        x, lengths = parity.draw_batch(field, rows, steps, np.random.default_rng(steps))
        states = [initial_state(model, rows) if "next symbol" in kind else () for model in models]
        fed = {"x": x.numpy(), "lengths": lengths.numpy()}
        fed |= {f"state_{k}": tensor.numpy() for k, tensor in enumerate(states[0] + states[1])}
        with torch.inference_mode():
            of_members = [model(x, lengths, *state, task=task) for model, state in zip(models, states, strict=True)]
        actual = run(fed)
        for name, tensor in mean_outputs(of_members, kind).items():
            assert_close(actual, name, tensor, lengths)
        if run_step is not None:
            check_step(run_step, [model.head(task) for model in models], of_members, actual)
        alone = run({name: array[:1, : lengths[0]] if name == "x" else array[:1] for name, array in fed.items()})
        for name, axes in joint.head(task).output_axes.items():
            if "steps" in axes:
                rows_of = actual[name][:1, : lengths[0]], alone[name][:, : lengths[0]]
            else:
                rows_of = actual[name][:1], alone[name]
            np.testing.assert_allclose(*rows_of, rtol=1e-4, atol=1e-5)


def assert_close(actual: Mapping[str, np.ndarray], name: str, expected: Tensor, lengths: Tensor) -> None:
    if "output_lengths" not in actual:
        np.testing.assert_allclose(actual[name], expected.numpy(), rtol=1e-4, atol=1e-5)
        return
    for row, length in enumerate(lengths.tolist()):
        np.testing.assert_allclose(actual[name][row, :length], expected[row, :length].numpy(), rtol=1e-4, atol=1e-5)


def check_step(
    run_step: parity.Runner, heads: list[Any], of_members: list[dict[str, Tensor]], actual: Mapping[str, np.ndarray]
) -> None:
    """Three symbols are read, one after another, by the file and by each decoder."""
    carried = [{name: t for name, t in outputs.items() if name != "output_lengths"} for outputs in of_members]
    fed = {name: array for name, array in actual.items() if name.startswith("member_")}
    for symbol in (2, 5, 4):
        symbols = torch.full((len(actual["member_1_state_0"]),), symbol)
        with torch.inference_mode():
            steps = [head.step_outputs(symbols, state) for head, state in zip(heads, carried, strict=True)]
        result = run_step({"symbols": symbols.numpy(), **fed})
        expected = (sum(step["log_probs"].exp() for step in steps) / len(steps)).log()
        np.testing.assert_allclose(result["log_probs"], expected.numpy(), rtol=1e-4, atol=1e-5)
        for step, state in zip(steps, carried, strict=True):
            state |= {name: tensor for name, tensor in step.items() if name in state}
        fed = {name: result.get(f"next_{name}", array) for name, array in fed.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_of_torch_gives_the_mean(kind: str, ensembles: Callable[[str], list[Path]], tmp_path: Path) -> None:
    folders = ensembles(kind)
    model, recipe, tasks = load_model(folders[2])
    files = export_model(model, recipe, tasks, tmp_path / "m.pt2", to="torch").files
    described = json.loads((tmp_path / "m.json").read_text("utf-8"))
    assert described["members"] == 2

    def runner(path: Path, key: str) -> parity.Runner:
        module: Any = torch.export.load(path).module()
        names, outputs = described[key]["inputs"], described[key]["outputs"]

        def run(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            with torch.no_grad():
                results = module(*(torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in names))
            return {name: tensor.numpy() for name, tensor in zip(outputs, results, strict=True)}

        return run

    (task,) = tasks
    has_step = isinstance(model.head(task), Seq2Seq)
    assert len(files) == (3 if has_step else 2)
    check_means(runner(files[0], "model"), runner(files[1], "step") if has_step else None, folders, kind)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_onnx_runtime_gives_the_mean(kind: str, ensembles: Callable[[str], list[Path]], tmp_path: Path) -> None:
    folders = ensembles(kind)
    model, recipe, tasks = load_model(folders[2])
    files = export_model(model, recipe, tasks, tmp_path / "m.onnx").files
    (task,) = tasks
    step = onnx_file.Session(str(files[1])).run if isinstance(model.head(task), Seq2Seq) else None
    check_means(onnx_file.Session(str(files[0])).run, step, folders, kind)


@pytest.mark.slow
def test_the_command_exports_an_ensemble_and_its_scores_are_those_of_the_model(
    ensembles: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    from seqkit.experiments.prepare import prepare_data
    from seqkit.runs.progress import Progress

    folders = ensembles("chain of tags")
    arguments = ["export", str(folders[2]), "--out", str(tmp_path / "m.onnx"), "--int8", "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    model, _, tasks = load_model(folders[2])
    recipe = load_model(folders[0])[1]
    with Progress(quiet=True) as progress:
        (data,) = prepare_data(recipe, progress, lambda line: None, fitted=tasks, splits=("dev",)).values()
    scores = evaluate(model, data, "dev").scores
    for name, score in facts["int8"]["scores_before"].items():
        assert score == pytest.approx(scores[name])


def test_the_states_of_an_ensemble_are_those_of_its_members(ensembles: Callable[[str], list[Path]]) -> None:
    """And if one is not known, there is none, as for that model alone."""
    *folders, joint = ensembles("next symbol")
    states = [initial_state(load_model(folder)[0], 3) for folder in folders]
    both = initial_state(load_model(joint)[0], 3)
    assert [len(state) for state in states] == [2, 1]
    for one, other in zip(both, (*states[0], *states[1]), strict=True):
        assert torch.equal(one, other)
    model = load_model(folders[0])[0]
    encoder = JointEncoder([model.encoder, lngru(5, hidden=4)], [10, 5])
    assert initial_state(Model({}, encoder, {}), 3) == ()


def test_a_record_holds_for_other_sizes_and_needs_torch_alone(ensembles: Callable[[str], list[Path]]) -> None:
    model, _, tasks = load_model(ensembles("text with attention")[2])
    ((task, (_, field, _)),) = tasks.items()
    x, lengths = parity.draw_batch(field, 3, 11, np.random.default_rng(1))
    recording = record_model(model, task, x, lengths)
    assert {name for name in recording.outputs if name.startswith("member_2_")}
    program = to_torch_operations(recording.program)
    assert not [node for node in program.graph.nodes if "seqkit" in str(node.target)]
