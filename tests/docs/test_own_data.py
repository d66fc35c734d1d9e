"""The recipes of docs/own-data.md train on the data that the page describes."""

from __future__ import annotations

import gzip
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit import recipe
from seqkit.cli import main
from tests.helpers.data import needs_data
from tests.helpers.pages import PAGES, blocks
from tests.helpers.sound import needs_audio, tone, write_clips

SPLITS = ("train", "dev", "test")
FILES = {
    "all.csv": "body,mood,who\n"
    + "".join(f"text {n},{'good' if n % 2 else 'bad'},speaker {n % 5}\n" for n in range(20)),
    "topics/train/sport/1.txt": "a game",
    "topics/train/sport/2.txt": "a ball",
    "topics/train/music/1.txt": "a song",
    "topics/train/music/2.txt": "a tune",
    "seq.in": "".join(f"to boston {n}\n" for n in range(40)),
    "label": "flight\nfare\n" * 20,
    "seq.out": "O B-to O\n" * 40,
    "en.conllu": "".join(
        f"# n = {n}\n1\tword{n}\t_\t{'NOUN' if n % 2 else 'VERB'}" + "\t_" * 6 + "\n\n" for n in range(40)
    ),
    "places.jsonl": "".join(f'{{"text": "{n} in New York.", "spans": [[6, 14, "place"]]}}\n' for n in range(10, 50)),
    "train.txt": "the text of train\n" * 50,
    "valid.txt": "the text of dev\n" * 5,
    "more/a.txt": "the text of test\n" * 5,
    **{f"my-texts/{split}.tsv": "good film\tgood\nbad film\tbad\n" * 3 for split in SPLITS},
    **{
        f"my-questions/{split}.tsv": "text\ttopic\ttone\n" + "is it late\ttime\tcalm\nhow far\tplace\trude\n" * 3
        for split in SPLITS
    },
    **{f"my-conll/eng.{part}": "EU NNP I-ORG\nrejects VBZ O\n\n" * 4 for part in ("train", "testa", "testb")},
    "my-list.csv": "path,label,speaker\n" + "".join(f"{n}.wav,{'ab'[n % 2]},s{n % 7}\n" for n in range(28)),
    **{f"my-sentences/{n}.txt": f"sentence {n}" for n in range(20)},
    **{
        f"my-classes/{kind}/{n}.tsv": f"ACGT{'ACGT'[n % 4] * n}\nGG{'AC'[n % 2] * n}\n"
        for kind in ("exon", "intron")
        for n in range(9)
    },
    "my-sites.csv": "seq,kind\n" + "".join(f"{'ACGT'[n % 4] * (n % 9 + 2)}A,{'xy'[n % 2]}\n" for n in range(40)),
    **{f"my-pairs/{split}.{side}": f"yksi {side}\nkaksi {side}\n" for split in SPLITS for side in ("fi", "en")},
    "my-names/Finnish.txt": "".join(f"{a}{b}\n" for a in "ahklmnprst" for b in ("alto", "oski", "iemi", "ehto")),
    "my-loads.csv": "date,a,b\n" + "".join(f"2020-{n:03},{n % 24},{n % 5 + 0.5}\n" for n in range(200)),
    "my-sales.csv": "date,shop,sales\n" + "".join(f"{n:03},{'ab'[n % 2]},{n % 14 // 2}\n" for n in range(140)),
    "my-promotions.csv": "date,shop,sales,size,promo\n"
    + "".join(
        f"2024-{n // 28 + 1:02}-{n % 28 + 1:02},{shop},{n % 7},{size},{n % 2}\n"
        for n in range(70)
        for shop, size in (("north", 7), ("south", 3))
    ),
    "my-series.csv": "id,values\n" + "".join(f"s{n},{','.join(map(str, range(60 + n)))}\n" for n in range(3)),
    "my-names/Welsh.txt": "".join(f"{a}{b}\n" for a in "bcdgjlmoprt" for b in ("evan", "wen", "ugh", "loyd")),
    "my-motions/train.ts": "@classLabel true up down\n@data\n"
    + "".join(f"{n},1,2:3,4,{n}:{'up' if n % 2 else 'down'}\n" for n in range(40)),
    "walks.csv": "walk,who,label,x,y\n"
    + "".join(f"{n // 2},{n // 2 % 4},{'ab'[n // 2 % 2]},{n},1\n" for n in range(80)),
    "pumps.csv": "pump,heat,noise\n"
    + "".join(f"{pump},{step + pump},{step % 3}\n" for pump in range(12) for step in range(9 + pump)),
    "stopped.csv": "pump,noise,heat,rul\n"
    + "".join(f"{pump},{step % 3},{step + pump},{12 - step}\n" for pump in range(3) for step in range(9)),
    "wide.csv": "label,x1,y1,x2,y2\n" + "".join(f"{'ab'[n % 2]},{n},1,2,3\n" for n in range(40)),
    "recordings.csv": "name,activity\n" + "".join(f"recordings/{n}.csv,{'ab'[n % 2]}\n" for n in range(40)),
    "sessions.txt": "".join(f"a{n % 3} b{n % 5} c\n" for n in range(40)),
    "later.txt": "a1 b2 c\na2 b1\n",
    "chains.csv": "sequence,structure,mask\n"
    + "".join(f"{'AC' * (n % 5 + 1)},{'HC' * (n % 5 + 1)},{'10' * (n % 5 + 1)}\n" for n in range(40)),
    **{f"my-words/{name}.tsv": "".join(f"a{n}\tA {n}\n" for n in range(20)) for name in ("fi", "cy")},
    "forms.tsv": "".join(f"go{n}\twent{n}\tV;PST\n" for n in range(20)),
    "pieces.jsonl": "".join(f"[[{60 + n},64],[],[{61 + n}]]\n" for n in range(20)),
    "words.jsonl": "".join(f'{{"text": "a{n}", "strokes": [[[0, {n}], [1, 2]], [[{n}, 3]]]}}\n' for n in range(20)),
    "my-genomes.fa": "".join(f">chromosome{n}\n" + "ACGTTGCA" * 40 + "\n" for n in range(2)),
    "sales.csv": "customer,article,day\n" + "".join(f"{n // 4},x{n % 7},{n % 4}\n" for n in range(80)),
    "drawings.jsonl": "".join(
        f'{{"strokes": [[[0, {n}], [1, 2]], [[{n}, {n}]]], "label": "{"ab"[n % 2]}"}}\n' for n in range(40)
    ),
    **{f"my-drawings/{'ab'[n % 2]}/{n}_{n % 4:02}.txt": f"START\n0,{n}\n1,2\nBREAK\n{n},3\n" for n in range(40)},
    "train-labels-idx1-ubyte": "\0\0\x08\x01\0\0\0\x28" + "\1\2" * 20,
    "train-images-idx3-ubyte": "\0\0\x08\x03\0\0\0\x28\0\0\0\2\0\0\0\2"
    + "".join(f"\3{'~ '[n % 2]}{chr(n)}\0" for n in range(40)),
    **{f"recordings/{n}.csv": f"x,y\n{n},1\n2,3\n" for n in range(40)},
}
CLIPS = (
    *(f"my-recordings/{word}/{n}.wav" for word in ("yes", "no") for n in range(20)),
    *(f"{n}.wav" for n in range(28)),
    *(f"my-sentences/{n}.wav" for n in range(20)),
)
ALL = blocks(PAGES["docs/own-data.md"], "yaml")
SHORT = [text for text in ALL if "hidden: 8}" in text or "use: none" in text]
PUBLISHED = PAGES["docs/own-data.md"].partition("## Published data sets as they are\n")[2]


