"""The task `speech` reads recordings in the layouts in which they are published."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from seqkit_speech import speech

from seqkit import DataError, Task, UsageError
from seqkit.reading import Reading, collect_reports
from tests.helpers.sound import write_clips

SPLITS = ("train", "dev", "test")


def targets(task: Task, split: str) -> list[str]:
    return [example.target for example in task.read(split)]


def all_targets(task: Task) -> dict[str, list[str]]:
    return {split: targets(task, split) for split in task.splits}


def reading_of(task: Task, split: str = "train") -> Reading:
    with collect_reports() as reading:
        list(task.read(split))
    return reading


def error_of(**options: Any) -> str:
    """The first problem with recordings of such options."""
    with pytest.raises((DataError, UsageError)) as raised:
        list(speech(**options).read("train"))
    return str(raised.value)


def common_voice(folder: Path, *, header: str = "client_id\tpath\tsentence\tup_votes") -> Path:
    """Three files in the layout of Common Voice."""
    for number, split in enumerate(SPLITS):
        rows = [header]
        for clip in range(3):
            write_clips(folder, f"clips/common_voice_cy_{number}{clip}.mp3")
            rows.append(f'speaker{number}\tcommon_voice_cy_{number}{clip}.mp3\tA "text" of {split} {clip}.\t2')
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


COMMON_VOICE: dict[str, Any] = {
    "train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv", "audio": "clips/{}", "label_column": "sentence",
    "speaker_column": "client_id", "target": "text", "unit": "characters",
}  # fmt: skip


class TestCommonVoice:
    def test_a_manifest_for_each_split(self, tmp_path: Path) -> None:
        task = speech(path=common_voice(tmp_path), **COMMON_VOICE)
        assert all_targets(task) == {split: [f'A "text" of {split} {n}.' for n in range(3)] for split in SPLITS}
        reading = reading_of(task)
        assert reading.split_rules == ["as the data say: by manifest"]
        assert reading.tables["train.tsv"].used == {"path": "path", "label": "sentence", "speaker": "client_id"}
        assert reading.tables["train.tsv"].unused == ("up_votes",)
        assert task.files is not None
        assert [path.name for path in task.files("dev")] == [
            "dev.tsv",
            *(f"common_voice_cy_1{n}.mp3" for n in range(3)),
        ]

    def test_what_no_manifest_names_is_counted(self, tmp_path: Path) -> None:
        write_clips(common_voice(tmp_path), "clips/not_validated.mp3", "clips/.hidden.mp3")
        for name in ("validated.tsv", "reported.tsv"):
            (tmp_path / name).write_text("client_id\tpath\n")
        reading = reading_of(speech(path=tmp_path, **COMMON_VOICE))
        assert {kind: (things.count, things.first) for kind, things in reading.left_out.items()} == {
            "file that is not read as a recording (.mp3)": (1, "clips/not_validated.mp3"),
            "file that is not read as a recording (.tsv)": (2, "reported.tsv"),
            "hidden file": (1, "clips/.hidden.mp3"),
        }

    def test_without_dev_a_share_of_train_is_dev_and_without_test_there_is_none(self, tmp_path: Path) -> None:
        common_voice(tmp_path)
        options = COMMON_VOICE | {"dev": None, "test": None, "dev_percent": 60.0}
        task = speech(path=tmp_path, **options)
        assert task.splits == ("train", "dev")
        assert sorted(targets(task, "train") + targets(task, "dev")) == [f'A "text" of train {n}.' for n in range(3)]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"audio": "{}"}, 'train.tsv: none of the 3 recordings that it names is there; the first of them is '
             'common_voice_cy_00.mp3; set `audio: "clips/{}"`'),
            ({"label_column": "label"}, "train.tsv:1: the header has no column 'label'; its columns are: client_id, "
             "path, sentence, up_votes; `label_column` names the one to read"),
            ({"dev": "valid.tsv"}, "valid.tsv: there is no such file; `dev` names the file"),
            ({"audio": "clips"}, "audio: 'clips' should have {} once"),
            ({"train": None}, "dev: a manifest of its own needs one of train"),
            ({"split_by": "hash"}, "split_by: hash: manifests for each split say how recordings are split"),
            ({"header": False}, "path_column: is a name, but header: false means that columns have none"),
            ({"label_column": 9, "path_column": 2, "speaker_column": None}, "has 4 columns, so there is no column 9"),
        ],
    )  # fmt: skip
    def test_what_a_user_may_forget(self, options: dict[str, Any], message: str, tmp_path: Path) -> None:
        common_voice(tmp_path)
        assert message in error_of(path=tmp_path, **(COMMON_VOICE | options))

    def test_rows_are_located(self, tmp_path: Path) -> None:
        common_voice(tmp_path)
        with (tmp_path / "dev.tsv").open("a") as file:
            file.write("speaker1\t\tno path\t2\nspeaker1\ta.mp3\tonly three\n")
        message = error_of(path=tmp_path, **COMMON_VOICE)
        assert "dev.tsv:5: a path or a label is missing" in message
        assert "dev.tsv:6: has 3 columns, but the header has 4" in message

    def test_another_folder_or_manifest_is_scored(self, tmp_path: Path) -> None:
        task = speech(path=common_voice(tmp_path / "here"), **COMMON_VOICE)
        assert task.read_file is not None
        common_voice(tmp_path / "there")
        others = [
            (tmp_path / "there", None, "test"),
            (tmp_path / "there", "dev", "dev"),
            (tmp_path / "there/train.tsv", None, "train"),
        ]
        for path, split, expected in others:
            found = [example.target for example in task.read_file(path, split, True)]
            assert found == [f'A "text" of {expected} {n}.' for n in range(3)]
            clips = list(task.read_file(path, None, False))
            assert len(clips) == (9 if path.is_dir() else 3)


def ljspeech(folder: Path, separator: str = "|") -> Path:
    """The layout of LJ Speech: no header, names without suffix, quotation marks in the text."""
    write_clips(folder, *(f"wavs/LJ001-{n:04}.wav" for n in range(40)))
    rows = [
        separator.join([f"LJ001-{n:04}", f'"Dr. {n}" said', f'"Doctor {n}" said it{"" if n % 2 else chr(34)}'])
        for n in range(40)
    ]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "metadata.csv"


LJSPEECH: dict[str, Any] = {
    "separator": "bar", "quoting": False, "path_column": 1, "label_column": 3, "audio": "wavs/{}.wav", "target": "text",
    "unit": "characters",
}  # fmt: skip


class TestLjspeech:
    @pytest.mark.parametrize(("name", "sign"), [("bar", "|"), ("semicolon", ";"), ("tab", "\t"), ("~", "~")])
    def test_a_table_without_header(self, name: str, sign: str, tmp_path: Path) -> None:
        task = speech(path=ljspeech(tmp_path, sign), **(LJSPEECH | {"separator": name}))
        found = [text for split in SPLITS for text in targets(task, split)]
        assert sorted(found) == sorted(f'"Doctor {n}" said it{"" if n % 2 else chr(34)}' for n in range(40))
        table = reading_of(task).tables["metadata.csv"]
        assert (table.used, table.unused, table.header) == ({"path": 1, "label": 3}, (2,), False)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"separator": None, "path_column": "path", "label_column": "label"}, "a vertical bar seems to separate "
             "its columns: set `separator: bar`, and give `path_column` and `label_column` as numbers if it"),
            ({"separator": None}, "metadata.csv:1: has 1 columns, so there is no column 3 for the label; a vertical"),
            ({"quoting": True}, "`quoting: false`"),
            ({"audio": "{}"}, 'set `audio: "wavs/{}.wav"`'),
            ({"audio": "wavs/{}"}, "there is no such file"),
        ],
    )  # fmt: skip
    def test_each_option_is_told_by_the_error_without_it(
        self, options: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        ljspeech(tmp_path)
        if options == {"quoting": True}:
            path = tmp_path / "metadata.csv"
            path.write_text(path.read_text().replace('"Doctor', 'the "Doctor'))
        if options.get("audio") == "wavs/{}":
            task = speech(path=tmp_path / "metadata.csv", **(LJSPEECH | options))
            example = next(iter(task.read("train")))
            with pytest.raises(ValueError, match=message):
                example.input.samples(8000)
            assert re.fullmatch(r"metadata\.csv:\d+ \(LJ001-\d+\)", example.id)
            return
        assert message in error_of(path=tmp_path / "metadata.csv", **(LJSPEECH | options))


@pytest.mark.parametrize(
    ("names", "separator", "expected"),
    [
        (["0_1_1.wav", "1_0_1_0.wav"], "_", {"0 1 1", "1 0 1 0"}),
        (["yes-no.wav", "no-no-yes.wav"], "-", {"yes no", "no no yes"}),
        (["a/_up__down_.wav", "b/_left_.wav"], "_", {"up  down", "left"}),
    ],
)
def test_words_in_names_of_files(names: list[str], separator: str, expected: set[str], tmp_path: Path) -> None:
    """As yesno is published: what is said is the file's name."""
    write_clips(tmp_path, *(f"{n}/{name}" for name in names for n in range(30)))
    task = speech(path=tmp_path, pattern=r"(?P<label>.+)\.wav", target="text", word_separator=separator)
    assert {text for split in SPLITS for text in targets(task, split)} == expected


