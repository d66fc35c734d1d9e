"""Language models of running text, symbol by symbol: the task `charlm`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from seqkit import Count, Next, Share, Task, Tokens
from seqkit_charlm.corpus import Corpus, Cut

__all__ = ["charlm"]


def charlm(
    *,
    source: Literal["python-docs", "shakespeare"] = "python-docs",
    file: Path | None = None,
    unit: Literal["characters", "bytes", "words", "pieces"] = "characters",
    lower: bool = False,
    min_count: Count = 1,
    max_size: Count | None = None,
    window: Count = 256,
    piece: Count = 10_000,
    dev: Share = 0.05,
    dev_at: Literal["end", "start"] = "end",
    test: Share = 0.1,
) -> Task:
    """What is the next character (byte, word, piece of a word) of this text?

    The text is one long line of symbols, cut in three by position, nothing shuffled: its last `test` share is test, the
    last `dev` share of what is left is dev (or the first, with `dev_at: start`), the rest is train. The score is the
    mean negative log-likelihood in nats per symbol.

    Training carries the state along the text, in lanes of consecutive windows. Dev and test are cut into pieces that
    are scored each on its own, from a zero state and a start symbol, every symbol counted. So the score depends on the
    data alone: not on batch size, lanes or the order of evaluation, as it would if one state ran through all of it.
    A piece is long enough (10,000 characters) for its cold start to weigh next to nothing.

    Args:
        source: python-docs, the topics of Python's own help (`pydoc_data.topics`), in the order of their names and
            joined without a change, so that the held-out tenth is the last topics; it differs a little between Python
            versions. shakespeare: the tinyshakespeare file, 1.1 million characters.
        file: a text file of your own (UTF-8; may be gzipped); given, it decides instead of source.
        unit: what a symbol is.
        lower: lower the case first.
        min_count: a symbol seen less often in training is unknown.
        max_size: most symbols in the vocabulary, the most frequent ones; for pieces about how many are learned (null:
            8000).
        window: steps through which gradients flow back in training (truncated back-propagation through time).
        piece: characters of a piece of dev or test. For words and pieces it ends with the word that it falls in.
        dev: share of the text before test that is dev.
        dev_at: end, dev stands right before test; start, dev is the beginning of the text. What stands next to test is
            often the most like it (the same play, the same chapter), and training has no use of it if it is dev.
        test: share of the text that is test.
    """
    corpus = Corpus(source, file)
    pieces = unit == "pieces"
    symbols = Tokens(
        unit,
        lower=lower,
        min_count=min_count,
        max_size=None if pieces else max_size,
        pieces=(max_size or 8000) if pieces else 8000,
    )
    cut = Cut(dev=dev, test=test, piece=piece, dev_at=dev_at, whole_words=unit in ("words", "pieces"))
    return Task(
        read=lambda split: cut.examples(corpus.documents(), split),
        input=symbols,
        target=Next(),
        head="language",
        best="nats",
        splits=cut.splits,
        window=window,
        files=lambda split: corpus.files(),
        about=corpus.about() | {"split": cut.about()},
    )
