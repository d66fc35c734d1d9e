"""Scores of words that are written: by language, and their mean over languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seqkit import Prediction, ScoredExamples
from seqkit.metrics import edit_distance, sees_examples


def word_scores(of_words: str, of_symbols: str, split: Callable[[str], Sequence[str]], *, right: bool) -> Any:
    """A metric with two scores, each a plain mean over the languages, and the first for each; it sees examples.

    Args:
        of_words: the name of the share of words with an error, or with `right`, without one.
        of_symbols: the name of the edit distance divided by the number of true symbols.
        split: a word as its symbols.
        right: whether words without an error are counted.
    """

    @sees_examples
    def scores(
        predictions: Sequence[Prediction], targets: Sequence[str], examples: ScoredExamples
    ) -> Mapping[str, float]:
        by_language: dict[str, list[tuple[list[str], list[str]]]] = {}
        for prediction, target, id in zip(predictions, targets, examples.ids, strict=True):
            pair = (list(split(prediction.value)), list(split(target)))
            by_language.setdefault(id.partition(":")[0], []).append(pair)
        words, symbols = {}, []
        for language, pairs in by_language.items():
            share = sum(predicted == true for predicted, true in pairs) / len(pairs)
            words[language] = share if right else 1 - share
            true_symbols = max(1, sum(len(true) for _, true in pairs))
            symbols.append(sum(edit_distance(predicted, true) for predicted, true in pairs) / true_symbols)
        means = {of_words: sum(words.values()) / len(words), of_symbols: sum(symbols) / len(symbols)}
        by_name = {f"{of_words}.{language}": value for language, value in words.items()} if len(words) > 1 else {}
        return means | by_name

    return scores
