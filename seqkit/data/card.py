"""The card of a task's data: what was read, how it is divided, what was left out, and what looks wrong.

A card is a pure value: it is made of the reports that were stored with the splits, so that data that was stored
earlier has the same card. `seqkit run` and `seqkit data` tell it; `seqkit.data.card_table` puts it in words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from seqkit.data.store import SplitReport
from seqkit.data.task_data import TaskData
from seqkit.errors import shortened
from seqkit.fields import NextValues
from seqkit.fields.labels import NO_LABEL
from seqkit.metrics import lower_is_better, score_name
from seqkit.reading import Columns
from seqkit.score_names import baselines
from seqkit.types import JSON

MANY_CLASSES: Final = 100
"""So many classes are no classes, if there are fewer than two examples of each."""

FEW_REPEATS: Final = 5
"""A column of inputs is one of few values if each occurs so many times on average."""

_SHOWN: Final = 5
"""Names that are shown of a list."""

_HEADER_WORDS: Final = frozenset((
    "audio", "author", "category", "class", "classes", "comment", "content", "date", "document", "emotion",
    "entity", "features", "file", "filename", "form", "gold", "id", "idx", "index", "input", "input_text", "intent",
    "key", "kind", "label", "labels", "language", "lemma", "name", "number", "output", "path", "phones", "phrase",
    "polarity", "pronunciation", "review", "score", "sentence", "sentiment", "seq", "sequence", "source", "speaker",
    "split", "src", "stars", "tag", "tags", "target", "target_text", "text", "title", "topic", "transcript",
    "transcription", "translation", "tweet", "type", "utterance", "value", "wav", "word", "words",
))  # fmt: skip
"""What columns are often called."""

_NOT_LETTERS: Final = re.compile(r"[\W\d_]+")


@final
@dataclass(frozen=True, slots=True)
class DataWarning:
    """Something that looks wrong.

    Attributes:
        code: what it is, for programs: "header-as-example".
        sentence: what it is and what to do, for people.
        is_fatal: nothing can be learned from such data: a run refuses it even if it is not strict.
    """

    code: str
    sentence: str
    is_fatal: bool = False

    def facts(self) -> JSON:
        """As JSON."""
        return {"code": self.code, "sentence": self.sentence}


@final
@dataclass(frozen=True)
class DataCard:
    """What is known of a task's data.

    Attributes:
        task: the task's name in the recipe.
        splits: the report of each split.
        files: split, name, bytes and SHA-256 of each file, if the task names its files.
        about: facts that the task gives: data set, licence.
        notes: what else the task, and those who stored its data, have to say.
        warnings: what looks wrong.
        windows: how many each split has, where examples are read in windows: forecasts of series, parts of long inputs.
    """

    task: str
    splits: Mapping[str, SplitReport]
    files: JSON = ()
    about: Mapping[str, JSON] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[DataWarning, ...] = ()
    windows: Mapping[str, int] = field(default_factory=dict)

    def facts(self) -> JSON:
        """Everything as JSON, for `data.json` and `seqkit data --json`."""
        windows = {name: {"windows": count} for name, count in self.windows.items()}
        return {
            "about": dict(self.about),
            "files": list(self.files),
            "splits": {name: report.facts() | windows.get(name, {}) for name, report in self.splits.items()},
            "notes": list(self.notes),
            "warnings": [warning.facts() for warning in self.warnings],
        }


def make_card(data: TaskData) -> DataCard:
    """The card of a task's prepared data."""
    reports = {name: split.report for name, split in data.splits.items()}
    files, notes = data.content.get("files", ()), tuple(data.content.get("notes", ()))
    windows = {name: len(split.x) for name, split in data.splits.items()}
    if not isinstance(data.target, NextValues) and all(
        count == reports[name].examples for name, count in windows.items()
    ):
        windows = {}
    return DataCard(data.name, reports, files, dict(data.task.about), notes, find_warnings(reports), windows)


def find_warnings(splits: Mapping[str, SplitReport], *, incomplete: Collection[str] = ()) -> tuple[DataWarning, ...]:
    """Everything that looks wrong about these splits of one task.

    Args:
        splits: their reports.
        incomplete: those of which some examples could not be encoded and are not counted, so that nothing is said about
            what they lack.
    """
    complete = {name: report for name, report in splits.items() if name not in incomplete}
    return tuple(
        warning
        for find, seen in (
            (_headers, splits),
            (_swapped_columns, splits),
            (_few_classes, complete),
            (_similar_classes, splits),
            (_unknown_symbols, splits),
            (_absent_classes, complete),
        )
        for warning in find(seen)
    )


