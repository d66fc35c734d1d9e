"""The task `sentiment`: the generator, the published data, the user's files."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from seqkit_sentiment import generator, sentiment
from seqkit_sentiment.sources import SST2, TWEETEVAL_EMOTION
from seqkit_sentiment.tweets import tokenise

from seqkit import DataError, Example, Label, Labels, Limit, Prediction, Tokens, UsageError, Words
from seqkit.data.store import prepare
from tests.helpers.data import needs_data

GENERATED = {split: list(generator.reviews(split, 2000, seed=1)) for split in ("train", "dev", "test")}


def verdict(text: str) -> str:
    """The verdict of a text by the rules of the generator's grammar."""
    (judgement,) = [s for s in text.removesuffix(" .").split(" . ") if counts(s)]
    others = "|".join(generator.OTHERS)
    judgement = re.sub(rf" , which (?:{others}) found \w+ ,", "", judgement)
    judgement = re.sub(rf" , (?:{'|'.join(generator.FILLERS)}) ,", "", judgement)
    judgement = judgement.replace("not only", "both").replace("but also", "and").replace("anything but", "far from")
    if judgement.startswith("although "):
        judgement = judgement.split(" , ")[1]
    judgement = judgement.split(" although ")[0].split(" but ")[-1]
    signs = {clause_sign(clause) for clause in re.split(" and (?=i |it |nobody |the )", judgement)}
    (sign,) = signs
    return generator.POSITIVE if sign > 0 else generator.NEGATIVE


def counts(sentence: str) -> bool:
    """Whether a sentence counts: it praises or blames, and is not about the popcorn or by the critics."""
    if not set(sentence.split()) & {*generator.PRAISE, *generator.BLAME}:
        return False
    return not sentence.startswith((*generator.OTHERS, *(f"the {topic} " for topic in generator.OFF_TOPIC)))


def clause_sign(clause: str) -> int:
    negations = len(re.findall(r"\b(?:not|never|hardly|nobody|no means|far from|failed|doubt)\b", clause))
    words = set(clause.split())
    praise, blame = words & set(generator.PRAISE), words & set(generator.BLAME)
    assert bool(praise) != bool(blame), clause
    return (1 if praise else -1) * (-1) ** negations


class TestGenerator:
    def test_the_verdict_follows_from_the_words_by_the_stated_rules(self) -> None:
        for text, label in GENERATED["train"]:
            assert verdict(text) == label, text

    def test_known_sentences(self) -> None:
        assert verdict("the plot was dull but the cast was brilliant .") == "positive"
        assert verdict("i do not think that the plot was not funny .") == "positive"
        assert verdict("the plot , which my sister found brilliant , was by no means clever .") == "negative"

    def test_the_same_reviews_each_time_and_a_shorter_split_begins_a_longer_one(self) -> None:
        assert list(generator.reviews("dev", 300, seed=1)) == GENERATED["dev"][:300]
        assert list(generator.reviews("dev", 300, seed=2)) != GENERATED["dev"][:300]
        # Pinned: the scores in the recipe's header are of these reviews.
        assert GENERATED["train"][4] == PINNED

    def test_no_review_is_twice_in_a_split_or_in_two_splits(self) -> None:
        texts = [text for split in GENERATED.values() for text, _ in split]
        assert len(set(texts)) == len(texts) == 6000

    def test_splits_are_disjoint_for_different_seeds_too(self) -> None:
        other = {text for text, _ in generator.reviews("test", 2000, seed=2)}
        assert not other & {text for text, _ in GENERATED["train"] + GENERATED["dev"]}

    def test_verdicts_are_balanced(self) -> None:
        share = Counter(label for _, label in GENERATED["train"])["positive"] / 2000
        assert 0.45 < share < 0.55

    def test_a_bag_of_words_cannot_tell(self) -> None:
        """Counts of words, and even of pairs of words, stay far from the perfect score that the rules allow."""
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.naive_bayes import MultinomialNB

        train = list(generator.reviews("train", 8000, seed=1))
        for longest in (1, 2):
            bag = CountVectorizer(ngram_range=(1, longest), token_pattern=r"\S+")
            x, y = bag.fit_transform([text for text, _ in train]), [label for _, label in train]
            test = bag.transform([text for text, _ in GENERATED["test"]])
            truth = [label for _, label in GENERATED["test"]]
            for model in (LogisticRegression(max_iter=2000), MultinomialNB()):
                assert model.fit(x, y).score(test, truth) <= 0.70


PINNED = ("it is true that the film turned out to be brilliant .", "positive")


