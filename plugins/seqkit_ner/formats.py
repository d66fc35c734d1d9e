"""Formats of files of tagged sentences other than columns: CoNLL-U, parallel files, JSON; and schemes of tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from seqkit import DataError, Example, Flaw, Problem, readers
from seqkit.readers import Line
from seqkit.reading import collect_reports, report_left_out
from seqkit.spans import Scheme, convert, fault
from seqkit_ner.options import DataScheme, Form, WordTokenizer
from seqkit_ner.tokenizer import locate_words

_RENAMED: Final[dict[str, dict[str, str]]] = {
    "bilou": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "bmes": {"B": "B", "M": "I", "E": "E", "S": "S"},
}
"""The letters of BIOES for those of schemes that say the same with other letters."""
_LETTERED: Final = re.compile("[BIELUSM]-.+")
_CONLLU_COLUMNS: Final = 10


def form_of(path: Path) -> Form:
    """The format of a file, by its name."""
    name = path.name.lower()
    if "|" in name:
        return "parallel"
    suffix = Path(Path(name).stem).suffix if Path(name).suffix in (".gz", ".xz", ".bz2") else Path(name).suffix
    forms: dict[str, Form] = {".conllu": "conllu", ".jsonl": "jsonl", ".json": "json"}
    return forms.get(suffix, "columns")


def base_scheme(scheme: DataScheme | None) -> Scheme | None:
    """The scheme in which tags of a scheme are read: BIOES for those that differ from it in letters only."""
    return "bioes" if scheme == "bilou" or scheme == "bmes" else scheme


def rename_letters(tags: Sequence[str], scheme: DataScheme | None) -> list[str]:
    """Tags of BILOU or BMES as tags of BIOES; all others as they are.

    Raises:
        ValueError: a tag is not one of the scheme.
    """
    letters = _RENAMED.get(scheme or "")
    if letters is None:
        return list(tags)
    renamed = []
    for tag in tags:
        letter, dash, kind = tag.partition("-")
        if tag != "O" and (letter not in letters or not dash or not kind):
            forms = ", ".join(f"{known}-<type>" for known in letters)
            raise ValueError(f"tag {tag!r} is none of {scheme}: O, {forms}")
        renamed.append(tag if tag == "O" else f"{letters[letter]}-{kind}")
    return renamed


def fitting_scheme(sentences: Iterable[Sequence[str]]) -> str | None:
    """The scheme that all tags of a file follow, if there is one."""
    candidates: list[DataScheme] = ["iob2", "iob1", "bioes", "bilou", "bmes"]
    has_letters, has_outside = False, False
    for tags in sentences:
        has_outside = has_outside or "O" in tags
        has_letters = has_letters or any(_LETTERED.fullmatch(tag) for tag in tags)
        candidates = [scheme for scheme in candidates if _fits(tags, scheme)]
        if not candidates and has_letters:
            return None
    if candidates:
        return candidates[0]
    return "plain" if has_outside else "none"


def _fits(tags: Sequence[str], scheme: DataScheme) -> bool:
    try:
        renamed = rename_letters(tags, scheme)
    except ValueError:
        return False
    base = base_scheme(scheme)
    return base is not None and fault(renamed, base) is None


def is_word_of_conllu(path: Path, line: Line) -> bool:
    """Whether a line of CoNLL-U is a word; a range of words (`1-2`) and an empty node (`1.1`) are reported.

    Raises:
        DataError: it has not ten columns, or no number.
    """
    columns = line.text.split("\t")
    where = f"{path.name}:{line.number}"
    if len(columns) != _CONLLU_COLUMNS:
        message = f"has {len(columns)} columns; CoNLL-U has {_CONLLU_COLUMNS}, separated by tabs"
        raise DataError(Problem(f"{path}:{line.number}", message, "set `format: columns` if it is another format"))
    if re.fullmatch("[0-9]+-[0-9]+", columns[0]):
        report_left_out("range of words (CoNLL-U); its words are read", where)
        return False
    if re.fullmatch(r"[0-9]+\.[0-9]+", columns[0]):
        report_left_out("empty node (CoNLL-U)", where)
        return False
    if not re.fullmatch("[0-9]+", columns[0]):
        raise DataError(Problem(f"{path}:{line.number}", f"the number of a word should come first, not {columns[0]!r}"))
    return True


def files_of(path: Path) -> list[Path]:
    """A file, or the two parallel files of a name such as `seq.in|seq.out`."""
    first, sign, second = path.name.partition("|")
    return [path.parent / first, path.parent / second] if sign else [path]


def parallel_sentences(path: Path) -> Iterator[tuple[list[str], list[str], int]]:
    """Words, tags and line of each sentence of two parallel files; blank lines are reported.

    Raises:
        DataError: a line has another number of tags than of words.
    """
    files = files_of(path)
    if len(files) != 2:
        raise DataError(Problem(str(path), "is one file", "name two parallel files as `words|tags`"))
    for number, example in enumerate(readers.parallel(*files), 1):
        words, tags = example.input.split(), example.target.split()
        if len(words) != len(tags):
            message = f"has {len(tags)} tags, but line {number} of {files[0].name} has {len(words)} words"
            raise DataError(Problem(f"{files[1]}:{number}", message))
        if words:
            yield words, tags, number
        else:
            report_left_out("blank line", f"{files[0].name}:{number}")


_TOKEN_KEYS: Final = ("tokens", "words")
_TAG_KEYS: Final = ("tags", "ner_tags", "labels")
_SPAN_KEYS: Final = ("spans", "entities", "label", "labels")


@final
@dataclass(frozen=True, slots=True)
class JsonSentence:
    """What an object of JSON has.

    Attributes:
        words: its words, or what is wrong with it.
        tags: a tag for each word; empty if they are not read.
        place: where it is: `line`, or `line:column`.
        given: the text that was split into the words; None: they were split already.
    """

    words: list[str] | Flaw
    tags: list[str]
    place: str
    given: str | None = None


def json_sentences(
    path: Path, form: Form, scheme: DataScheme | None, tokenizer: WordTokenizer, labelled: bool
) -> Iterator[JsonSentence]:
    """The sentence of each object of JSON: `tokens` with `tags`, or a `text` with its `spans`.

    A span is `{start, end, label}` or `[start, end, label]`, in characters from 0, the end not included. A text is
    split by `tokenizer`; a span has to begin and end where words do. Objects without words are left out.

    Args:
        path: the file.
        form: jsonl or json.
        scheme: that of the tags that spans become.
        tokenizer: how a text is split.
        labelled: False: tags are not read, and an object that cannot be read is a `Flaw`, also one without words.

    Raises:
        DataError: an object has other keys, or a span is not of whole words.
    """
    reader: Any = readers.json_array if form == "json" else readers.jsonl
    key = next((name for name in (*_TOKEN_KEYS, "text") if _has_key(path, form, name)), None)
    if key is None:
        raise DataError(Problem(str(path), "its first object has neither `tokens` nor `text`"))
    target = None
    if labelled:
        names = _TAG_KEYS if key != "text" else _SPAN_KEYS
        target = next((name for name in names if _has_key(path, form, name)), None)
        if target is None:
            raise DataError(Problem(str(path), f"its first object has `{key}`, but none of {', '.join(names)}"))
    for example in reader(path, input=key, target=target, flaws=not labelled):
        place = example.id.removeprefix(f"{path.name}:")
        if isinstance(example.input, Flaw):
            yield JsonSentence(example.input, [], place)
            continue
        where = f"{path}:{place}"
        try:
            if key == "text":
                words, tags = _words_of_text(example, scheme, tokenizer, where, labelled)
            else:
                words, tags = _listed_words(example, key, target, where)
        except DataError as error:
            if labelled:
                raise
            yield JsonSentence(Flaw(error.problems[0].what), [], place)
            continue
        if words or not labelled:
            given = example.input if isinstance(example.input, str) else None
            yield JsonSentence(words or Flaw("has no words"), tags, place, given)
        else:
            report_left_out("object without words", example.id)


def _listed_words(example: Example, key: str, target: str | None, where: str) -> tuple[list[str], list[str]]:
    """Words and tags that are lists already."""
    words = _strings(example.input, where, key)
    tags = [] if target is None else _strings(example.target, where, target)
    if target is not None and len(words) != len(tags):
        raise DataError(Problem(where, f"has {len(words)} words, but {len(tags)} tags"))
    return words, tags


def _words_of_text(
    example: Example, scheme: DataScheme | None, tokenizer: WordTokenizer, where: str, labelled: bool
) -> tuple[list[str], list[str]]:
    """The words of a text, and the tags that its spans become."""
    text = example.input
    if not isinstance(text, str):
        raise DataError(Problem(where, f"`text` should be text, not {text!r}"))
    places = locate_words(text, tokenizer)
    tags = _tags_of_spans(example.target, places, text, scheme, where) if labelled else []
    return [text[start:end] for start, end in places], tags


def _has_key(path: Path, form: Form, key: str) -> bool:
    """Whether the first object that can be read has a key."""
    reader: Any = readers.json_array if form == "json" else readers.jsonl
    with collect_reports():  # this look at the file is not what the run reads
        for example in reader(path, input=key, target=None, flaws=True):
            if not isinstance(example.input, Flaw):
                return True
            if example.input.what.startswith("has no key"):
                return False
    return False


def _strings(value: Any, where: str, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise DataError(Problem(where, f"`{key}` should be a list of text, none of it blank"))
    return value


def _tags_of_spans(
    spans: Any, places: Sequence[tuple[int, int]], text: str, scheme: DataScheme | None, where: str
) -> list[str]:
    """The tags of the words of a text, given its spans in characters."""
    starts = {start: number for number, (start, _) in enumerate(places)}
    ends = {end: number for number, (_, end) in enumerate(places)}
    tags = ["O"] * len(places)
    if not isinstance(spans, list):
        raise DataError(Problem(where, f"its spans should be a list, not {spans!r}"))
    for span in spans:
        start, end, kind = _span(span, where)
        if start not in starts or end not in ends or ends[end] < starts[start]:
            message = f"the span {start} to {end}, {text[start:end]!r}, does not begin and end where words do"
            raise DataError(Problem(where, message, "perhaps with `tokenizer: punctuation`"))
        first, last = starts[start], ends[end]
        if any(tag != "O" for tag in tags[first : last + 1]):
            raise DataError(Problem(where, f"the span {start} to {end} overlaps another one"))
        tags[first : last + 1] = [f"B-{kind}", *[f"I-{kind}"] * (last - first)]
    base = base_scheme(scheme)
    return tags if base is None else convert(tags, "iob2", base)


def _span(span: Any, where: str) -> tuple[int, int, str]:
    """Start, end and type of a span in either form."""
    if isinstance(span, dict):
        kind = next((span[key] for key in ("label", "type", "tag") if key in span), None)
        values = [span.get("start"), span.get("end"), kind]
    else:
        values = list(span) if isinstance(span, list) else []
    if len(values) == 3:
        start, end, kind = values
        if isinstance(start, int) and isinstance(end, int) and isinstance(kind, str) and kind:
            return start, end, kind
    raise DataError(Problem(where, f"{span!r} is not a span", "write {start, end, label} or [start, end, label]"))
