"""The task `speech`: its options, bad files, and runs from a recipe to predictions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from seqkit_speech import generator, speech
from seqkit_speech.audio import FileAudio, Folder, resample
from seqkit_speech.fields import Waveform

from seqkit import DataError, Label, MissingExtra, Text, UsageError
from seqkit.cli import main
from seqkit.data.store import prepare
from seqkit.testing import TaskConformance
from tests.helpers.sound import needs_audio, wav_bytes, write_clips

# The task


def test_the_default_is_offline_and_needs_no_library() -> None:
    code = (
        "import sys; from seqkit_speech import speech; task = speech(); example = next(iter(task.read('train')));"
        "rows = task.input.encode(example.input); print(rows.shape[1], example.target, task.head);"
        "assert not {'torch', 'torchaudio', 'soundfile'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["80", "zero", "classify"], done.stderr


@pytest.mark.parametrize("library", ["soundfile", "torchaudio"])
def test_a_missing_extra_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    clip = FileAudio(Folder(write_clips(tmp_path, "a.wav")), "a.wav")
    needs = {"soundfile": lambda: clip.samples(8000), "torchaudio": lambda: Waveform(8000).layer(4)}
    with pytest.raises(MissingExtra, match=r'pip install "seqkit\[speech\]"'):
        needs[library]()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"join": (2, 3)}, "join: strings of words need target: text"),
        ({"join": (3, 2), "target": "text"}, "join: [3, 2] should have the smaller number first"),
        ({"noise_db": (20.0, 5.0)}, "noise_db: [20, 5] should have"),
        ({"words": ("zero", "eleven")}, "eleven cannot be synthesised"),
        ({"pattern": "("}, "is not a regular expression"),
        ({"pattern": "(?P<word>x)"}, "has the group 'word'"),
        ({"pattern": "x"}, "has no named group"),
        ({"best": "wer"}, "wer is not a score of this task, which has accuracy and macro_f1"),
        ({"best": "accuracy", "target": "text"}, "accuracy is not a score of this task, which has wer"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        speech(**options)


def test_targets_heads_and_scores() -> None:
    words, strings = speech(), speech(target="text", join=(2, 4))
    assert (type(words.target), words.head, words.best) == (Label, "classify", "accuracy")
    assert (type(strings.target), strings.head, strings.best) == (Text, "ctc", "wer")
    assert speech(target="text", unit="characters").best == "cer"
    assert speech(max_seconds=1.5).limit is not None
    assert (speech(source="fsdd").input.rate, speech(path=Path("x")).input.rate) == (8000, 16000)  # type: ignore[attr-defined]


@needs_audio
def test_bad_files_are_all_named_or_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_clips(
        tmp_path / "clips", *(f"{split}/yes/{n}.wav" for split in ("train", "dev", "test") for n in range(4))
    )
    (folder / "train/yes/1.wav").write_bytes(b"")
    (folder / "train/yes/2.wav").write_bytes((folder / "train/yes/0.wav").read_bytes()[:300])
    (folder / "test/yes/3.wav").write_bytes(b"<html>")
    with pytest.raises(DataError) as raised:
        prepare(speech(path=folder, rate=8000), key=1, cache=tmp_path / "cache")
    lines = str(raised.value).split("\n")
    assert len(lines) == 3
    assert lines[0] == f"{folder}:train/yes/1.wav: input is empty"
    assert lines[1].startswith(f"{folder}:train/yes/2.wav: input is truncated")
    assert lines[2].startswith(f"{folder}:test/yes/3.wav: input is named .wav, but is a web page or XML; ")
    task = speech(path=folder, rate=8000, bad_files="quarantine", normalise="training")
    kept = prepare(task, key=1, cache=tmp_path / "cache")
    assert [len(kept.splits[split]) for split in ("train", "dev", "test")] == [2, 4, 3]
    report = kept.splits["train"].report
    assert report.quarantined == 2
    assert any("2 examples left out" in line for line in report.lines())
    assert any("train/yes/1.wav: input is empty" in line for line in report.lines())
    assert kept.splits["train"].ids[1].endswith("3.wav")
    for split in ("train", "dev"):
        shutil.rmtree(folder / split)
        write_clips(folder, f"{split}/yes/0.wav")
    for path in (folder / "dev/yes").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="dev"):
        prepare(task, key=2, cache=tmp_path / "cache")


@needs_audio
def test_a_file_that_a_manifest_names_and_that_is_not_there(tmp_path: Path) -> None:
    write_clips(tmp_path, "a.wav")
    rows = ["path,label,split", "a.wav,yes,train", "b.wav,yes,train", "a.wav,yes,dev", "a.wav,yes,test"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"list\.csv:3 \(b\.wav\): input is missing: there is no such file"):
        prepare(speech(path=tmp_path / "list.csv", rate=8000), key=1, cache=tmp_path / "cache")


TINY = """
seed: 2
tasks:
  words: {{use: speech, sizes: [96, 24, 24], words: [yes, no, six], stack: 3, bands: 20, speed: 0.1, time_masks: 1,
          normalise: training}}