def find_result_warnings(card: DataCard, scores: Mapping[str, float], best: str = "") -> tuple[DataWarning, ...]:
    """The held-out splits on which a trained model does no better than the most frequent class of train, or than a
    baseline of its metric (`seqkit.metrics.BASELINES`).

    Args:
        card: the data of a task.
        scores: the model's, `task/split/score` to number.
        best: the score that chooses the checkpoint, as in `Task.best`, whose baselines are compared.
    """
    of_splits = {
        name: {key.split("/", 2)[2]: value for key, value in scores.items() if key.startswith(f"{card.task}/{name}/")}
        for name in card.splits
        if name != "train"
    }
    majority = [
        DataWarning("no-better-than-majority", sentence)
        for name, of_split in of_splits.items()
        if card.splits[name].classes
        for sentence in _majority(card, name, card.splits[name], of_split)
    ]
    baseline = [
        DataWarning("no-better-than-baseline", sentence)
        for name, of_split in of_splits.items()
        for sentence in _baseline(name, of_split, best)
    ]
    return (*majority, *baseline)


def _majority(card: DataCard, split: str, report: SplitReport, scores: Mapping[str, float]) -> Iterator[str]:
    train, total = card.splits["train"].classes, sum(report.classes.values())
    advice = "the model has learned nothing that a constant answer does not know; check the data, train longer, or "
    advice += "change the learning rate"
    score, span_f1 = scores.get(report.class_score), scores.get("span_f1")
    if report.class_unit == "spans" and span_f1 == 0 and total:
        yield f"{split}: span_f1 is 0: not one of {total:,} spans is found; {advice}"
    elif report.class_unit != "spans" and score is not None and train:
        common = max(train, key=lambda name: train[name])
        share = report.classes.get(common, 0) / max(1, total)
        if score <= share + 1e-12:
            constant = f"answering {shortened(common)!r} always ({share:.4f})"
            yield f"{split}: {report.class_score} {score:.4f} is no better than {constant}; {advice}"


def _baseline(split: str, scores: Mapping[str, float], best: str) -> Iterator[str]:
    """The score that chooses, if the best of its baselines is as good."""
    name, lower = score_name(best), lower_is_better(best)
    known = {base: scores[f"{name}.{base}"] for base in baselines(name, scores)} if name in scores else {}
    if not known:
        return
    base = (min if lower else max)(known, key=lambda base: known[base])
    if scores[name] >= known[base] if lower else scores[name] <= known[base]:
        advice = "the model has learned nothing that this simple answer does not know; train longer, change the "
        advice += "learning rate or the options of the task, or use the simple answer"
        yield f"{split}: {name} {scores[name]:.4f} is no better than that of {base} ({known[base]:.4f}); {advice}"


def _headers(splits: Mapping[str, SplitReport]) -> Iterator[DataWarning]:
    """First lines that were read as examples and look like the names of columns."""
    tables: dict[str, Columns] = {}
    classes: Counter[str] = Counter()
    for report in splits.values():
        tables |= {name: table for name, table in report.reading.tables.items() if not table.header}
        classes.update(report.classes)
    # Sentences of a tagged text may well begin with the same word.
    is_tagged = any(report.class_unit != "examples" for report in splits.values())
    firsts = Counter(table.first for table in tables.values() if len(table.first) > 1 and not is_tagged)
    suspects: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, table in tables.items():
        fields = [text.strip().strip("\"'") for text in table.first]
        if not fields or not all(map(_is_like_a_name, fields)):
            continue
        is_known = [any(part in _HEADER_WORDS for part in _NOT_LETTERS.split(text.casefold())) for text in fields]
        used = [is_known[column - 1] for column in table.used.values() if isinstance(column, int)]
        place = table.used.get("target")
        label = table.first[place - 1] if isinstance(place, int) else ""
        is_label_rare = (
            0
            < classes[label]
            <= len(tables)
            < min((count for other, count in classes.items() if other not in (label, NO_LABEL)), default=0)
        )
        are_names = any(sum(known) * 3 >= len(known) * 2 for known in (is_known, used) if len(known) > 1)
        if are_names or firsts[table.first] > 1 or is_label_rare:
            suspects[table.first].append(name)
    for first, names in suspects.items():
        yield DataWarning(
            "header-as-example",
            f"line 1 of {_enumerated(names)} looks like a header ({', '.join(first)}), but was read as an example; "
            "say that it is one (header: true), or delete the line",
        )


def _is_like_a_name(text: str) -> bool:
    """Whether a field could be the name of a column: short, and without numbers or sentences."""
    words = text.split()
    return len(text) <= 30 and 1 <= len(words) <= 2 and all(word[0].isalpha() for word in words)


