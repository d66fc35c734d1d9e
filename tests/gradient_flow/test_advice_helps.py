"""The advice is right: on tasks that need a known memory, following it solves what ignoring it does not.

Each pair of runs is one recipe but for what the sentence names. All of them take about ten minutes on one core.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from seqkit import recipe
from seqkit.runs.memory_log import read_memory
from tests.training.test_loop import run_it

pytestmark = pytest.mark.slow

ADDING = """
seed: 1
tasks: {adding: {length: 200, sizes: [6400, 200, 400]}}
encoder: {dim: 8, hidden: 32, ENCODER}
train: {steps: 300, batch: 32, evaluate_every: 100, memory: 50, optimizer: {use: adamw, lr: 1.0e-2}}
"""
COPY = """
seed: 1
tasks: {copy: {lag: 100, items: 1, symbols: 4, sizes: [6400, 100, 400]}}
encoder: {dim: 8, hidden: 32, ENCODER}
train: {steps: 400, batch: 32, evaluate_every: 100, memory: 50, optimizer: {use: adamw, lr: 1.0e-2}}
"""
PLAIN = "use: rnn, recurrent_init: uniform"
LSTM, LSTM_KEEPS = "use: lstm, forget_bias: 0.0", "use: lstm, forget_bias: 5.0, input_bias: -5.0"
GRU, GRU_KEEPS = "use: gru", "use: gru, update_bias: 5.0"
# The initial recurrent weights of torch's own layers; seqkit's gru starts with orthogonal ones.
UNIFORM_GRU, UNIFORM_GRU_KEEPS = (
    "use: gru, recurrent_init: uniform",
    "use: gru, recurrent_init: uniform, update_bias: 5.0",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("advice")


@cache
def trained(text: str, folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of a run, and what it advised, the first sentence of each kind. Each recipe is trained once."""
    number = len(list(folder.glob("*.yaml")))
    path = folder / f"{number}.yaml"
    path.write_text(text)
    scores = run_it(recipe.load(str(path)), folder / f"run-{number}").scores
    records = read_memory(folder / f"run-{number}")
    said: dict[str, str] = {}
    for entry in (entry for record in records for entry in record["advice"]):
        said.setdefault(entry["kind"], entry["sentence"])
    return scores, said


@pytest.mark.parametrize(
    ("ignoring", "following", "advice"),
    [
        (PLAIN, LSTM_KEEPS, "try lstm"),
        (LSTM, LSTM_KEEPS, "try encoder.forget_bias: 5 and encoder.input_bias: -5"),
        (GRU, GRU_KEEPS, "try encoder.update_bias: 5"),
    ],
)
def test_the_adding_problem_of_200_steps_is_solved_by_following_the_advice(
    ignoring: str, following: str, advice: str, folder: Path
) -> None:
    scores, sentences = trained(ADDING.replace("ENCODER", ignoring), folder)
    assert scores["adding/test/mse"] > 0.03, "a gru as it is by default needs a hundred steps more"
    assert advice in sentences["vanishing"]
    scores, sentences = trained(ADDING.replace("ENCODER", following), folder)
    assert scores["adding/test/mse"] < 0.01
    assert "vanishing" not in sentences


@pytest.mark.parametrize(
    ("ignoring", "following", "advice"),
    [
        (PLAIN, GRU_KEEPS, "try lstm or gru"),
        (LSTM, GRU_KEEPS, "or a gru with encoder.update_bias: 5"),
        (UNIFORM_GRU, UNIFORM_GRU_KEEPS, "try encoder.update_bias: 5"),
        (UNIFORM_GRU, GRU, "or orthogonal initialisation (encoder.recurrent_init: orthogonal)"),
    ],
)
def test_a_symbol_is_copied_over_a_lag_of_100_by_following_the_advice(
    ignoring: str, following: str, advice: str, folder: Path
) -> None:
    scores, sentences = trained(COPY.replace("ENCODER", ignoring), folder)
    assert scores["copy/test/recall"] < 0.9
    assert advice in sentences["vanishing"]
    scores, sentences = trained(COPY.replace("ENCODER", following), folder)
    assert scores["copy/test/recall"] > 0.99
    if following != GRU:  # The gradients of a gru without a bias vanish at first; it learns nevertheless.
        assert "vanishing" not in sentences