class TestTask:
    def test_what_it_is(self) -> None:
        task = sentiment(
            unit="characters", lower=True, min_count=2, max_size=50, drop=0.1, max_length=40, truncate="tail"
        )
        assert task.input == Tokens("characters", lower=True, min_count=2, max_size=50, drop=0.1)
        assert isinstance(task.target, Label)
        assert (task.head, task.best, task.limit) == ("classify", "accuracy", Limit(40, "tail"))

    def test_scores(self) -> None:
        task = sentiment(best="macro_f1")
        assert task.metric is not None
        scores = task.metric([Prediction("a"), Prediction("a"), Prediction("b")], ["a", "b", "b"])
        assert scores == {"accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx(2 / 3)}
        assert task.best == "macro_f1"

    def test_max_size_is_the_number_of_pieces_for_pieces(self) -> None:
        assert sentiment(unit="pieces", max_size=500).input == Tokens("pieces", pieces=500)

    def test_generated_reviews_by_default_as_many_as_asked_for(self) -> None:
        task = sentiment(sizes=(30, 20, 10))
        read = {split: list(task.read(split)) for split in task.splits}
        assert {split: len(examples) for split, examples in read.items()} == {"train": 30, "dev": 20, "test": 10}
        text, verdict = GENERATED["dev"][0]
        assert read["dev"][0] == Example(text, verdict, "generated dev:1")

    def test_imports_and_calls_without_torch(self) -> None:
        code = "import sys, seqkit_sentiment; seqkit_sentiment.sentiment(); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestTweets:
    @pytest.mark.parametrize(
        ("tweet", "tokens"),
        [
            ("I &amp; you\\nLOVE it", "i & you love it"),
            ("#Happy_day!", "# happy _ day !"),
            ("so gooood!!!!! ... ?!", "so good !! .. ?!"),
            ("don\u2019t @User http://t.co/X1", "don't @user http://t.co/x1"),
            ("\U0001f602\U0001f602 \u2764\ufe0f", "\U0001f602 \U0001f602 \u2764"),
            (":-) ;D foo:path", ":-) ;d foo : path"),
            ("caf\xe9 2018, na\xefve", "caf\xe9 2018 , na\xefve"),
        ],
    )
    def test_tokens(self, tweet: str, tokens: str) -> None:
        assert tokenise(tweet) == tokens

    @pytest.mark.parametrize(
        "word",
        [
            "\u092c\u0939\u0941\u0924",  # Devanagari, with a vowel sign
            "\u0641\u0650\u0644\u0652\u092e",  # marks after letters of two scripts
            "\u0627\u0644\u0639\u064e\u0631\u064e\u0628\u0650\u064a\u0651\u064e\u0629",  # Arabic with all vowels
            "cafe\u0301",  # a decomposed accent
            "\u0e19\u0e49\u0e33",  # Thai, with a tone mark
            "\u0dc1\u0dca\u200d\u0dbb\u0dd3",  # Sinhala, with a joiner
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with a non-joiner
            "don't\u0301",
            "@\u0915\u093f_",
        ],
    )
    def test_marks_and_joiners_stay_in_their_word(self, word: str) -> None:
        assert tokenise(f"{word} #{word}, {word}!") == f"{word} # {word} , {word} !"

    def test_joiners_between_emoji_separate_them(self) -> None:
        assert tokenise("\U0001f469\u200d\U0001f467a\u200d b") == "\U0001f469 \U0001f467 a b"
        assert tokenise("1\ufe0f\u20e3") == "1\u20e3"

    def test_nothing_but_white_space_is_lost(self) -> None:
        signs = "".join(map(chr, range(33, 127)))
        assert tokenise(signs).replace(" ", "") == signs.lower()

    def test_a_line_to_predict_is_prepared_like_the_training_data(self, tmp_path: Path) -> None:
        write(tmp_path / "train.tsv", "So GOOD!\tyes\n")
        task = sentiment(folder=tmp_path, tokenizer="tweets", dev=None, test=None, held_out=0.0)
        assert task.parse is not None
        assert [example.input for example in task.read("train")] == [task.parse("So GOOD!")] == ["so good !"]


class TestFolder:
    ROWS = (("good film", "pos"), ("bad, bad film", "neg"))

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize(
        ("kind", "content", "options"),
        [
            ("tsv", "good film\tpos\nbad, bad film\tneg\n", {}),
            ("tsv", "id\tlabel\ttext\n1\tpos\tgood film\n2\tneg\tbad, bad film\n", {"text": "text", "label": "label"}),
            ("tsv", "id\tlabel\ttext\n1\tpos\tgood film\n2\tneg\tbad, bad film\n", {"text": 3, "header": True}),
            ("csv", 'good film,pos\r\n"bad, bad film",neg', {}),
            ("csv", 'y,x\npos,good film\nneg,"bad, bad film"\n', {"text": "x", "label": "y"}),
            ("jsonl", '{"text": "good film", "label": "pos"}\n{"text": "bad, bad film", "label": "neg"}\n', {}),
            (
                "jsonl",
                '{"t": "good film", "l": "pos"}\n{"t": "bad, bad film", "l": "neg"}\n',
                {"text": "t", "label": "l"},
            ),
        ],
    )
    def test_formats(self, tmp_path: Path, kind: str, content: str, options: dict[str, Any], packed: bool) -> None:
        name = f"mine.{kind}{'.gz' if packed else ''}"
        data = content.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
        task = sentiment(folder=tmp_path, train=name, dev=name, test=None, **options)
        assert task.splits == ("train", "dev")
        assert [(example.input, example.target) for example in task.read("train")] == list(self.ROWS)
        assert task.files is not None
        assert list(task.files("dev")) == [tmp_path / name]

    def test_whole_numbers_in_json_are_labels(self, tmp_path: Path) -> None:
        write(tmp_path / "train.jsonl", '{"text": "a b", "label": 0}\n{"text": ["c", "d"], "label": 1}\n')
        task = sentiment(folder=tmp_path, train="train.jsonl", dev=None, test=None, held_out=0.0)
        assert [(example.input, example.target) for example in task.read("train")] == [("a b", "0"), (["c", "d"], "1")]

    def test_blank_lines_are_left_out_only_when_asked(self, tmp_path: Path) -> None:
        folder = write_splits(tmp_path, "a\tx\n\nb\ty\n")
        with pytest.raises(DataError, match=r"train\.tsv:2: has 1 columns, but line 1 has 2"):
            list(sentiment(folder=folder).read("train"))
        assert len(list(sentiment(folder=folder, skip_blank=True).read("train"))) == 2

    def test_building_the_task_reads_nothing(self, tmp_path: Path) -> None:
        """A saved model has its recipe, and must be able to predict without the data."""
        assert sentiment(folder=tmp_path / "absent").splits == ("train", "dev", "test")


class TestHeldOut:
    @staticmethod
    def lines(count: int) -> str:
        return "".join(f"text number {i} \t{'ab'[i % 2]}\n" for i in range(count))

    def test_dev_is_a_part_of_train_and_the_rest_is_train(self, tmp_path: Path) -> None:
        write(tmp_path / "train.tsv", self.lines(2000))
        task = sentiment(folder=tmp_path, dev=None, test=None, held_out=0.2)
        ids = {split: [example.id for example in task.read(split)] for split in task.splits}
        assert sorted(ids["train"] + ids["dev"]) == sorted(f"train.tsv:{i}" for i in range(1, 2001))
        assert 0.17 < len(ids["dev"]) / 2000 < 0.23
        assert task.about["dev"] == "0.2 of train.tsv, chosen by a hash of the text"

    def test_it_does_not_depend_on_the_other_lines_or_the_label(self, tmp_path: Path) -> None:
        write(tmp_path / "train.tsv", self.lines(100))
        write(tmp_path / "more.tsv", self.lines(300).replace("\ta", "\tc"))
        options: dict[str, Any] = {"folder": tmp_path, "dev": None, "test": None, "held_out": 0.3}
        few = {example.input for example in sentiment(**options).read("dev")}
        many = {example.input for example in sentiment(**options, train="more.tsv").read("dev")}
        assert few < many

    def test_repeats_are_in_one_split(self, tmp_path: Path) -> None:
        write(tmp_path / "train.tsv", self.lines(200) + self.lines(200).replace(" \t", "\t"))
        task = sentiment(folder=tmp_path, dev=None, test=None, held_out=0.3)
        train, dev = ({example.input.strip() for example in task.read(split)} for split in ("train", "dev"))
        assert train
        assert dev
        assert not train & dev

    def test_no_share_no_dev(self, tmp_path: Path) -> None:
        write(tmp_path / "train.tsv", self.lines(50))
        task = sentiment(folder=tmp_path, dev=None, test=None, held_out=0.0)
        assert task.splits == ("train",)
        assert len(list(task.read("train"))) == 50


class TestMistakes:
    """All problems with the user's data are reported with their location."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"separator": "::"}, "separator: '::' should be one character"),
            ({"split_by": "group"}, "name the column of the group"),
            ({"best": "micro_f1"}, "micro_f1 is a score of several labels"),
            ({"text": "review", "header": False}, r"text: 'review' is a name, but header: false"),
            ({"train": "train.jsonl", "label": 2}, r"label: 2: JSON lines have keys"),
            ({"train": "train.jsonl", "header": True}, r"header: JSON lines have keys"),
        ],
    )
    def test_options(self, tmp_path: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            sentiment(folder=tmp_path, **options)

    @pytest.mark.parametrize(
        ("split", "hint"),
        [("train", "names the file"), ("dev", "with null, a share of train"), ("test", "with null, there is no test")],
    )
    def test_missing_file(self, tmp_path: Path, split: str, hint: str) -> None:
        with pytest.raises(DataError, match=rf"absent\.tsv: there is no such file; .*{hint}"):
            list(sentiment(folder=tmp_path, **{split: "absent.tsv"}).read(split))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("content", "options", "message"),
        [
            ("a\tx\nb\n", {}, r"train\.tsv:2: has 1 columns, but line 1 has 2"),
            ("a\tx\nb\ty\tz\n", {}, r"train\.tsv:2: has 3 columns, but line 1 has 2"),
            ("a\tx\n", {"label": 3}, r"train\.tsv:1: has 2 columns, so there is no column 3"),
            ("text\tlabel\na\tx\n", {"text": "txt"}, r"train\.tsv:1: no column 'txt'; did you mean 'text'\?"),
            ("a\tx\n\ty\n \ty\n", {}, r"train\.tsv:2: .*empty\n.*train\.tsv:3: .*empty"),
            ("a\tx\nb\t\n", {}, r"train\.tsv:2: .*label is empty"),
            ("", {}, r"train\.tsv: is empty"),
        ],
    )
    def test_rows(self, tmp_path: Path, content: str, options: dict[str, Any], message: str) -> None:
        task = sentiment(folder=write_splits(tmp_path, content), **options)
        with pytest.raises(DataError, match=message):
            prepare(task, key="test", cache=tmp_path / "cache")

    def test_a_label_that_training_has_not_seen(self, tmp_path: Path) -> None:
        folder = write_splits(tmp_path, "a\tx\nb\ty\n")
        write(folder / "dev.tsv", "a\tx\nb\tz\n")
        with pytest.raises(DataError, match=r"dev\.tsv:2: .*label 'z' was not seen in training; known labels: x, y"):
            prepare(sentiment(folder=folder), key="test", cache=tmp_path / "cache")

    def test_a_label_that_is_neither_text_nor_a_whole_number(self, tmp_path: Path) -> None:
        write(tmp_path / "train.jsonl", '{"text": "a", "label": true}\n')
        task = sentiment(folder=tmp_path, train="train.jsonl", dev=None, test=None, held_out=0.0)
        with pytest.raises(DataError, match=r"train\.jsonl:1: .*label True should be text"):
            prepare(task, key="test", cache=tmp_path / "cache")

    def test_a_text_that_is_a_number(self, tmp_path: Path) -> None:
        write(tmp_path / "train.jsonl", json.dumps({"text": 3, "label": "a"}) + "\n")
        task = sentiment(folder=tmp_path, train="train.jsonl", dev=None, test=None, held_out=0.0, tokenizer="tweets")
        with pytest.raises(DataError, match=r"train\.jsonl:1: .*should be text, but is a int"):
            prepare(task, key="test", cache=tmp_path / "cache")


@pytest.mark.data
@needs_data
class TestPublished:
    def test_sst2(self) -> None:
        task = sentiment(source="sst2")
        read = {split: list(task.read(split)) for split in task.splits}
        assert {split: len(examples) for split, examples in read.items()} == {"train": 6920, "dev": 872, "test": 1821}
        positive = {split: sum(e.target == "positive" for e in examples) for split, examples in read.items()}
        assert positive == {"train": 3610, "dev": 444, "test": 909}
        assert {example.target for example in read["train"]} == {"positive", "negative"}
        assert read["test"][-1].id == "test.tsv:1821"

    def test_emotion(self) -> None:
        task = sentiment(source="tweeteval-emotion", tokenizer="tweets")
        read = {split: list(task.read(split)) for split in task.splits}
        labels = {split: Counter(example.target for example in examples) for split, examples in read.items()}
        assert labels["train"] == {"anger": 1400, "joy": 708, "optimism": 294, "sadness": 855}
        assert labels["dev"].total() == 374
        assert labels["test"] == {"anger": 558, "joy": 358, "optimism": 123, "sadness": 382}
        assert read["dev"][0].id == "val_text.txt:1"
        assert not any("&amp;" in example.input or "\\n" in example.input for example in read["train"])

    @pytest.mark.parametrize("dataset", [SST2, TWEETEVAL_EMOTION], ids=lambda dataset: dataset.name)
    def test_files_are_those_that_are_pinned(self, dataset: Any) -> None:
        source = "sst2" if dataset is SST2 else "tweeteval-emotion"
        task = sentiment(source=source)  # type: ignore[arg-type]
        assert task.files is not None
        files = {file for split in task.splits for file in task.files(split)}
        assert {file.name for file in files} == {file.path for file in dataset.files}
        assert task.about["licence"] == dataset.licence


def write_splits(folder: Path, train: str) -> Path:
    """A folder with this for train, and two good lines each for dev and test."""
    write(folder / "train.tsv", train)
    for split in ("dev", "test"):
        write(folder / f"{split}.tsv", "text\tlabel\na\tx\n" if train.startswith("text\t") else "a\tx\na\tx\n")
    return folder


def write(file: Path, text: str) -> None:
    file.write_bytes(text.encode("utf-8"))


class TestFormats:
    """Other files than tables: parallel files, a folder for each class, several labels, one file for all splits."""

    def test_parallel_files(self, tmp_path: Path) -> None:
        write(tmp_path / "seq.in", "flights to boston\nfares\n")
        write(tmp_path / "label.gz", "")
        (tmp_path / "label.gz").write_bytes(gzip.compress(b"flight\nfare\n"))
        task = sentiment(folder=tmp_path, train="seq.in|label.gz", dev=None, test=None, held_out=0.0)
        assert [(e.input, e.target) for e in task.read("train")] == [("flights to boston", "flight"), ("fares", "fare")]
        assert task.files is not None
        assert [path.name for path in task.files("train")] == ["seq.in", "label.gz"]

    def test_a_folder_for_each_class(self, tmp_path: Path) -> None:
        for name in ("train/pos/1.txt", "train/neg/1.txt", "test/neg/2.txt", "dev/pos/3.txt"):
            (tmp_path / name).parent.mkdir(parents=True)
            write(tmp_path / name, f"text of {name}")
        task = sentiment(folder=tmp_path, train="train", dev="dev", test="test")
        assert [(e.input, e.target) for e in task.read("train")] == [
            ("text of train/neg/1.txt", "neg"),
            ("text of train/pos/1.txt", "pos"),
        ]
        assert task.files is not None
        assert task.read_file is not None
        assert [path.name for path in task.files("test")] == ["2.txt"]
        assert [e.target for e in task.read_file(tmp_path / "test", None, True)] == ["neg"]

    @pytest.mark.parametrize(("cell", "labels"), [("a;b", ["a", "b"]), (" a ; b ", ["a", "b"]), ("a", ["a"]), ("", [])])
    def test_several_labels_in_a_cell(self, tmp_path: Path, cell: str, labels: list[str]) -> None:
        write(tmp_path / "train.tsv", f"text\t{cell}\n")
        task = sentiment(folder=tmp_path, dev=None, test=None, held_out=0.0, label_separator=";", best="micro_f1")
        assert [e.target for e in task.read("train")] == [labels]
        assert isinstance(task.target, Labels)

    def test_one_file_is_split_by_groups(self, tmp_path: Path) -> None:
        lines = "".join(f"text {number},x,speaker {number % 5}\n" for number in range(50))
        write(tmp_path / "all.csv", "body,mood,who\n" + lines)
        task = sentiment(
            folder=tmp_path,
            train="all.csv",
            dev=None,
            test=None,
            held_out_test=0.2,
            split_by="group",
            group="who",
            text="body",
            label="mood",
        )
        assert task.splits == ("train", "dev", "test")
        splits = {split: {int(str(e.input).split()[1]) % 5 for e in task.read(split)} for split in task.splits}
        assert {split: len(groups) for split, groups in splits.items()} == {"train": 3, "dev": 1, "test": 1}
        assert len(set.union(*splits.values())) == 5


def test_words_start_from_vectors(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("the 1 2\nfilm 3 4\nunseen 5 6\n")
    task = sentiment(sizes=(40, 10, 10), vectors=tmp_path / "v.txt", tune=False, lower=True)
    prepared = prepare(task, key={"test": 1}, cache=tmp_path)
    field = prepared.input
    assert isinstance(field, Words)
    layer: Any = field.layer(6)
    layer.start()
    words = layer.look_up(torch.from_numpy(field.encode("film unseen")[:, 0].astype("int64")))
    assert words.tolist() == [[3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize("options", [{"unit": "characters"}, {"max_size": 100}])
def test_vectors_are_those_of_words(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="vectors are those of words"):
        sentiment(vectors="glove-6b-50d", **options)
