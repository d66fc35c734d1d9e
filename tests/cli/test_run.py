"""The verbs that need torch, as a user calls them: run, evaluate, predict, generate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main

CHARLM = """
seed: 3
tasks:
  lm: {{use: charlm, file: {folder}/text.txt, window: 16, piece: 100}}
encoder: {{use: gru, dim: 8, hidden: 24}}
train: {{steps: {steps}, batch: 8, evaluate_every: 20, log_every: 10, optimizer: {{use: adamw, lr: 0.02}}}}
expect: {{lm/test/nats: {{at_most: 3.0}}}}
"""

MOOD = """
tasks:
  mood: {{use: sentiment, folder: {folder}, unit: words}}
encoder: {{use: lstm, dim: 16, hidden: 16, bidirectional: true}}
train: {{epochs: 6, batch: 8, optimizer: {{use: adamw, lr: 0.02}}}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("she sells sea shells on the sea shore. " * 40)
    rows = [f"{a} {b} film\t{'good' if a != 'not' else 'bad'}" for a in ("a", "so", "not") for b in "uvwxyz"]
    for split in ("train", "dev", "test"):
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    (folder / "charlm.yaml").write_text(CHARLM.format(folder=folder, steps=40))
    (folder / "mood.yaml").write_text(MOOD.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def trained(site: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_CACHE", str(site / "cache"))
        for name in ("charlm", "mood"):
            result = CliRunner().invoke(main, ["run", str(site / f"{name}.yaml"), "--out", str(site / name), "--quiet"])
            assert result.exit_code == 0, result.output
    return site


@pytest.fixture(autouse=True)
def cache(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(site / "cache"))


def test_a_run_imports_only_what_it_needs(site: Path, tmp_path: Path) -> None:
    """A short run is mostly imports. How long it takes is in the benchmarks, group startup."""
    script = (
        "import gc, sys\nfrom seqkit.cli import main\n"
        "try:\n    main(sys.argv[1:], prog_name='seqkit')\nexcept SystemExit as error:\n    assert not error.code\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 100_000, gc.get_freeze_count()\n"
        "print(*sys.modules)"
    )
    arguments = ["run", str(site / "charlm.yaml"), "--set", "train.steps=1", "--out", str(tmp_path / "run"), "--quiet"]
    command = [sys.executable, "-c", script, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(result.stdout.strip().split("\n")[-1].split())
    assert {"torch", "seqkit.training.loop", "seqkit_charlm"} <= modules
    others = {"matplotlib", "onnx", "optuna", "pandas", "rich", "scipy", "sklearn", "sympy"}
    of_torch = {"torch._dynamo", "torch._inductor", "torch.onnx"}
    assert sorted(modules & (others | of_torch)) == []
    assert [name for name in modules if name.startswith("seqkit_") and "." not in name] == ["seqkit_charlm"]


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_run_folder_is_complete(trained: Path) -> None:
    folder = trained / "charlm"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for name in [
        "recipe.yaml",
        "resolved.yaml",
        "environment.json",
        "data.json",
        "metrics.jsonl",
        "metrics.json",
        "status.json",
        "run.log",
        "model/model.safetensors",
        "model/recipe.yaml",
        "model/fields.json",
        "checkpoints/best.json",
        "checkpoints/last.json",
    ]:
        assert name in names, name
    assert any(name.startswith("tb/events") for name in names)
    assert not [name for name in names if name.endswith((".pt", ".pkl", ".pickle"))]
    assert (folder / "recipe.yaml").read_bytes() == (trained / "charlm.yaml").read_bytes()
    final = json.loads((folder / "metrics.json").read_text())
    assert {"lm/dev/nats", "lm/test/nats"} <= final.keys()
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"


def test_scores_go_to_stdout_with_what_was_expected(site: Path) -> None:
    result = call("run", site / "charlm.yaml", "--out", site / "again", "--set", "train.steps=4")
    assert result.exit_code == 0
    assert "lm/test/nats" in result.stdout
    assert "expected at most 3" in result.stdout
    assert "step 4" in result.stderr
    assert "step 4" not in result.stdout
    as_json = call("run", site / "charlm.yaml", "--out", site / "json", "--set", "train.steps=4", "--json", "--quiet")
    assert json.loads(as_json.stdout)["lm/test/nats"] > 0
    assert as_json.stderr == ""


def test_an_existing_folder_is_never_overwritten(trained: Path) -> None:
    before = (trained / "mood/metrics.json").read_bytes()
    result = call("run", trained / "mood.yaml", "--out", trained / "mood")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert (trained / "mood/metrics.json").read_bytes() == before


@pytest.mark.parametrize("name", ["charlm", "mood"])
def test_evaluation_repeats_the_runs_scores_at_any_batch_size(trained: Path, name: str) -> None:
    final = json.loads((trained / name / "metrics.json").read_text())
    for batch in ([], ["--batch", 1], ["--batch", 3], ["--batch", 500]):
        for folder in (trained / name, trained / name / "model"):
            result = call("evaluate", folder, "--json", "--quiet", *batch)
            assert result.exit_code == 0, result.output
            scores = json.loads(result.stdout)
            assert scores == {key: pytest.approx(final[key], abs=1e-6) for key in scores}


def test_evaluation_needs_the_data(trained: Path, tmp_path: Path) -> None:
    away = tmp_path / "moved"
    (trained / "test.tsv").rename(away)
    try:
        result = call("evaluate", trained / "mood")
    finally:
        away.rename(trained / "test.tsv")
    assert result.exit_code == 2
    assert "test.tsv" in result.stderr
    assert "Traceback" not in result.stderr


def test_predictions_are_json_lines_with_confidence(trained: Path, tmp_path: Path) -> None:
    lines = tmp_path / "in.txt"
    lines.write_text("not u film\nso v film\nso never seen words\n")
    result = call("predict", trained / "mood", lines)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["prediction"] for row in rows[:2]] == ["bad", "good"]
    assert [row["id"] for row in rows] == ["in.txt:1", "in.txt:2", "in.txt:3"]
    for row in rows:
        assert row["confidence"] == pytest.approx(max(row["scores"].values()))
        assert sum(row["scores"].values()) == pytest.approx(1)
    one = call("predict", trained / "mood", "--text", "not u film", "--batch", 1)
    assert json.loads(one.stdout)["confidence"] == pytest.approx(rows[0]["confidence"], abs=1e-6)


def test_predictions_from_standard_input(trained: Path) -> None:
    command = [sys.executable, "-m", "seqkit", "predict", str(trained / "mood")]
    result = subprocess.run(command, input=b"not u film\r\nso v film", capture_output=True, check=True)
    assert [json.loads(line)["prediction"] for line in result.stdout.splitlines()] == ["bad", "good"]


def test_an_empty_line_has_a_record_that_says_so(trained: Path, tmp_path: Path) -> None:
    lines = tmp_path / "in.txt"
    lines.write_text("not u film\n\nso v film\n")
    result = call("predict", trained / "mood", lines)
    assert result.exit_code == 1
    first, second, third = (json.loads(line) for line in result.stdout.splitlines())
    assert second == {"id": "in.txt:2", "input": "", "error": "is empty"}
    assert (first["prediction"], third["prediction"]) == ("bad", "good")
    result = call("predict", trained / "mood", lines, "--on-error", "stop")
    assert result.exit_code == 2
    assert "in.txt:2: is empty" in result.stderr
    assert "Traceback" not in result.stderr


def test_generation_depends_on_its_seed_alone(trained: Path) -> None:
    texts = [
        call("generate", trained / "charlm", "--prompt", "she ", "--length", 60, "--seed", s).stdout for s in (1, 1, 2)
    ]
    assert texts[0].startswith("she ")
    assert len(texts[0]) == 4 + 60 + 1
    assert texts[0] == texts[1] != texts[2]
    cold = call("generate", trained / "charlm", "--temperature", 0, "--length", 30)
    assert cold.stdout == call("generate", trained / "charlm", "--temperature", 0, "--length", 30, "--seed", 9).stdout


@pytest.mark.parametrize("unit", ["words", "bytes", "characters"])
def test_what_is_written_reads_like_the_text(site: Path, tmp_path: Path, unit: str) -> None:
    """Words come apart with spaces between them, bytes as whole characters."""
    (tmp_path / "text.txt").write_text("ab – cd. " * 200)
    path = tmp_path / "write.yaml"
    text = CHARLM.format(folder=tmp_path, steps=300).replace("piece: 100", f"piece: 100, unit: {unit}")
    path.write_text(text.replace("at_most: 3.0", "at_most: 9.0"))
    assert call("run", path, "--out", tmp_path / "run", "--quiet").exit_code == 0
    result = call("generate", tmp_path / "run", "--temperature", 0, "--length", 150)
    assert "ab – cd. ab – cd" in result.stdout
    assert "\ufffd" not in result.stdout
    result = call("generate", tmp_path / "run", "--temperature", 0, "--prompt", "ab – cd.", "--length", 60)
    assert result.stdout.startswith("ab – cd. ab – cd")


def test_a_prompt_of_unknown_symbols_and_a_model_that_cannot_write_are_errors(trained: Path) -> None:
    result = call("generate", trained / "charlm", "--prompt", "日本")
    assert result.exit_code == 2
    assert "日" in result.stderr
    result = call("generate", trained / "mood")
    assert result.exit_code == 2
    assert "does not generate" in result.stderr


def test_a_damaged_or_missing_model_is_an_error(trained: Path, tmp_path: Path) -> None:
    assert call("predict", tmp_path, "--text", "x").exit_code == 2
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(trained / "mood/model", copy)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    result = call("predict", copy, "--text", "x")
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert "Traceback" not in result.stderr


def test_six_mistakes_are_six_located_lines(site: Path) -> None:
    path = site / "wrong.yaml"
    path.write_text(
        "seed: -1\n"
        "tasks:\n"
        "  lm: {use: charlm, windw: 16}\n"
        "encoder: {use: lstn, hidden: 24}\n"
        "train: {batch: 0, optimizer: {use: adamw, lr: fast}, clip: 1.0}\n"
        "expct: {}\n"
    )
    result = call("run", path, "--out", site / "never")
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    locations = [line.rsplit("wrong.yaml:", 1)[1].split(": ")[0] for line in lines]
    assert locations == ["1:7", "3:21", "4:16", "5:16", "5:47", "6:1"]
    assert "did you mean 'window'" in result.stderr
    assert "did you mean 'lstm'" in result.stderr
    assert not (site / "never").exists()


def test_a_missing_gpu_is_an_error(site: Path) -> None:
    result = call("run", site / "charlm.yaml", "--out", site / "gpu", "--set", "device=cuda:99", "--quiet")
    assert result.exit_code == 2
    assert "device: cuda:99" in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_real_signal_saves_and_the_resumed_run_has_the_same_numbers(site: Path, number: int, code: int) -> None:
    recipe = site / f"long{code}.yaml"
    recipe.write_text(CHARLM.format(folder=site, steps=400))
    uninterrupted, resumed = site / f"whole{code}", site / f"parts{code}"
    assert call("run", recipe, "--out", uninterrupted, "--quiet").exit_code == 0
    child = subprocess.Popen(
        [sys.executable, "-m", "seqkit", "run", str(recipe), "--out", str(resumed), "--quiet"], env=dict(os.environ)
    )
    for _ in range(600):
        time.sleep(0.05)
        if (resumed / "metrics.jsonl").exists() and b'"step": 30' in (resumed / "metrics.jsonl").read_bytes():
            break
    child.send_signal(number)
    assert child.wait(timeout=60) == code
    assert json.loads((resumed / "status.json").read_text())["state"] == "interrupted"
    assert call("run", "--resume", resumed, "--quiet").exit_code == 0
    assert json.loads((resumed / "metrics.json").read_text()) == json.loads(
        (uninterrupted / "metrics.json").read_text()
    )


@pytest.mark.parametrize("has_bf16", [False, True])
def test_a_recipe_in_bf16_runs_on_every_processor(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool
) -> None:
    from seqkit.runtime import precision

    if has_bf16 and not precision.has_onednn_bf16():
        pytest.skip("oneDNN has no bf16 on this processor")
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: has_bf16)
    words = ["run", str(site / "mood.yaml"), "--set", "train.precision=bf16", "--set", "train.epochs=1"]
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "run"), "--quiet"])
    assert result.exit_code == 0, result.output
    log = (tmp_path / "run" / "run.log").read_text()
    assert ("this processor has no units for bf16; fp32 is used" in log) is not has_bf16
