"""Short film reviews from a grammar, for a task that needs no download and that no bag of words can solve.

The verdict of a review follows from its words, so a perfect score is possible. A model has to learn:

* negation, near or far (`the plot was not , even for a single minute , funny`), doubled (`i do not think that the plot
  was not funny`), and phrases that look like it (`not only clever but also funny`);
* contrast: the clause after `but` decides, and the clause without `although` (`the plot was dull but the cast was
  brilliant`);
* distractors: praise and blame of the popcorn, or by the critics, does not count, wherever it is.

Praising and blaming words, negators and connectives are drawn with equal probabilities for both verdicts where the
grammar allows it, so that word counts say little.

Of `random` only `random()` is used: its numbers are the same in every version of Python.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import islice

POSITIVE, NEGATIVE = "positive", "negative"

PRAISE = (
    "brilliant", "charming", "clever", "delightful", "elegant", "fresh", "funny", "good", "graceful", "great",
    "gripping", "inspired", "lively", "lovely", "moving", "sharp", "smart", "stunning", "superb", "touching",
    "warm", "witty", "wonderful",
)  # fmt: skip
BLAME = (
    "awful", "bad", "bland", "boring", "clumsy", "dreadful", "dreary", "dull", "flat", "hollow", "lazy", "lifeless",
    "messy", "poor", "shallow", "silly", "stale", "stiff", "tedious", "terrible", "tired", "ugly", "weak",
)  # fmt: skip
ASPECTS = (
    "acting", "camera work", "cast", "dialogue", "direction", "ending", "film", "first half", "humour", "last act",
    "lead", "movie", "music", "opening scene", "pace", "plot", "romance", "script", "story", "villain",
)  # fmt: skip
OFF_TOPIC = ("bus ride", "cinema", "coffee", "foyer", "parking", "popcorn", "queue", "seat", "trailer", "weather")
OTHERS = (
    "a friend of mine",
    "everyone online",
    "my brother",
    "my neighbour",
    "my sister",
    "the critics",
    "the man beside me",
)
DEGREES = ("quite", "rather", "really", "remarkably", "so", "truly", "utterly", "very")
FILLERS = (
    "as far as i could tell", "even for a single minute", "from the first scene to the last", "if i am honest",
    "in any sense of the word", "whatever anyone may say",
)  # fmt: skip
AFFIRMED = ("was", "was", "was always", "was certainly", "managed to be", "proved", "turned out to be")
NEGATED = (
    "was not", "was never", "was hardly", "was by no means", "was anything but", "was far from", "failed to be",
)  # fmt: skip
AFFIRMING = ("i felt that", "i think that", "i would say that", "it is true that", "i have to say that", "i found that")
DENYING = (
    "i never felt that", "i do not think that", "i would not say that", "it is not true that", "nobody can say that",
    "i doubt that",
)  # fmt: skip
ASIDES = (
    "we saw it on a rainy tuesday", "it runs for two hours", "i went with my sister", "it opened last week",
    "the director has made two other films", "it is set in a small town by the sea", "i had not read the book",
    "nobody else was in the room", "there are no animals in it but plenty of cars",
)  # fmt: skip

_HASH_RANGES = (("train", 0, 205), ("dev", 205, 230), ("test", 230, 256))


def reviews(split: str, count: int, *, seed: int) -> Iterator[tuple[str, str]]:
    """`count` different reviews of a split ("train", "dev", "test") as (text, verdict), the same ones on every run.

    A hash of the text chooses its split, so no review is in two splits, whatever the sizes and seeds. A shorter split
    is the beginning of a longer one.
    """
    return islice(_distinct(split, random.Random(f"reviews {seed} {split}")), count)


def _distinct(split: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    while True:
        text, verdict = review(rng)
        if text not in seen and split_of(text) == split:
            seen.add(text)
            yield text, verdict


def split_of(text: str) -> str:
    """The split of a text, which depends on the text alone; 80 : 10 : 10."""
    byte = hashlib.blake2b(text.encode("utf-8"), digest_size=1).digest()[0]
    return next(name for name, begin, end in _HASH_RANGES if begin <= byte < end)


def review(rng: random.Random) -> tuple[str, str]:
    """One review and its verdict."""
    praised = rng.random() < 0.5
    sentences = [_judgement(rng, praised)]
    if rng.random() < 0.5:
        sentences.insert(0 if rng.random() < 0.5 else 1, _distraction(rng))
    return " ".join(f"{sentence} ." for sentence in sentences), POSITIVE if praised else NEGATIVE


def _judgement(rng: random.Random, praised: bool) -> str:
    """The sentence that decides the verdict: one clause, two that agree, or two that do not."""
    shape = rng.random()
    if shape < 0.40:
        return _clause(rng, praised)
    if shape < 0.50:
        return f"{_clause(rng, praised)} and {_clause(rng, praised)}"
    deciding, opposite = _clause(rng, praised), _clause(rng, not praised)
    if shape < 0.75:
        return f"{opposite} but {deciding}"
    if shape < 0.875:
        return f"although {opposite} , {deciding}"
    return f"{deciding} although {opposite}"


def _clause(rng: random.Random, praised: bool) -> str:
    """One clause about the film whose verdict is `praised`: that of its adjective, inverted by each negation."""
    if rng.random() < 0.1:
        return f"{_subject(rng)} was not only {_word(rng, praised)} but also {_word(rng, praised)}"
    frame, verb, inverted = "", AFFIRMED, False
    if rng.random() < 0.3:
        denied = rng.random() < 0.5
        frame = _pick(rng, DENYING if denied else AFFIRMING) + " "
        inverted = denied
    if rng.random() < 0.4:
        verb, inverted = NEGATED, not inverted
    filler = f" , {_pick(rng, FILLERS)} ," if rng.random() < 0.15 else ""
    degree = f"{_pick(rng, DEGREES)} " if rng.random() < 0.3 else ""
    return f"{frame}{_subject(rng)} {_pick(rng, verb)}{filler} {degree}{_word(rng, praised != inverted)}"


def _subject(rng: random.Random) -> str:
    """The subject of a clause, sometimes followed by somebody else's opinion of it."""
    subject = f"the {_pick(rng, ASPECTS)}"
    if rng.random() < 0.12:
        subject += f" , which {_pick(rng, OTHERS)} found {_word(rng, rng.random() < 0.5)} ,"
    return subject


def _distraction(rng: random.Random) -> str:
    """A sentence that is not about the film, or is not the opinion of the writer."""
    kind = rng.random()
    if kind < 0.4:
        return _pick(rng, ASIDES)
    word = _word(rng, rng.random() < 0.5)
    if kind < 0.7:
        return f"the {_pick(rng, OFF_TOPIC)} {_pick(rng, AFFIRMED if rng.random() < 0.7 else NEGATED)} {word}"
    return f"{_pick(rng, OTHERS)} found the {_pick(rng, ASPECTS)} {word}"


def _word(rng: random.Random, praising: bool) -> str:
    return _pick(rng, PRAISE if praising else BLAME)


def _pick(rng: random.Random, options: Sequence[str]) -> str:
    return options[int(rng.random() * len(options))]
