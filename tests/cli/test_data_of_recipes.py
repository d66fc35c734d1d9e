"""`seqkit data` on every recipe that comes with seqkit, compared with counts by plain code over the same files."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from seqkit import recipe
from seqkit.cli import main
from seqkit.recipe import bundled
from tests.helpers.data import needs_data
from tests.helpers.sound import needs_audio

DATA = Path(os.environ.get("SEQKIT_DATA", "."))

Counts = dict[str, dict[str, Any]]
"""By split: examples, steps and classes, as far as they can be counted without seqkit."""


def told(name: str, *options: str) -> Any:
    done = CliRunner().invoke(main, ["data", name, "--quiet", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in options else done.stdout


def lines(path: Path) -> list[str]:
    return (DATA / path).read_text(encoding="utf-8").splitlines()


def sst2() -> Counts:
    counts = {}
    for split in ("train", "dev", "test"):
        rows = [line.rpartition("\t") for line in lines(Path(f"sentiment/sst2/{split}.tsv"))]
        classes = Counter("positive" if label == "1" else "negative" for _, _, label in rows)
        counts[split] = {"examples": len(rows), "steps": sum(len(text.split()) for text, _, _ in rows)}
        counts[split] |= {"classes": classes}
    return counts


def emotion() -> Counts:
    folder = Path("sentiment/tweeteval_emotion")
    names = dict(line.split("\t") for line in lines(folder / "mapping.txt"))
    files = {"train": "train", "dev": "val", "test": "test"}
    labels = {split: lines(folder / f"{name}_labels.txt") for split, name in files.items()}
    return {split: {"examples": len(of), "classes": Counter(names[n] for n in of)} for split, of in labels.items()}


def sentences(folder: str, **files: str) -> Counts:
    counts = {}
    for split, name in files.items():
        text = (DATA / folder / name).read_text(encoding="utf-8").replace("\r", "")
        words = [line.split("\t") for line in text.split("\n") if line.strip()]
        blocks = re.split(r"\n[ \t]*(?:\n[ \t]*)+", text.strip())
        spans = Counter(tag.partition("-")[2].strip() for _, tag in words if tag.startswith("B-"))
        counts[split] = {"examples": len(blocks), "steps": len(words), "classes": spans}
    return counts


def names() -> Counts:
    counts = {split: Counter[str]() for split in ("train", "dev", "test")}
    for path in sorted((DATA / "generation/names").glob("*.txt")):
        known = list(
            dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
        )
        for position in range(len(known)):
            counts["test" if position % 10 == 9 else "dev" if position % 10 == 8 else "train"]["all"] += 1
    return {split: {"examples": count["all"]} for split, count in counts.items()}


def shakespeare() -> Counts:
    return {"all": {"steps": len((DATA / "char_lm/tinyshakespeare/input.txt").read_text(encoding="utf-8"))}}


def splice() -> Counts:
    rows = [line.split(",") for line in lines(Path("genome/splice_junction/splice.data")) if line.strip()]
    steps = sum(len(row[2].strip()) for row in rows)
    return {"all": {"examples": len(rows), "steps": steps, "classes": Counter(row[0].strip() for row in rows)}}


def enhancers(*kinds: tuple[str, str]) -> Counts:
    classes: dict[str, Counter[str]] = {"train+dev": Counter(), "test": Counter()}
    for split, letter in (("train+dev", "B"), ("test", "I")):
        for kind, label in kinds:
            path = Path(f"genome/enhancers/{letter}_{kind}Enhancer.txt")
            classes[split][label] += sum(line.startswith(">") for line in lines(path))
    return {split: {"examples": sum(count.values()), "classes": count} for split, count in classes.items()}


def members(path: str) -> list[str]:
    with zipfile.ZipFile(DATA / path) as archive:
        return [name for name in archive.namelist() if name.endswith(".wav")]


def commands() -> Counts:
    folders = {"training": "train", "validation": "dev", "testing": "test"}
    parts = [name.split("/")[-3:] for name in members("speech/speech_commands_v1_3words/speech_commands_v1_3words.zip")]
    return by_split((folders[split], label) for split, label, _ in parts)


def digits(split_of: Callable[[str, int], str]) -> Counts:
    found = [
        re.fullmatch(r"recordings/(\d)_([a-z]+)_(\d+)\.wav", name) for name in members("speech/fsdd/recordings.zip")
    ]
    assert all(found)
    return by_split((split_of(match[2], int(match[3])), match[1]) for match in found if match)


def by_split(pairs: Any) -> Counts:
    classes: dict[str, Counter[str]] = {}
    for split, label in pairs:
        classes.setdefault(split, Counter())[label] += 1
    return {split: {"examples": sum(count.values()), "classes": count} for split, count in classes.items()}


def multi30k() -> Counts:
    files = {"train": "train", "dev": "val", "test": "test_2016_flickr"}
    paths = {split: DATA / f"translation/multi30k/{name}.de.gz" for split, name in files.items()}
    return {
        split: {"examples": gzip.decompress(path.read_bytes()).decode("utf-8").rstrip("\n").count("\n") + 1}
        for split, path in paths.items()
    }


def archive(folder: str, name: str) -> Counts:
    """Cases of `.ts` files, whose steps are the numbers of a channel."""
    counts = {}
    for splits, part in (("train+dev", "TRAIN"), ("test", "TEST")):
        rows = [line.split(":") for line in lines(Path(f"{folder}/{name}_{part}.ts")) if line[:1] not in "@#"]
        counts[splits] = {
            "examples": len(rows),
            "steps": sum(row[0].count(",") + 1 for row in rows),
            "classes": Counter(row[-1] for row in rows),
        }
    return counts


def mnist() -> Counts:
    labels = gzip.decompress((DATA / "sequential_image/mnist_t10k/t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    bounds = {"train": (0, 7200), "dev": (7200, 8000), "test": (8000, 10_000)}
    return {
        split: {"examples": end - start, "steps": 28 * (end - start), "classes": Counter(map(str, labels[start:end]))}
        for split, (start, end) in bounds.items()
    }


def optdigits() -> Counts:
    counts = {}
    for splits, name in (("train+dev", "tra"), ("test", "tes")):
        labels = [line.rpartition(",")[2] for line in lines(Path(f"sequential_image/optdigits/optdigits.{name}"))]
        counts[splits] = {"examples": len(labels), "steps": 8 * len(labels), "classes": Counter(labels)}
    return counts


def omniglot() -> Counts:
    counts: Counts = {split: {"examples": 0, "classes": Counter()} for split in ("train", "dev", "test")}
    with zipfile.ZipFile(DATA / "handwriting/omniglot_strokes/strokes_background_small1.zip") as archive:
        for name in archive.namelist():
            match = re.fullmatch(r"strokes_background_small1/(.*)/\d+_(\d\d)\.txt", name)
            if match:
                of = counts["test" if int(match[2]) > 15 else "dev" if int(match[2]) > 13 else "train"]
                of["examples"] += 1
                of["classes"][match[1]] += 1
    return counts


def packed(path: str) -> list[str]:
    return gzip.decompress((DATA / path).read_bytes()).decode("utf-8").splitlines()


def atis() -> Counts:
    counts = {}
    for split, name in (("train", "train"), ("dev", "valid"), ("test", "test")):
        rows = packed(f"joint/atis/{name}/seq.in.gz")
        classes = Counter(packed(f"joint/atis/{name}/label.gz"))
        known = {
            kind: count for kind, count in classes.items() if split == "train" or kind in counts["train"]["classes"]
        }
        unseen = {"<unseen>": count} if (count := sum(classes.values()) - sum(known.values())) else {}
        counts[split] = {"examples": len(rows), "steps": sum(len(row.split()) for row in rows)}
        counts[split] |= {"classes": Counter(known | unseen)}
    return counts


def conll2000() -> Counts:
    counts = {}
    for splits, name in (("train+dev", "train"), ("test", "test")):
        rows = packed(f"tagging/conll2000/{name}.txt.gz")
        words = [row.split() for row in rows if row.strip()]
        spans = Counter(tag[2:] for _, _, tag in words if tag.startswith("B-"))
        examples = sum(1 for before, row in zip(["", *rows], rows, strict=False) if row.strip() and not before.strip())
        counts[splits] = {"examples": examples, "steps": len(words), "classes": spans}
    return counts


def beauty() -> Counts:
    items = [len(row.split()) - 1 for row in packed("session/beauty/Beauty.txt.gz")]
    return {split: {"examples": len(items)} for split in ("train", "dev", "test")}


def sessions(folder: str) -> Counts:
    splits = {"train+dev": "train", "test": "test"}
    return {of: {"examples": len(packed(f"session/{folder}/{name}.txt.gz"))} for of, name in splits.items()}


def bases() -> Counts:
    """The last tenth is test, and of the rest the last fiftieth dev; both strands of train are read."""
    rest = 4_641_652 - 464_166
    dev = int(rest * 0.02)
    return {"train": {"examples": 2, "steps": 2 * (rest - dev)}, "dev": {"steps": dev}, "test": {"steps": 464_166}}


def proteins() -> Counts:
    structures: dict[str, str] = {}
    for row in csv.DictReader(packed("protein/cb513/CB513.csv.gz")):
        pairs = zip(row["dssp3"], row["cb513_mask"].split(), strict=True)
        shown = "".join(letter if float(mark) else "-" for letter, mark in pairs)
        before = structures.get(row["input"], "-" * len(shown))
        structures[row["input"]] = "".join(b if a == "-" else a for a, b in zip(before, shown, strict=True))
    classes = Counter("".join(structures.values()).replace("-", ""))
    return {"all": {"examples": len(structures), "steps": sum(map(len, structures)), "classes": classes}}


def words(folder: str, pattern: str, *kinds: tuple[str, str]) -> Counts:
    paths = {split: sorted((DATA / folder).glob(pattern.format(kind))) for split, kind in kinds}
    return {split: {"examples": sum(len(packed(str(p.relative_to(DATA)))) for p in of)} for split, of in paths.items()}


def forms(language: str) -> Counts:
    kinds = ("train", "trn"), ("dev", "dev"), ("test", "tst")
    return words("inflection/sigmorphon2020", f"{language}.{{}}.gz", *kinds)


def chorales() -> Counts:
    pieces = json.loads("".join(packed("generation/jsb_chorales/jsb-chorales-quarter.json.gz")))
    moves = [
        sum(all(21 <= pitch + shift <= 108 for step in piece for pitch in step) for shift in range(-5, 6))
        for piece in pieces["train"]
    ]
    steps = sum(count * len(piece) for count, piece in zip(moves, pieces["train"], strict=True))
    counts: Counts = {"train": {"examples": sum(moves), "steps": steps}}
    for split, name in (("dev", "valid"), ("test", "test")):
        counts[split] = {"examples": len(pieces[name]), "steps": sum(map(len, pieces[name]))}
    return counts


def pendigits() -> Counts:
    counts = {}
    for splits, name in (("train+dev", "tra"), ("test", "tes")):
        labels = [line.rpartition(",")[2] for line in lines(Path(f"handwriting/pendigits/pendigits.{name}"))]
        counts[splits] = {"examples": len(labels), "steps": 8 * len(labels), "classes": Counter(labels)}
    return counts


def entities() -> Counts:
    return sentences("ner/wnut17", train="wnut17train.conll", dev="emerging.dev.conll", test="emerging.test.annotated")


BY_INDEX = ("test", "dev", "train")
PUBLISHED: dict[str, Callable[[], Counts]] = {
    "sentiment-sst2": sst2,
    "sentiment-sst2-vectors": sst2,
    "sentiment-emotion": emotion,
    "sentiment-emotion-vectors": emotion,
    "ner-ncbi": lambda: sentences("ner/ncbi_disease", train="train.tsv", dev="devel.tsv", test="test.tsv"),
    "ner-wnut17": entities,
    "ner-wnut17-vectors": entities,
    "names-languages": names,
    "charlm-shakespeare": shakespeare,
    "chunks": conll2000,
    "chunks-vectors": conll2000,
    "g2p": lambda: words("g2p/sigmorphon2020", "{}/*.tsv.gz", ("train", "train"), ("dev", "dev"), ("test", "test")),
    "inflection": lambda: forms("tgl"),
    "inflection-estonian": lambda: forms("est"),
    "inflection-old-english": lambda: forms("ang"),
    "intent-slots": atis,
    "music-jsb": chorales,
    "next-item-beauty": beauty,
    "next-item-yoochoose": lambda: sessions("yoochoose1_64"),
    "next-item-diginetica": lambda: sessions("diginetica"),
    "protein-structure": proteins,
    "genome-bases": bases,
    "genome-splice": splice,
    "genome-enhancers": lambda: enhancers(("Strong", "enhancer"), ("Weak", "enhancer"), ("Non", "none")),
    "genome-enhancers-strength": lambda: enhancers(("Strong", "strong"), ("Weak", "weak")),
    "handwriting": lambda: {"train": {"examples": 2800}, "dev": {"examples": 350}, "test": {"examples": 350}},
    "handwriting-kanji": lambda: {"train": {"examples": 10_000}, "dev": {"examples": 600}, "test": {"examples": 500}},
    "images-mnist-rows": mnist,
    "images-optdigits": optdigits,
    "sensor-vowels": lambda: archive("sensor/japanese_vowels", "JapaneseVowels"),
    "sensor-motions": lambda: archive("sensor/basic_motions", "BasicMotions"),
    "speech-commands": commands,
    "speech-digits": lambda: digits(lambda speaker, index: BY_INDEX[min(index // 5, 2)]),
    "speech-digits-speaker": lambda: digits(
        lambda speaker, index: "test" if speaker == "theo" else "dev" if 5 <= index <= 9 else "train"
    ),
    "sensor-cmapss": lambda: {"train": {"examples": 80}, "dev": {"examples": 100}, "test": {"examples": 100}},
    "series-etth1": lambda: {"all": {"examples": 21}},
    "series-exchange": lambda: {"all": {"examples": 24}},
    "series-hospital": lambda: {"all": {"examples": 3 * 767}},
    "series-tourism": lambda: {"all": {"examples": 3 * 366}},
    "series-m4-hourly": lambda: {"all": {"examples": 1242}},
    "series-m4-weekly": lambda: {"all": {"examples": 3 * 359}},
    "strokes-omniglot": omniglot,
    "strokes-pendigits": pendigits,
    "translation-multi30k": multi30k,
}
OF_NUMBERS = ("adding", "handwriting", "images", "music", "sensor", "series", "speech", "strokes")
"""Their steps are numbers, of which none is unknown."""
WARNED = ("chunks", "chunks-vectors", "intent-slots")
"""Of these, dev or test have classes that train has not, or too few of them."""
ALL = sorted(bundled.names())
GENERATED = (
    "adding",
    "charlm",
    "copy",
    "genome",
    "joint",
    "joint-ner",
    "listops",
    "names",
    "ner",
    "sentiment",
    "speech",
    "translation",
)
OTHERS = ("joint-sentiment", "speech-digit-strings")
"""Their data are those of others that are counted, read together or joined to strings."""


def params(known: Any, *more: pytest.MarkDecorator) -> list[Any]:
    audio = {name: [needs_audio] if name.startswith("speech") else [] for name in known}
    return [pytest.param(name, marks=[*more, *audio[name]]) for name in known]


def test_every_recipe_is_looked_at() -> None:
    assert sorted({*PUBLISHED, *GENERATED, *OTHERS}) == ALL


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("name", params(PUBLISHED))
def test_published_data_are_counted_right(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path))
    (facts,) = told(name, "--json").values()
    for group, expected in PUBLISHED[name]().items():
        splits = list(facts["splits"]) if group == "all" else group.split("+")
        reports = [facts["splits"][split] for split in splits]
        for key in ("examples", "steps"):
            if key in expected:
                assert sum(report[key] for report in reports) == expected[key], (group, key)
        classes = sum((Counter(report["classes"]) for report in reports), Counter())
        assert expected.get("classes", classes) == classes
    assert all(report["reading"]["split_rules"] for report in facts["splits"].values())
    assert (facts["warnings"] != []) == (name in WARNED)


@pytest.mark.slow
@pytest.mark.parametrize("name", params(GENERATED))
def test_generated_data_have_the_sizes_of_the_recipe(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path))
    for entry, facts in zip(recipe.load(name).tasks.values(), told(name, "--json").values(), strict=True):
        sizes = entry.options.get("sizes")
        if sizes is not None:
            assert [report["examples"] for report in facts["splits"].values()] == list(sizes)
        for report in facts["splits"].values():
            if report["classes"] and report["class_unit"] == "examples":
                assert sum(report["classes"].values()) == report["examples"]
        assert facts["warnings"] == []


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("name", params(ALL))
def test_the_card_of_a_recipe_fits_a_terminal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path))
    shown = told(name).splitlines()
    assert max(map(len, shown)) <= 80
    for task in recipe.load(name).tasks:
        assert sum(line.split()[:4] == [task, "train", "dev", "test"] for line in shown) == 1
    for part in ("examples", "split"):
        assert any(line.startswith(part) for line in shown), part
    if not any(name.startswith(kind) for kind in OF_NUMBERS):
        assert any(line.startswith("unknown") for line in shown)