encoder: {{use: gru, dim: 24, hidden: 24, bidirectional: true}}
train: {{epochs: {epochs}, batch: 8, optimizer: {{use: adamw, lr: 0.01}}}}
"""


def seqkit(*arguments: str) -> str:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


@needs_audio
def test_a_recipe_trains_predicts_from_paths_and_repeats_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(TINY.format(epochs=6))
    seqkit("run", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "one"), "--quiet")
    scores = json.loads((tmp_path / "one/metrics.json").read_text())
    assert scores["words/test/accuracy"] >= 0.7
    seqkit("run", str(tmp_path / "one/resolved.yaml"), "--out", str(tmp_path / "two"), "--quiet")
    assert json.loads((tmp_path / "two/metrics.json").read_text()) == scores
    paths = []
    for word in ("yes", "no", "six"):
        paths.append(tmp_path / f"{word}.wav")
        paths[-1].write_bytes(wav_bytes(resample(generator.synthesise_word(word, 1, 0, 8000), 8000, 22050), 22050))
    (tmp_path / "paths.txt").write_text("".join(f"{path}\n" for path in paths))
    lines = seqkit("predict", str(tmp_path / "one"), str(tmp_path / "paths.txt")).splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == ["yes", "no", "six"]


STRINGS = """
tasks:
  digits: {use: speech, target: text, join: [1, 2], joined: [24, 8, 8], words: [yes, six], sizes: [32, 16, 16]}
encoder: {use: gru, dim: 16, hidden: 16, bidirectional: true}
train: {epochs: 2, batch: 8, optimizer: {use: adamw, lr: 0.01}}
"""


@needs_audio
def test_strings_of_words_go_through_ctc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "strings.yaml").write_text(STRINGS)
    seqkit("run", str(tmp_path / "strings.yaml"), "--out", str(tmp_path / "run"), "--quiet")
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"digits/test/wer", "digits/test/exact", "digits/dev/loss"} <= set(scores)
    line = json.loads(seqkit("evaluate", str(tmp_path / "run"), "--split", "dev", "--json"))
    assert line["digits/dev/wer"] == scores["digits/dev/wer"]


@needs_audio
class TestWords(TaskConformance):
    task = "speech"
    options: ClassVar = {"sizes": [24, 12, 12], "bands": 20, "deltas": 1, "stack": 2, "speed": 0.1, "time_masks": 1}


@needs_audio
class TestStrings(TaskConformance):
    task = "speech"
    options: ClassVar = {"sizes": [24, 12, 12], "target": "text", "join": [1, 2], "joined": [12, 6, 6], "bands": 20}


@needs_audio
class TestStringsByBeam(TaskConformance):
    task = "speech"
    options = TestStrings.options
    head: ClassVar = {"use": "ctc", "search": "beam", "beams": 4}
