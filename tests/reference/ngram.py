"""A character n-gram model with Witten-Bell interpolation: the simple baseline beside names.

    P(w | h) = (c(h w) + T(h) P(w | h')) / (c(h) + T(h))

with T(h) how many different symbols have followed h, h' the context h without its first symbol, and the same share for
every symbol below that (Witten and Bell 1991, method C; Chen and Goodman 1998, section 2.5).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log

START, END, UNKNOWN = "<s>", "</s>", "<unk>"

Named = tuple[str, str]
"""A kind, and a name of it."""


class NGram:
    """Learned from texts with their ends.

    Args:
        texts: to learn from.
        order: n; a symbol is predicted from n - 1 before it, as many starts standing before the first.
        symbols: all that there are, the end not counted; any other is unknown, which is one symbol more.
    """

    def __init__(self, texts: Iterable[str], order: int, symbols: Iterable[str]) -> None:
        self.order, self.known = order, frozenset(symbols)
        self.counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for text in texts:
            for context, symbol in self.steps(text):
                for start in range(len(context) + 1):
                    self.counts[context[start:]][symbol] += 1

    def probability(self, context: tuple[str, ...], symbol: str) -> float:
        rest = self.probability(context[1:], symbol) if context else 1.0 / (len(self.known) + 2)
        seen = self.counts.get(context)
        if not seen:
            return rest
        kinds = len(seen)
        return (seen[symbol] + kinds * rest) / (seen.total() + kinds)

    def each(self, text: str) -> list[float]:
        """The probability of each symbol of a text, its end too."""
        return [self.probability(context, symbol) for context, symbol in self.steps(text)]

    def steps(self, text: str) -> Iterator[tuple[tuple[str, ...], str]]:
        """Each symbol and what stands before it."""
        before = (START,) * (self.order - 1)
        for symbol in (*(symbol if symbol in self.known else UNKNOWN for symbol in text), END):
            yield before, symbol
            before = (*before, symbol)[1:] if self.order > 1 else ()


@dataclass(frozen=True)
class Baseline:
    """Mean nats a symbol by models that know more or less of the kind.

    Attributes:
        pooled: one model of all names.
        own: a model for each kind.
        both: the two mixed, in the share that is best on dev.
    """

    pooled: float
    own: float
    both: float


def names_baseline(train: Sequence[Named], dev: Sequence[Named], test: Sequence[Named], *, order: int = 4) -> Baseline:
    """The test scores of n-gram models of `train`."""
    symbols = {symbol for _, name in train for symbol in name}
    by_kind: dict[str, list[str]] = defaultdict(list)
    for kind, name in train:
        by_kind[kind].append(name)
    pooled = NGram([name for _, name in train], order, symbols)
    own = {kind: NGram(names, order, symbols) for kind, names in by_kind.items()}

    def pairs(part: Sequence[Named]) -> list[tuple[float, float]]:
        return [both for kind, name in part for both in zip(pooled.each(name), own[kind].each(name), strict=True)]

    def nats(part: list[tuple[float, float]], share: float) -> float:
        return -sum(log((1 - share) * all_ + share * one) for all_, one in part) / len(part)

    dev_pairs, test_pairs = pairs(dev), pairs(test)
    share = min((each / 20 for each in range(1, 20)), key=lambda each: nats(dev_pairs, each))
    return Baseline(nats(test_pairs, 0.0), nats(test_pairs, 1.0), nats(test_pairs, share))
