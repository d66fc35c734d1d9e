"""Tasks that are made to need memory, of a length that is known: `copy`, `adding` and `listops`.

With them one can see what an encoder learns when nothing but distance is hard. All are made on the fly, offline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge

from seqkit import Count, Example, Label, Next, Size, Tags, Task, Tokens, UsageError, Values, Vectors
from seqkit.metrics import label_scores
from seqkit.reading import report_split_rule
from seqkit_synthetic import generator, nested
from seqkit_synthetic.scores import adding_scores, copy_scores, running_scores

__all__ = ["adding", "copy", "listops"]

_RULE = "by the generator: each split has random numbers of its own"


def copy(
    *,
    lag: Count = 100,
    items: Count = 10,
    symbols: Annotated[int, Ge(2)] = 8,
    window: Count | None = None,
    sizes: tuple[Count, Count, Count] = (20_000, 500, 1000),
    data_seed: Size = 1,
) -> Task:
    """Which symbols came a while ago? Some items, a lag of blanks, a marker, and the items again, in their order.

    This is the copying task of Hochreiter and Schmidhuber 1997, in the form of Arjovsky, Shah and Bengio 2016
    (arXiv:1511.06464). A tag is wanted at every step: blank until the marker has come, then the items. Without any
    memory all blanks can be right, and of the items as many as chance gives: `recall`, their share, is 1 / symbols.

    Args:
        lag: steps from an item to the step at which it is wanted.
        items: how many symbols are to be remembered; fewer than the lag.
        symbols: how many different ones there are.
        window: null: sequences are read whole, with a tag at every step. A number: the sequences, with the items
            written out again, are one text that is read in windows of so many steps, and the next symbol is predicted;
            the score is then nats a symbol.
        sizes: how many sequences are made for train, dev and test.
        data_seed: seed of the sequences; the recipe's seed has no part in it.

    Raises:
        UsageError: there are more items than fit into the lag.
    """
    if items >= lag:
        raise UsageError(f"items must be fewer than the lag of {lag}, not {items}")
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        report_split_rule(_RULE)
        for number in range(counts[split]):
            steps, tags = generator.copy(split, number, lag=lag, items=items, symbols=symbols, seed=data_seed)
            written = [*steps[:-items], *tags[-items:]]
            yield Example(
                steps if window is None else written, tags if window is None else None, f"{split}:{number + 1}"
            )

    about = {"dataset": "copying, made", "lag": lag, "items": items, "symbols": symbols, "sizes": counts}
    if window is not None:
        return Task(
            read=read, input=Tokens("words"), target=Next(), head="language", best="nats", window=window, about=about
        )
    return Task(
        read=read,
        input=Tokens("words"),
        target=Tags(),
        head="tag",
        metric=copy_scores,
        best="max:recall",
        scores=("recall", "accuracy"),
        about=about,
    )


def adding(
    *,
    length: Annotated[int, Ge(2)] = 200,
    sizes: tuple[Count, Count, Count] = (10_000, 500, 1000),
    data_seed: Size = 1,
) -> Task:
    """What is the sum of the two marked numbers? The adding problem of Hochreiter and Schmidhuber 1997.

    A step is a number from 0 to 1 and a mark. One number is marked in the first half of a sequence and one in the
    second. The score is the mean squared error; 1/6 = 0.167 is that of always answering 1, and below 0.01 the problem
    counts as solved.

    Args:
        length: steps of a sequence.
        sizes: how many sequences are made for train, dev and test.
        data_seed: seed of the sequences; the recipe's seed has no part in it.
    """
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        report_split_rule(_RULE)
        for number in range(counts[split]):
            steps, total = generator.adding(split, number, length=length, seed=data_seed)
            yield Example(steps, total, f"{split}:{number + 1}")

    return Task(
        read=read,
        input=Vectors(2),
        target=Values(),
        head={"use": "regress", "pool": "last"},
        metric=adding_scores,
        best="min:mse",
        scores=("mse", "rmse", "mae"),
        about={"dataset": "adding, made", "length": length, "sizes": counts},
    )


def listops(
    *,
    shortest: Annotated[int, Ge(4)] = 100,
    longest: Annotated[int, Ge(4)] = 400,
    depth: Annotated[int, Ge(1)] = 10,
    every_word: Literal["innermost", "both"] | None = None,
    train_shortest: Annotated[int, Ge(4)] | None = None,
    sizes: tuple[Count, Count, Count] = (6000, 500, 500),
    data_seed: Size = 1,
) -> Task:
    """What is the value of these nested operations, `[MAX 2 9 [MIN 4 7 ] 0 ]`? ListOps of Nangia and Bowman 2018.

    The operations are MIN, MAX, MED (the median, its fraction cut off) and SM (the sum modulo 10), of two to ten
    arguments, each a digit or an operation. The score of the root's operation over its own digits, which sees no
    nesting, is told before training.

    Args:
        shortest: fewest words of an expression.
        longest: most words.
        depth: how deep operations are nested.
        every_word: values are wanted at every word too, as tags, which teaches how to nest. innermost: what the
            innermost operation amounts to so far; both: that, and what the root does (`7/3`). At the last word it is
            the value of the expression, and `accuracy` is that of the last word alone. null: only that value.
        train_shortest: fewest words of an expression of train; short ones teach operations before nesting (null: as
            `shortest`).
        sizes: how many expressions are made for train, dev and test.
        data_seed: seed of the expressions; the recipe's seed has no part in it.

    Raises:
        UsageError: expressions of such lengths are not to be had.
    """
    fewest = {"train": shortest if train_shortest is None else train_shortest, "dev": shortest, "test": shortest}
    _check_lengths(fewest, longest, depth)
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        report_split_rule(_RULE)
        for number in range(counts[split]):
            words = nested.expression(
                split, number, shortest=fewest[split], longest=longest, depth=depth, seed=data_seed
            )
            pairs = [*nested.running_values(words)]
            if every_word is None:
                target: Any = str(pairs[-1][0])
            else:
                target = [f"{inner}/{root}" if every_word == "both" else str(inner) for inner, root in pairs]
            yield Example(words, target, f"{split}:{number + 1}")

    def notes() -> Iterator[str]:
        tests = list(read("test"))
        share = sum(nested.guess(example.input) == nested.value_of(example.input) for example in tests) / len(tests)
        yield f"beside the score on test, the root's operation over its own digits: accuracy {share:.4f}"

    return Task(
        read=read,
        input=Tokens("words"),
        target=Tags(allow_unseen=True) if every_word else Label(),
        head="tag" if every_word else {"use": "classify", "pool": "last"},
        metric=running_scores if every_word else label_scores,
        scores=("accuracy", "word_accuracy") if every_word else ("accuracy", "macro_f1"),
        best="accuracy",
        notes=notes,
        parse=str.split,
        parse_by_words=True,
        about={"dataset": "ListOps, made", "shortest": fewest, "longest": longest, "depth": depth, "sizes": counts},
    )


def _check_lengths(fewest: Mapping[str, int], longest: int, depth: int) -> None:
    """Raises UsageError if expressions of `listops` of such lengths are not to be had; it names the option."""
    name = "train_shortest" if fewest["train"] > fewest["dev"] else "shortest"
    needed = max(fewest.values())
    if longest > 2000:
        raise UsageError(f"longest: {longest} should be at most 2000")
    if longest < needed + 10:
        raise UsageError(f"{name}: {needed} should be at least ten less than longest, {longest}")
    if depth < 4 and needed > 10:
        raise UsageError(f"depth: {depth} should be 4 or more, for expressions of {name}: {needed} words")
