"""A character n-gram model with Witten-Bell interpolation: the baseline for the task names.

    P(w | h) = (c(h w) + T(h) P(w | h')) / (c(h) + T(h))

with T(h) the number of different symbols that followed h, h' the context h without its first symbol, and below that the
same probability for every symbol (Witten and Bell 1991, method C; Chen and Goodman 1998, section 2.5).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log

START, END, UNKNOWN = "<s>", "</s>", "<unk>"

Named = tuple[str, str]
"""A language, and a name in it."""


class NGram:
    """Learned from texts with their ends.

    Args:
        texts: to learn from.
        order: n; a symbol is predicted from the n - 1 symbols before it, start symbols before the first one.
        symbols: all symbols but the end; any other is the unknown symbol.
    """

    def __init__(self, texts: Iterable[str], order: int, symbols: Iterable[str]) -> None:
        self.order, self.known = order, frozenset(symbols)
        self.counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for text in texts:
            for context, symbol in self.steps(text):
                for start in range(len(context) + 1):
                    self.counts[context[start:]][symbol] += 1

    def probability(self, context: tuple[str, ...], symbol: str) -> float:
        shorter = self.probability(context[1:], symbol) if context else 1.0 / (len(self.known) + 2)
        counts = self.counts.get(context)
        if not counts:
            return shorter
        distinct = len(counts)
        return (counts[symbol] + distinct * shorter) / (counts.total() + distinct)

    def probabilities(self, text: str) -> list[float]:
        """The probability of each symbol of a text, and of its end."""
        return [self.probability(context, symbol) for context, symbol in self.steps(text)]

    def steps(self, text: str) -> Iterator[tuple[tuple[str, ...], str]]:
        """(context, symbol) of each symbol."""
        context = (START,) * (self.order - 1)
        for symbol in (*(symbol if symbol in self.known else UNKNOWN for symbol in text), END):
            yield context, symbol
            context = (*context, symbol)[1:] if self.order > 1 else ()


@dataclass(frozen=True)
class Baseline:
    """Mean nats a symbol of three models.

    Attributes:
        pooled: one model of all names.
        by_language: a model for each language.
        mixed: the two mixed, in the proportion that is best on dev.
    """

    pooled: float
    by_language: float
    mixed: float


def names_baseline(train: Sequence[Named], dev: Sequence[Named], test: Sequence[Named], *, order: int = 4) -> Baseline:
    """The test scores of n-gram models of `train`."""
    symbols = {symbol for _, name in train for symbol in name}
    names_of: dict[str, list[str]] = defaultdict(list)
    for language, name in train:
        names_of[language].append(name)
    pooled = NGram([name for _, name in train], order, symbols)
    by_language = {language: NGram(names, order, symbols) for language, names in names_of.items()}

    def pairs(split: Sequence[Named]) -> list[tuple[float, float]]:
        return [
            pair
            for language, name in split
            for pair in zip(pooled.probabilities(name), by_language[language].probabilities(name), strict=True)
        ]

    def nats(probabilities: list[tuple[float, float]], weight: float) -> float:
        return -sum(log((1 - weight) * p + weight * q) for p, q in probabilities) / len(probabilities)

    dev_pairs, test_pairs = pairs(dev), pairs(test)
    weight = min((number / 20 for number in range(1, 20)), key=lambda weight: nats(dev_pairs, weight))
    return Baseline(nats(test_pairs, 0.0), nats(test_pairs, 1.0), nats(test_pairs, weight))
