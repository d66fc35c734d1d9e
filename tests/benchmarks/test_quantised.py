"""The group `quantised`: a model that contenders share, the calls over a text, and what is derived from the scores."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.driver import Process
from benchmarks.frame import SHARED_FOLDER, Contender
from benchmarks.groups import quantised


def case(name: str, before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    int8 = {"scores_before": before, "scores_after": after}
    results = {"seqkit": {"notes": {"int8": int8, "bytes": 25}}, "fp32": {"notes": {"int8": int8, "bytes": 100}}}
    return {"name": name, "results": results}


def test_points_lost_are_those_of_the_worst_case() -> None:
    cases = [
        case("one", {"accuracy": 0.8, "macro_f1": 0.7}, {"accuracy": 0.797, "macro_f1": 0.1}),
        case("two", {"accuracy": 0.8}, {"accuracy": 0.81}),
        case("three", {"nats": 2.0}, {"nats": 2.5}),
        {"name": "failed", "results": {"seqkit": {"failed": "no"}, "fp32": {"notes": {}}}},
    ]
    figures = quantised.derive(cases)
    assert figures[quantised.LOST] == 0.3
    assert figures["three: nats on dev, int8"] == 2.5
    assert figures["two: size of the file, int8 over fp32"] == 0.25
    assert quantised.LOST not in quantised.derive(cases[2:])
    assert quantised.derive(cases[1:2])[quantised.LOST] == -1.0


def test_a_model_is_trained_once_for_all_contenders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    monkeypatch.setenv(SHARED_FOLDER, str(tmp_path))
    monkeypatch.setattr(quantised, "run_recipe", lambda text, folder: trained.append(text))
    monkeypatch.setattr(quantised.Exported, "_export", lambda self: '{"int8": 1}')
    models = [quantised.Exported(data, 7) for data in ("sentences", "characters", "sentences")]
    assert len(trained) == 2
    assert "steps: 7," in trained[0]
    assert models[0].facts == models[2].facts == {"int8": 1}
    assert models[0].out == models[2].out != models[1].out


def test_contenders_are_told_the_folder_that_they_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []

    def start(command: list[str], *, env: dict[str, str], **rest: Any) -> Any:
        started.append(env)
        return SimpleNamespace(stdin=StringIO(), stdout=StringIO(), wait=lambda timeout: 0)

    monkeypatch.setattr("benchmarks.driver.subprocess.Popen", start)
    Process(quantised.GROUP, Contender("ours", "nowhere:nothing"), "python", 1, str(tmp_path)).close()
    assert started[0][SHARED_FOLDER] == str(tmp_path)
    assert started[0]["OMP_NUM_THREADS"] == "1"


def test_texts_are_cut_into_pieces_of_characters() -> None:
    class Example:
        input = "abcde" * 45

    class Task:
        def read(self, split: str) -> list[Any]:
            assert split == "dev"
            return [Example()]

    assert [len(text) for text in quantised._texts(Task(), "characters")] == [100, 100]
    assert list(quantised._texts(Task(), "sentences")) == ["abcde" * 45]