class TestPatterns:
    """A pattern is for names, and for paths if it has a `/`."""

    @staticmethod
    def found(folder: Path, pattern: str) -> set[tuple[str, str | None]]:
        from seqkit_speech.sources import Corpus

        return {(recording.label, recording.speaker) for recording in Corpus(folder, pattern).all_recordings()}

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            (r"(?P<speaker>[a-z]+)/(?P<label>[a-z]+)/[0-9]\.wav", {("yes", "ann"), ("no", "bob")}),
            (r"(?P<label>.+)/[^/]+", {("ann/yes", None), ("bob/no", None)}),
            (r"(?P<speaker>[^/]+)/.*", {("yes", "ann"), ("no", "bob")}),
            (r"(?P<label>[^/]+)\.wav", {("1", None), ("2", None)}),
            (r"(?P<label>.)\.wav", {("1", None), ("2", None)}),
        ],
    )
    def test_folders_and_zips(self, pattern: str, expected: set[tuple[str, str | None]], tmp_path: Path) -> None:
        write_clips(tmp_path / "set", "ann/yes/1.wav", "bob/no/2.wav")
        assert self.found(tmp_path / "set", pattern) == expected
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in sorted((tmp_path / "set").rglob("*.wav")):
                archive.write(path, path.relative_to(tmp_path / "set"))
        assert self.found(tmp_path / "set.zip", pattern) == expected

    def test_what_does_not_match_is_named(self, tmp_path: Path) -> None:
        write_clips(tmp_path, "ann/yes/1.wav", "2.wav")
        message = error_of(path=tmp_path, pattern=r"(?P<speaker>\w+)/(?P<label>\w+)/\d\.wav")
        assert f"{tmp_path}:2.wav: its path does not match the pattern" in message
        assert "ann/yes" not in message

    def test_a_pattern_reads_speakers_out_of_a_manifest(self, tmp_path: Path) -> None:
        names = [f"{speaker}/{n}.wav" for speaker in ("ann", "bob", "cy") for n in range(9)]
        write_clips(tmp_path, *names)
        (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{name},word\n" for name in names))
        task = speech(path=tmp_path / "list.csv", pattern=r"(?P<speaker>\w+)/.*", split_by="speaker")
        speakers = [{example.id.split("(")[1][:3] for example in task.read(split)} for split in SPLITS]
        assert [len(names) for names in speakers] == [1, 1, 1]
        assert set.union(*speakers) == {"ann", "bob", "cy/"[:3]}
        message = error_of(path=tmp_path / "list.csv", pattern=r"(?P<speaker>x)/.*")
        assert "list.csv:2: its path does not match the pattern" in message
        message = error_of(path=tmp_path / "list.csv", pattern=r"(?P<label>\w+)/.*")
        assert "a manifest has labels in a column" in message


class TestSpeakers:
    @pytest.mark.parametrize("speakers", [3, 5, 12, 40])
    def test_whole_speakers_are_dev_and_test(self, speakers: int, tmp_path: Path) -> None:
        rows = [f"{n}.wav,{'yn'[n % 2]},s{n % speakers}" for n in range(4 * speakers)]
        (tmp_path / "list.csv").write_text("path,label,speaker\n" + "\n".join(rows) + "\n")
        task = speech(path=tmp_path / "list.csv", split_by="speaker")
        by_split = [
            {int(example.id.split("(")[1].split(".")[0]) % speakers for example in task.read(split)} for split in SPLITS
        ]
        assert all(by_split)
        assert sum(map(len, by_split)) == speakers == len(set.union(*by_split))
        assert len(by_split[1]) == len(by_split[2]) == max(1, round(0.1 * speakers))
        assert reading_of(task).split_rules == ["about 10 % dev and 10 % test, by speaker: no speaker is in two splits"]

    def test_too_few_or_unknown_speakers(self, tmp_path: Path) -> None:
        path = tmp_path / "list.csv"
        path.write_text("path,label,who\na.wav,y,ann\nb.wav,n,bob\n")
        assert "list.csv:2 (a.wav): its speaker is not known; give a pattern" in error_of(path=path, split_by="speaker")
        message = error_of(path=path, split_by="speaker", speaker_column="who")
        assert "has 2 speakers, too few for 3 splits" in message
        task = speech(path=path, split_by="speaker", speaker_column="who", test_percent=0.0)
        assert task.splits == ("train", "dev")
        assert [len(targets(task, split)) for split in task.splits] == [1, 1]


def timit(folder: Path) -> Path:
    """The layout of TIMIT: dialect, speaker, sentence; capitals; texts and phones behind samples."""
    for split, dialect, speaker in (("TRAIN", "DR1", "FCJF0"), ("TRAIN", "DR2", "MABC0"), ("TEST", "DR1", "FAKS0")):
        for sentence in ("SA1", "SX37"):
            place = f"{split}/{dialect}/{speaker}/{sentence}"
            write_clips(folder, f"{place}.WAV")
            (folder / f"{place}.TXT").write_text(f"0 46797 She had {sentence}. \n")
            (folder / f"{place}.PHN").write_text("0 3050 h#\n3050 4559 sh\n4559 46797 h#\n")
            (folder / f"{place}.WRD").write_text("3050 5723 she\n5723 46797 had\n")
    return folder


TIMIT = r"(?P<split>[^/]+)/[^/]+/(?P<speaker>[^/]+)/[^/]+"


class TestTimit:
    @pytest.mark.parametrize(
        ("ending", "expected"),
        [
            ("txt", "She had SA1."),
            (".TXT", "She had SA1."),
            ("phn", "h# sh h#"),
            (".WRD", "she had"),
            (None, "She had SA1."),
        ],
    )
    def test_texts_phones_and_words(self, ending: str | None, expected: str, tmp_path: Path) -> None:
        task = speech(path=timit(tmp_path), pattern=TIMIT, transcripts=ending, target="text", dev_percent=50.0)
        assert targets(task, "test")[0] == expected
        assert len(targets(task, "test")) == 2
        reading = reading_of(task)
        changed = {kind: things.count for kind, things in reading.changed.items()}
        shown = f".{(ending or '.txt').lstrip('.')}"
        assert changed == {f"transcript ({shown}) whose first and last samples are removed": 6}
        assert sum(things.count for things in reading.left_out.values()) == 12
        assert bool(reading.remarks) == (ending is None)

    def test_without_a_pattern_the_folders_give_the_split(self, tmp_path: Path) -> None:
        task = speech(path=timit(tmp_path), target="text", dev_percent=50.0)
        assert len(targets(task, "test")) == 2

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        timit(tmp_path)
        message = error_of(path=tmp_path, transcripts="lab", target="text")
        assert "no file .lab is beside a recording; endings of its files: .PHN, .TXT, .WAV, .WRD" in message
        (tmp_path / "TEST/DR1/FAKS0/SA1.TXT").unlink()
        (tmp_path / "TEST/DR1/FAKS0/SX37.TXT").write_text("\n")
        message = error_of(path=tmp_path, target="text")
        assert message == f"{tmp_path}:TEST/DR1/FAKS0/SX37.TXT: has no text"
        (tmp_path / "TEST/DR1/FAKS0/SX37.TXT").write_text("again\n")
        message = error_of(path=tmp_path, target="text")
        assert message == f"{tmp_path}:TEST/DR1/FAKS0/SA1.WAV: has no transcript in a file SA1.txt beside it"
        assert "transcripts: files with texts need target: text" in error_of(path=tmp_path, transcripts="txt")

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("0 1 1 0\n", "0 1 1 0"),
            ("0 12 birds\n", "0 12 birds"),
            ("two\nlines\n", "two lines"),
            ("0 2000 said\n", "said"),
            ("5 2000 miles\n", "5 2000 miles"),
            ("\ufeffwith a mark\r\n", "with a mark"),
        ],
    )
    def test_numbers_that_are_said_stay(self, content: str, expected: str, tmp_path: Path) -> None:
        for n in range(30):
            write_clips(tmp_path, f"{n}.wav")
            (tmp_path / f"{n}.txt").write_text(content, encoding="utf-8", newline="")
        assert set(targets(speech(path=tmp_path, target="text"), "train")) == {expected}