def write_pictures(folder: Path) -> None:
    """Twenty pictures of 4 x 3 pixels for each of two classes."""
    from PIL import Image

    for number in range(40):
        path = folder / ("squares" if number % 2 else "lines") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), color=6 * number).save(path)


def train(text: str, folder: Path) -> None:
    """Train two steps; the encoder is small, and nothing is downloaded."""
    assert len(text.splitlines()) <= 9  # the encoder is one line of it
    (folder / "own.yaml").write_text(text, encoding="utf-8")
    words = ["run", str(folder / "own.yaml"), "--out", str(folder / "run"), "--quiet", "--offline"]
    settings = [
        *(["encoder.hidden=8"] if re.search("^encoder:.*hidden", text, re.MULTILINE) else []),
        "train.steps=2",
        "train.batch=4",
    ]
    result = CliRunner().invoke(main, [*words, *(word for change in settings for word in ("--set", change))])
    assert result.exit_code == 0, result.output
    assert re.search(r"/dev/\w+ +[0-9]", result.output)


def test_there_are_such_recipes() -> None:
    assert len(SHORT) >= 15
    assert len(blocks(PUBLISHED, "yaml")) == 9


@needs_audio
@pytest.mark.parametrize("text", SHORT, ids=lambda text: re.findall(r"^  (\w+):", text, re.MULTILINE)[0])
def test_a_short_recipe_trains(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    assert len(text.splitlines()) <= 4
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    if "speech" in text:
        write_clips(tmp_path, *CLIPS, seconds=0.3)
    if "my-pictures" in text:
        write_pictures(tmp_path / "my-pictures")
    loaded = recipe.parse(text.encode(), str(tmp_path / "own.yaml"))
    for entry in loaded.tasks.values():
        task = recipe.build_task(entry)
        assert {"train", "dev"} <= set(task.splits)
        for split in task.splits:
            assert list(task.read(split)), split
    train(text, tmp_path)


# ---- published data sets: the real ones where they are, else small ones in the same layout


def unpacked(member: str, name: str) -> Callable[[Path, Path], None]:
    """Unpacks an archive; what it unpacks to is then called `name`."""

    def unpack(data: Path, folder: Path) -> None:
        with zipfile.ZipFile(data / member) as archive:
            archive.extractall(folder / name if name == "LJSpeech-1.1" else folder)

    return unpack


def linked(member: str, name: str) -> Callable[[Path, Path], None]:
    return lambda data, folder: (folder / name).symlink_to(data / member)


REAL: dict[str, Callable[[Path, Path], None]] = {
    "intent": linked("joint/atis", "atis"),
    "chunks": linked("tagging/conll2000", "conll2000"),
    "pos": linked("tagging/ud_english_partut", "ud_english_partut"),
    "strokes": unpacked("handwriting/omniglot_strokes/strokes_background_small1.zip", "strokes_background_small1"),
    "yesno": unpacked("speech/yesno/waves_yesno.zip", "waves_yesno"),
    "ljspeech": unpacked("speech/ljspeech_32/ljspeech_32.zip", "LJSpeech-1.1"),
}


def _atis(folder: Path) -> None:
    for split in ("train", "valid", "test"):
        (folder / "atis" / split).mkdir(parents=True)
        for name, line in (("seq.in", "to boston"), ("seq.out", "O B-toloc.city_name"), ("label", "atis_flight")):
            other = {"seq.in": "cheapest fare", "seq.out": f"B-cost_{split} O", "label": f"atis_fare_{split}"}[name]
            (folder / "atis" / split / f"{name}.gz").write_bytes(gzip.compress(f"{line}\n{other}\n".encode() * 3))


def _conll2000(folder: Path) -> None:
    (folder / "conll2000").mkdir()
    for part in ("train", "test"):
        text = "".join(f"Word{n} NN B-NP\nof IN B-PP\nit PRP I-PP\n\n" for n in range(40))
        (folder / f"conll2000/{part}.txt.gz").write_bytes(gzip.compress(text.encode()))


def _partut(folder: Path) -> None:
    (folder / "ud_english_partut").mkdir()
    rows = ("1-2\tdon't\t_\t_", "1\tdo\tdo\tAUX", "2\tn't\tnot\tPART", "2.1\tx\t_\tX")
    text = "# sent_id = 1\n" + "".join(row + "\t_" * 6 + "\n" for row in rows) + "\n"
    for part in SPLITS:
        (folder / f"ud_english_partut/en_partut-ud-{part}.conllu.gz").write_bytes(gzip.compress(text.encode() * 5))


def _strokes(folder: Path) -> None:
    for alphabet in ("Korean", "Greek"):
        for character in ("character01", "character02"):
            for drawer in range(10):
                path = folder / f"strokes_background_small1/{alphabet}/{character}/0540_{drawer:02}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"START\n{drawer}.5,-{len(alphabet)},0\n12.0,-40.0,{drawer}\nBREAK\n")


def _yesno(folder: Path) -> None:
    write_clips(folder / "waves_yesno", *("_".join(f"{n:08b}") + ".wav" for n in range(40)), seconds=0.3)


def _ljspeech(folder: Path) -> None:
    names = [f"LJ001-{n:04}" for n in range(1, 41)]
    write_clips(folder / "LJSpeech-1.1/wavs", *(f"{name}.wav" for name in names), seconds=0.5)
    rows = [f'{name}|"Printed in {n}" he said|"Printed in {n}" he said\n' for n, name in enumerate(names)]
    (folder / "LJSpeech-1.1/metadata.csv").write_text("".join(rows), encoding="utf-8")


def _common_voice(folder: Path) -> None:
    import soundfile

    place = folder / "cv-corpus/cy"
    (place / "clips").mkdir(parents=True)
    for split in SPLITS:
        rows = ["client_id\tpath\tsentence\tup_votes\n"]
        for n in range(4):
            name = f"common_voice_cy_{split}{n}.mp3"
            soundfile.write(place / "clips" / name, tone(300 + 10 * n, 0.2, 16000), 16000)
            rows.append(f"{split}{n}\t{name}\tMae'n {n}.\t2\n")
        (place / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")


def _librispeech(folder: Path) -> None:
    import soundfile

    for number, split in enumerate(("train-clean-100", "dev-clean", "test-clean")):
        place = folder / f"LibriSpeech/{split}/{number}/7"
        place.mkdir(parents=True)
        names = [f"{number}-7-000{n}" for n in range(4)]
        for name in names:
            soundfile.write(place / f"{name}.flac", tone(300, 0.2, 16000), 16000)
        (place / f"{number}-7.trans.txt").write_text("".join(f"{name} SO IT IS\n" for name in names))


def _timit(folder: Path) -> None:
    import soundfile

    for split, speakers in (("TRAIN", ("FCJF0", "MABC0")), ("TEST", ("FAKS0",))):
        for speaker in speakers:
            place = folder / f"timit/{split}/DR1/{speaker}"
            place.mkdir(parents=True)
            for n in range(8):
                soundfile.write(place / f"SX{n}.WAV", tone(300, 0.2, 16000), 16000, format="NIST", subtype="PCM_16")
                (place / f"SX{n}.TXT").write_text(f"0 3200 It is {n}.\n")
                (place / f"SX{n}.PHN").write_text("0 1050 h#\n1050 2000 ih\n2000 3200 h#\n")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "intent": _atis,
    "chunks": _conll2000,
    "pos": _partut,
    "strokes": _strokes,
    "yesno": _yesno,
    "ljspeech": _ljspeech,
    "cv": _common_voice,
    "libri": _librispeech,
    "phones": _timit,
}


def published(task: str) -> str:
    """The recipe of the page whose first task has this name."""
    (text,) = [text for text in blocks(PUBLISHED, "yaml") if text.splitlines()[1].startswith(f"  {task}:")]
    return text


def alone(text: str, task: str) -> str:
    """A recipe with one of its tasks."""
    kept = []
    is_kept = True
    for line in text.splitlines():
        if re.match(r"  \w+:", line) or not line.startswith(" "):
            is_kept = not line.startswith("  ") or line.startswith(f"  {task}:")
        if is_kept:
            kept.append(line)
    return "\n".join(kept) + "\n"


@needs_audio
@pytest.mark.parametrize("task", LAYOUTS)
def test_a_published_layout_trains(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    LAYOUTS[task](tmp_path)
    train(published(task), tmp_path)


REAL_RECIPES = [
    *((task, None) for task in REAL),
    ("intent", "intent"),
    ("intent", "slots"),
]


@needs_audio
@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(("task", "only"), REAL_RECIPES, ids=lambda name: str(name))
def test_a_published_data_set_trains(
    task: str, only: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    REAL[task](Path(os.environ["SEQKIT_DATA"]).expanduser(), tmp_path)
    train(published(task) if only is None else alone(published(task), only), tmp_path)


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("task", "examples", "rest"),
    [
        ("intent", {"train": 4478, "dev": 500, "test": 893}, {}),
        ("chunks", {"test": 2012}, {}),
        ("pos", {"train": 1781, "dev": 156, "test": 153}, {}),
        ("strokes", {}, {"all": 2720}),
        ("yesno", {}, {"all": 60}),
        ("ljspeech", {}, {"all": 32}),
    ],
)
def test_all_of_a_published_data_set_is_read(
    task: str, examples: dict[str, int], rest: dict[str, int], tmp_path: Path
) -> None:
    REAL[task](Path(os.environ["SEQKIT_DATA"]).expanduser(), tmp_path)
    loaded = recipe.parse(published(task).encode(), str(tmp_path / "own.yaml"))
    for entry in loaded.tasks.values():
        built = recipe.build_task(entry)
        sizes = {split: sum(1 for _ in built.read(split)) for split in built.splits}
        assert tuple(sizes) == SPLITS
        assert {split: sizes[split] for split in examples} == examples
        if "all" in rest:
            assert sum(sizes.values()) == rest["all"]
