"""`seqkit stream`: every step is answered at once, in every format; it ends well however its input or output ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from tests.helpers.sound import needs_audio, wav_bytes


def call(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def records(done: Result, *, exit_code: int = 0) -> list[dict[str, Any]]:
    assert done.exit_code == exit_code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def train(folder: Path, task: str, *, head: str = "") -> Path:
    (folder / "recipe.yaml").write_text(
        f"tasks: {{it: {task}}}\nencoder: {{use: lstm, dim: 8, hidden: 6}}\n"
        "train: {steps: 10, batch: 4, optimizer: {use: adamw, lr: 0.02}, histograms: false}\n"
    )
    done = call("run", folder / "recipe.yaml", "--out", folder / "run", "--quiet")
    assert done.exit_code == 0, done.output
    return folder / "run"


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moods")
    for name in ("train", "dev", "test"):
        rows = "".join(f"warm{' x' * i}\tgood\ncold{' x' * i}\tbad\n" for i in range(7))
        (folder / f"{name}.tsv").write_text(rows)
    return train(folder, "{use: sentiment, folder: ., tokenizer: tweets}")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("letters")
    (folder / "text.txt").write_text("to be or not to be\nthat is the question\n" * 20)
    return train(folder, "{use: charlm, file: text.txt, window: 8}")


@contextmanager
def process(*arguments: object, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "seqkit", *map(str, arguments)]
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **more}
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        for pipe in (running.stdin, running.stdout, running.stderr):
            if pipe is not None:
                pipe.close()


def test_words_are_answered_one_by_one_and_an_empty_line_begins_another_sequence(moods: Path) -> None:
    answers = records(call("stream", moods, stdin="Warm x\nx\n\ncold\n"))
    assert [(answer["id"], answer["steps"]) for answer in answers] == [
        ("1", 1), ("1", 2), ("1", 3), ("1", 3), ("2", 1), ("2", 1),
    ]  # fmt: skip
    assert [answer.get("end", False) for answer in answers] == [False, False, False, True, False, True]
    whole = records(call("predict", moods, "--text", "Warm x x", "--text", "cold"))
    for answer, expected in zip([answers[3], answers[5]], whole, strict=True):
        assert answer["prediction"] == expected["prediction"]
        assert answer["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    h, c = (np.array(kind) for kind in answers[0]["state"])
    assert h.shape == c.shape == (1, 6)


def test_a_text_of_characters_has_its_line_ends(letters: Path) -> None:
    answers = records(call("stream", letters, "--no-state", stdin="to be\n\nor"))
    assert len(answers) == 9 + 1
    assert answers[-1]["end"]
    assert answers[-1]["steps"] == 1 + 9  # with the start symbol
    assert "state" not in answers[0]
    assert len(answers[0]["prediction"]) == 2


def test_json_lines_name_their_sequence(moods: Path) -> None:
    lines = [
        {"id": "a", "input": "warm "}, {"id": "b", "input": ["cold", "x"]}, {"id": "a", "input": "x x"},
        {"id": "a", "end": True}, {"id": "b", "input": []},
    ]  # fmt: skip
    answers = records(
        call(
            "stream", moods, "--format", "jsonl", "--no-state", stdin="".join(json.dumps(line) + "\n" for line in lines)
        )
    )
    assert [(answer["id"], answer["steps"], answer.get("end")) for answer in answers] == [
        ("a", 1, None), ("b", 2, None), ("a", 3, None), ("a", 3, True), ("b", 2, None), ("b", 2, True),
    ]  # fmt: skip


def test_what_cannot_be_used_is_told_where_it_stands_and_the_rest_goes_on(moods: Path) -> None:
    lines = ['{"id": "a", "input": "warm "}', "nonsense", '{"id": "a", "text": "x"}', '{"id": "a", "input": 3}', "[1]"]
    lines += ['{"id": "c", "end": true}', '{"id": "a", "end": true}']
    done = call("stream", moods, "--format", "jsonl", stdin="\n".join(lines))
    answers = records(done, exit_code=1)
    messages = [answer.get("error", "") for answer in answers]
    assert messages[0] == messages[6] == ""
    assert messages[1].startswith("stdin:2: is not JSON")
    assert messages[2].startswith('stdin:3: should be an object with "input"')
    assert messages[3] == "session 'a': the piece should be text, but is a int"
    assert messages[4].startswith("stdin:5: should be an object")
    assert messages[5] == "there is no session 'c'"
    assert "5 pieces cannot be used" in done.stderr


def test_more_sequences_than_can_be_open(moods: Path) -> None:
    lines = "".join(json.dumps({"id": id, "input": "warm "}) + "\n" for id in "abc")
    answers = records(call("stream", moods, "--format", "jsonl", "--sessions", 2, stdin=lines), exit_code=1)
    assert "2 sessions are open, and at most 2 can be" in answers[2]["error"]


def test_a_format_that_the_model_does_not_read_is_refused(moods: Path) -> None:
    done = call("stream", moods, "--format", "pcm", stdin=b"\0\0")
    assert done.exit_code == 2
    assert "--format pcm: the model reads words, not sound" in done.stderr


@needs_audio
def test_raw_sound_is_answered_frame_by_frame(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    for split in ("training", "validation", "testing"):
        for label in ("low", "high"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(2):
                samples = draw.normal(size=900) * 0.1 * (1 + number)
                (tmp_path / split / label / f"{number}.wav").write_bytes(wav_bytes(samples.astype(np.float32)))
    run = train(tmp_path, "{use: speech, path: ., rate: 8000, normalise: training, deltas: 1, stack: 2, bands: 10}")
    samples = (draw.normal(size=1000) * 2000).astype("<i2")
    raw = samples.tobytes()
    with process("stream", run, "--no-state") as running:  # a pipe, as from arecord; its pieces end within a sample
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(raw[:999])
        running.stdin.flush()
        first = running.stdout.readline()
        rest, _ = running.communicate(raw[999:], timeout=60)
        assert running.returncode == 0
    answers = [json.loads(line) for line in [first, *rest.splitlines()]]
    assert [answer["steps"] for answer in answers] == [1, 2, 3, 4, 5, 6, 7, 7]
    (tmp_path / "whole.wav").write_bytes(wav_bytes(samples.astype(np.float32) / 32768))
    (whole,) = records(call("predict", run, "--text", tmp_path / "whole.wav"))
    assert answers[-1]["scores"] == pytest.approx(whole["scores"], abs=1e-4)
    *_, flaw, last = records(call("stream", run, "--no-state", stdin=raw + b"x"), exit_code=1)
    assert "ends within a sample" in flaw["error"]
    assert last == answers[-1]
    done = call("stream", run, stdin=(tmp_path / "whole.wav").read_bytes())
    assert done.exit_code == 2
    assert "standard input is a WAV file" in done.stderr


def test_each_answer_is_there_before_the_next_line_comes(moods: Path) -> None:
    with process("stream", moods, "--no-state") as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for steps in (1, 2, 3):
            running.stdin.write(b"warm\n")
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["steps"] == steps
        running.stdin.close()
        assert json.loads(running.stdout.readline())["end"]
        assert running.wait(60) == 0


def test_ctrl_c_ends_it_with_one_line(moods: Path) -> None:
    with process("stream", moods) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdin.write(b"warm\n")
        running.stdin.flush()
        running.stdout.readline()
        time.sleep(0.2)  # it waits for the next line
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert running.stderr.read().decode().strip() == "interrupted"


def test_a_reader_that_goes_away_ends_it_without_a_traceback(moods: Path) -> None:
    with process("stream", moods) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdin.write(b"warm\n")
        running.stdin.flush()
        running.stdout.readline()
        running.stdout.close()
        try:
            for _ in range(200):
                running.stdin.write(b"warm\n")
                running.stdin.flush()
        except BrokenPipeError:
            pass
        running.wait(60)
        assert "Traceback" not in running.stderr.read().decode()