def test_librispeech_in_a_zip(tmp_path: Path) -> None:
    names = [f"{split}/{speaker}/1/{speaker}-1-000{n}" for split, speaker in
             (("train-clean-100", 19), ("dev-clean", 20), ("test-other", 21)) for n in range(2)]  # fmt: skip
    write_clips(tmp_path / "in", *(f"LibriSpeech/{name}.flac" for name in names))
    for split, speaker in (("train-clean-100", 19), ("dev-clean", 20), ("test-other", 21)):
        lines = "".join(f"{speaker}-1-000{n} WORDS OF {speaker}\n" for n in range(2))
        (tmp_path / f"in/LibriSpeech/{split}/{speaker}/1/{speaker}-1.trans.txt").write_text(lines)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "in"))
    for path in (tmp_path / "in", tmp_path / "in.zip", tmp_path / "in/LibriSpeech"):
        task = speech(path=path, target="text", unit="characters")
        assert all_targets(task) == {split: [f"WORDS OF {speaker}"] * 2 for split, speaker in
                                     (("train", 19), ("dev", 20), ("test", 21))}  # fmt: skip


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "txt with separator", "csv.gz"])
def test_manifests_in_any_format(form: str, tmp_path: Path) -> None:
    rows = [{"audio_filepath": f"{n}.wav", "text": f"word {n}", "duration": 0.5} for n in range(40)]
    options: dict[str, Any] = {"path_column": "audio_filepath", "label_column": "text"}
    path = tmp_path / f"list.{form.split()[0]}"
    sign = {"csv": ",", "tsv": "\t"}.get(form.split(".")[0], ";")
    table = sign.join(rows[0]) + "\n" + "".join(sign.join(map(str, row.values())) + "\n" for row in rows)
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "json":
        path.write_text(json.dumps(rows, indent=1))
    elif form == "csv.gz":
        import gzip

        path.write_bytes(gzip.compress(table.encode()))
    else:
        path.write_text(table)
    if "separator" in form:
        assert "is not a folder, a .zip or .tar archive or a manifest" in error_of(path=path, **options)
        options["separator"] = ";"
    task = speech(path=path, **options)
    assert sorted(text for split in SPLITS for text in targets(task, split)) == sorted(row["text"] for row in rows)
    example = next(iter(task.read("train")))
    assert re.fullmatch(re.escape(path.name) + r":\d+ \(\d+\.wav\)", example.id)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": "text"}, "label_column: is for manifests, but"),
        ({"separator": "bar"}, "separator: is for manifests, but"),
        ({"audio": "clips/{}"}, "audio: is for manifests, but"),
        ({"header": False, "path_column": 1, "label_column": 2}, "path_column: is for manifests, but"),
        ({"encoding": "latin-1"}, "encoding: is for manifests, but"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_clips(tmp_path, "yes/a.wav", "no/b.wav")
    assert message in error_of(path=tmp_path, **options)
    with pytest.raises(UsageError, match="is for manifests of your own; set path"):
        speech(**options)
    (tmp_path / "list.csv").write_text("path,label\nyes/a.wav,yes\n")
    message = error_of(path=tmp_path / "list.csv", transcripts="txt", target="text")
    assert message == "transcripts: list.csv is a manifest, which has the texts in its column of labels"