def _swapped_columns(splits: Mapping[str, SplitReport]) -> Iterator[DataWarning]:
    """Inputs that repeat like classes, and classes that are as many as texts."""
    train = splits.get("train")
    if train is None or not train.classes or train.class_unit != "examples" or train.unknown_share > 0.5:
        return  # inputs that are mostly unknown look the same, whatever they were
    classes, examples, inputs = _occurring(train), train.examples, train.different_inputs
    advice = "check which column is the input and which the target"
    if inputs is not None and inputs < len(classes) and inputs * FEW_REPEATS <= examples:
        counts = f"{examples:,} examples have {inputs:,} different inputs and {len(classes):,} classes"
        yield DataWarning("columns-swapped", f"train: {counts}: the columns look swapped; {advice}")
    elif len(classes) >= MANY_CLASSES and examples < 2 * len(classes):
        counts = f"{examples:,} examples have {len(classes):,} classes"
        yield DataWarning("columns-swapped", f"train: {counts}, as if the target were a text; {advice}")


def _few_classes(splits: Mapping[str, SplitReport]) -> Iterator[DataWarning]:
    train = splits.get("train")
    if train is None or not train.classes:
        return
    classes = _occurring(train)
    if len(classes) == 1 and train.class_unit == "examples" and not train.classes.get(NO_LABEL):
        yield DataWarning(
            "one-class",
            f"train: every example has the class {shortened(classes[0])!r}, so there is nothing to learn; check the "
            "column or folder that gives the class, or add examples of other classes",
            is_fatal=True,
        )
    single = [name for name in classes if train.classes[name] == 1]
    if single and len(classes) > 1:
        unit = train.class_unit.removesuffix("s")
        occur = f"occurs in one {unit} only" if len(single) == 1 else f"occur in one {unit} each"
        yield DataWarning(
            "class-with-one-example",
            f"train: {_listed(single)} {occur}, which is too few to learn from and may be a slip; correct it, or add "
            f"{train.class_unit}",
        )


def _similar_classes(splits: Mapping[str, SplitReport]) -> Iterator[DataWarning]:
    """Classes whose names differ only by white space, case or Unicode normalisation."""
    alike: dict[str, dict[str, None]] = defaultdict(dict)
    for report in splits.values():
        for name in _occurring(report):
            alike[" ".join(unicodedata.normalize("NFKC", name).casefold().split())][name] = None
    for names in alike.values():
        if len(names) > 1:
            yield DataWarning(
                "similar-classes",
                f"the classes {_listed(names)} differ only by {_difference(list(names))}; if they mean the same, "
                "write them alike in the data",
            )


def _difference(names: Sequence[str]) -> str:
    """By what such names differ, in words."""
    kinds = []
    if len({re.sub(r"\S+", "x", name) for name in names}) > 1:
        kinds.append("white space")
    words = ["".join(name.split()) for name in names]
    composed = [unicodedata.normalize("NFKC", name) for name in words]
    if len(set(composed)) < len(set(words)):
        kinds.append("Unicode normalisation")
    if len({name.casefold() for name in composed}) < len(set(composed)):
        kinds.append("upper and lower case")
    return " and ".join(kinds) or "white space"


def _unknown_symbols(splits: Mapping[str, SplitReport]) -> Iterator[DataWarning]:
    for name, report in splits.items():
        # The end of a target is a symbol that is always known.
        target_symbols = max(1, report.target_steps - report.examples)
        sides = (
            (f"of the {report.unit} are", report.unknown_share),
            ("of the target's symbols are", report.target_unknown / target_symbols),
        )
        for symbols, share in sides:
            if share <= 0.5:
                continue
            advice = (
                "lower min_count, or choose another unit or tokenizer"
                if name == "train"
                else "is it the same kind of text as train, and are words divided in the same way?"
            )
            shown = "all" if share >= 1 else f"{share:.0%}"
            sentence = f"{name}: {shown} {symbols} unknown to the vocabulary; {advice}"
            yield DataWarning("mostly-unknown", sentence, is_fatal=name == "train" and share >= 1)


def _absent_classes(splits: Mapping[str, SplitReport]) -> Iterator[DataWarning]:
    """Held-out splits without examples of a class that train has."""
    train = splits.get("train")
    if train is None:
        return
    for name, report in splits.items():
        absent = [label for label in _occurring(train) if not report.classes.get(label)]
        if name != "train" and report.examples and report.classes and absent:
            yield DataWarning(
                "class-absent",
                f"{name}: has no {report.class_unit.removesuffix('s')} of {_listed(absent, 'or')}, so its scores do "
                "not tell how well these are learned; add some, or split in another way",
            )


def _occurring(report: SplitReport) -> list[str]:
    """The classes that occur, without the entry for examples that have none."""
    return [name for name, count in report.classes.items() if count and name != NO_LABEL]


def _listed(names: Iterable[str], joiner: str = "and") -> str:
    """The first of some names in quotation marks, so that white space can be seen, and how many more there are."""
    return _enumerated([repr(shortened(name)) for name in names], joiner)


def _enumerated(names: Sequence[str], joiner: str = "and") -> str:
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} {joiner} {len(names) - _SHOWN:,} more"
    return f" {joiner} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
