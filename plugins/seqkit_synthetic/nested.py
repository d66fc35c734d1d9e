"""Nested operations on digits, and their values: ListOps (Nangia and Bowman 2018, arXiv:1804.06028)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

OPERATORS: Final[Mapping[str, Callable[[Sequence[int]], int]]] = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda values: _median(values),
    "[SM": lambda values: sum(values) % 10,
}
CLOSE: Final = "]"
_OPERATOR_SHARE: Final = 0.25
_MOST_ARGUMENTS: Final = 10


def expression(split: str, number: int, *, shortest: int, longest: int, depth: int, seed: int) -> list[str]:
    """The words of an expression of a wanted length, a function of its arguments.

    The root is an operator; below it an operator stands with probability 1/4 where the depth allows, else a digit. An
    operator has two to ten arguments. Expressions are drawn until one is as long as wanted.
    """
    rng = random.Random(f"listops {seed} {split} {number}")
    while True:
        words: list[str] = []
        _draw(rng, words, depth, longest, is_root=True)
        if shortest <= len(words) <= longest:
            return words


def value_of(words: Sequence[str]) -> int:
    """The value of an expression, 0 to 9. Raises ValueError for words that are none."""
    return [*running_values(words)][-1][0]


def running_values(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """What the innermost operation and the root amount to, after each word: over those arguments that have been read.

    An operation that has no argument yet amounts to 0. After a closing word the innermost operation is the one that
    ends there, so that the last pair is twice the value of the expression. Raises ValueError for words that are none.
    """
    open_operators: list[tuple[str, list[int]]] = []

    def root() -> int:
        operator, arguments = open_operators[0]
        return OPERATORS[operator](arguments) if arguments else 0

    for place, word in enumerate(words):
        if word in OPERATORS:
            open_operators.append((word, []))
            yield 0, root()
            continue
        if not open_operators or (word == CLOSE and not open_operators[-1][1]):
            raise ValueError(f"word {place + 1}: {word!r} belongs to no operation")
        if word == CLOSE:
            operator, arguments = open_operators.pop()
            result = OPERATORS[operator](arguments)
            if not open_operators:
                yield result, result
                if place + 1 < len(words):
                    raise ValueError(f"word {place + 2}: the operation is over before it")
                return
            open_operators[-1][1].append(result)
            yield result, root()
        elif word.isdecimal() and len(word) == 1:
            open_operators[-1][1].append(int(word))
            yield OPERATORS[open_operators[-1][0]](open_operators[-1][1]), root()
        else:
            raise ValueError(f"word {place + 1}: {word!r} is no operator, digit or {CLOSE}")
    raise ValueError("the operation does not end")


def guess(words: Sequence[str]) -> int:
    """The root's operator applied to the digits that are its own arguments: what can be known without nesting."""
    level, digits = 0, []
    for word in words:
        level += word in OPERATORS
        level -= word == CLOSE
        if level == 1 and word.isdecimal():
            digits.append(int(word))
    return OPERATORS[words[0]](digits) if digits else 0


def _draw(rng: random.Random, words: list[str], depth: int, longest: int, *, is_root: bool = False) -> None:
    """Append an expression to the words; one that is too long already is not drawn to its end."""
    if len(words) > longest:
        return
    if not is_root and (depth <= 1 or rng.random() >= _OPERATOR_SHARE):
        words.append(str(int(rng.random() * 10)))
        return
    words.append([*OPERATORS][int(rng.random() * len(OPERATORS))])
    for _ in range(2 + int(rng.random() * (_MOST_ARGUMENTS - 1))):
        _draw(rng, words, depth - 1, longest)
    words.append(CLOSE)


def _median(values: Sequence[int]) -> int:
    """The median, its fraction cut off."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) // 2
