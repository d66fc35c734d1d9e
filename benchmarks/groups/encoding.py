"""Encoding a corpus: lines of text to ids, in one array with offsets."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import chain
from typing import Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target

LINES, WORDS, LENGTH = 100_000, 30_000, 20
"""Lines of the corpus, different words, and words a line in the middle."""

FITTED_ON, PIECES = 20_000, 8000
"""Lines that the vocabulary is learned from: some words of the others are unknown."""


@cache
def corpus(lines: int) -> list[str]:
    """Invented words, the commonest of them short, with the frequencies of Zipf's law."""
    import numpy as np

    generator = np.random.default_rng(8)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words: dict[str, None] = {}
    while len(words) < WORDS:
        count = 1 + len(words) // 3000
        words["".join(syllables[n] for n in generator.integers(len(syllables), size=1 + count // 2))] = None
        if generator.random() < 0.5:
            words["".join(syllables[n] for n in generator.integers(len(syllables), size=2 + count // 2))] = None
    names = list(words)[:WORDS]
    frequencies = 1.0 / np.arange(1, WORDS + 1)
    lengths = generator.poisson(LENGTH - 1, lines) + 1
    drawn = iter(generator.choice(WORDS, int(lengths.sum()), p=frequencies / frequencies.sum()).tolist())
    return [" ".join(names[next(drawn)] for _ in range(length)) for length in lengths.tolist()]


@cache
def field(unit: Any, lines: int) -> Any:
    """seqkit's field, from which the others take their vocabulary."""
    from seqkit.fields import Tokens

    return Tokens(unit, pieces=PIECES).fit(corpus(lines)[:FITTED_ON])


def prepared(rows_of: Callable[[list[str]], Iterable[Any]], lines: int) -> Prepared:
    """`rows_of(lines)` yields the ids of each; the array of all of them is part of the work."""
    import numpy as np

    texts = corpus(lines)

    def encode() -> tuple[Any, Any]:
        rows = list(rows_of(texts))
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        if isinstance(rows[0], np.ndarray):
            return np.concatenate(rows), counts
        return np.fromiter(chain.from_iterable(rows), np.int32, int(counts.sum())), counts

    def run() -> None:
        encode()

    def outputs() -> Mapping[str, Any]:
        ids, counts = encode()
        # Compared number by number: a wrong id is a difference of at least one part in the vocabulary's size.
        return {"ids": ids.astype(np.int64), "counts": counts}

    return Prepared(run, outputs, {"tokens": sum(text.count(" ") + 1 for text in texts)})


def seqkit(unit: str, lines: int) -> Prepared:
    fitted = field(unit, lines)
    return prepared(lambda texts: map(fitted.encode, texts), lines)


def word_level_one_thread(unit: str, lines: int) -> Prepared:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return word_level(unit, lines)


def word_level(unit: str, lines: int) -> Prepared:
    """Hugging Face's, fast variant: without the places of tokens in the text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    vocabulary = field(unit, lines).vocabulary
    symbols = {vocabulary[number]: number for number in range(len(vocabulary))}
    tokenizer = Tokenizer(WordLevel(symbols, unk_token=vocabulary[vocabulary.unknown]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    encode: Any = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    return prepared(lambda texts: (encoding.ids for encoding in encode(texts)), lines)


def sentencepiece_one_thread(unit: str, lines: int) -> Prepared:
    return sentencepiece(unit, lines, threads=1)


def sentencepiece(unit: str, lines: int, threads: int = -1) -> Prepared:
    """Its batch call, with the model that seqkit's field has learned."""
    from sentencepiece import SentencePieceProcessor

    model = base64.b64decode(field(unit, lines).state()["sentencepiece"])
    processor = SentencePieceProcessor(model_proto=model)
    return prepared(lambda texts: processor.encode(texts, num_threads=threads), lines)


HERE = __name__
HUGGING_FACE, SENTENCEPIECE = "Hugging Face", "sentencepiece"
GROUP = Group(
    "encoding",
    "100,000 lines of invented words in memory (Zipf's law, 20 words a line, 30,000 different ones) to ids, which end "
    "as one array of numbers with the length of each line: words, and 8,000 pieces of words. All have the vocabulary "
    "that seqkit's field has learned from the first 20,000 lines, and their ids are compared one by one. seqkit "
    "encodes line by line in one thread; Hugging Face's tokenizers (WordLevel, split at white space) and "
    "sentencepiece's own call get all lines at once, in one thread and in as many as they choose. Tokens are words.",
    [
        Case(unit, {"unit": unit, "lines": LINES}, quick=True, quick_options={"lines": 3000})
        for unit in ("words", "pieces")
    ],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender(f"{HUGGING_FACE}, one thread", f"{HERE}:word_level_one_thread", ("tokenizers",), only=("words",)),
        Contender(HUGGING_FACE, f"{HERE}:word_level", ("tokenizers",), only=("words",)),
        Contender(
            f"{SENTENCEPIECE}, one thread", f"{HERE}:sentencepiece_one_thread", ("sentencepiece",), only=("pieces",)
        ),
        Contender(SENTENCEPIECE, f"{HERE}:sentencepiece", ("sentencepiece",), only=("pieces",)),
    ],
    [
        Target("encoding a corpus, one process", "words", f"{HUGGING_FACE}, one thread", 1, 1),
        Target("encoding a corpus, one process", "words", HUGGING_FACE, 1, 1),
        Target("encoding a corpus, one process", "pieces", f"{SENTENCEPIECE}, one thread", 1, 1),
        Target("encoding a corpus, one process", "pieces", SENTENCEPIECE, 1, 1),
    ],
    tolerance=1e-6,
)
