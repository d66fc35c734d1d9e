"""Language models of running text, symbol by symbol: the task `charlm`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from seqkit import Count, Example, Next, Shard, Share, Task, Tokens, UsageError
from seqkit.reading import report_split_rule
from seqkit_charlm.sources import Corpus, FilePaths, documents_of, shown, text_files, whole_texts
from seqkit_charlm.splits import PositionSplit

__all__ = ["charlm"]

SPLITS = ("train", "dev", "test")


def charlm(
    *,
    source: Literal["python-docs", "shakespeare"] = "python-docs",
    file: FilePaths | None = None,
    dev_file: FilePaths | None = None,
    test_file: FilePaths | None = None,
    encoding: str = "utf-8",
    unit: Literal["characters", "bytes", "words", "pieces"] = "characters",
    lower: bool = False,
    min_count: Count = 1,
    max_size: Count | None = None,
    window: Count = 256,
    piece: Count = 10_000,
    dev: Share = 0.05,
    dev_at: Literal["end", "start"] = "end",
    test: Share = 0.1,
    backwards: bool = False,
) -> Task:
    """What is the next character (byte, word, piece of a word) of this text?

    The text is one sequence of symbols, split by position without shuffling: its last `test` share is test, the last
    `dev` share of the rest is dev (or the first, with `dev_at: start`), and what remains is train. The score is the
    mean negative log-likelihood in nats per symbol.

    Training carries the state along the text, in lanes of consecutive windows. Dev and test are cut into pieces. Each
    piece is scored from a zero state and a start symbol, and every symbol counts. So the score depends on the data
    alone, not on batch size, lanes or the order of evaluation. Pieces are so long (10,000 characters) that the zero
    state at their start makes next to no difference.

    Args:
        source: python-docs, the topics of Python's own help (`pydoc_data.topics`), in the order of their names, so that
            the held-out tenth is the last topics; they differ a little between versions of Python. shakespeare, the
            tinyshakespeare file, 1.1 million characters.
        file: your own text, used instead of source: a file, which may be compressed, a pattern such as
            `text/part-*.txt`, a folder, of which all files *.txt are read, by name, or a list of those.
        dev_file: files or folders that are dev; then no share of `file` is.
        test_file: files or folders that are test, likewise.
        encoding: of your own files.
        unit: what a symbol is.
        lower: lower the case first.
        min_count: a symbol seen less often in training is unknown.
        max_size: most symbols in the vocabulary, the most frequent ones; for pieces, about how many are learned (null:
            8000).
        window: steps through which gradients flow back in training (truncated back-propagation through time).
        piece: characters of a piece of dev or test. If the unit is words or pieces, it ends at the end of a word.
        dev: share of the text before test that is dev.
        dev_at: end, dev is right before test; start, dev is the beginning of the text. The text next to test is often
            the most similar to it (the same play, the same chapter), and with `start` training can learn from it.
        test: share of the text that is test.
        backwards: read the text from its last symbol to its first, and so predict the symbol before. Two models, one of
            them backwards, give the words of `ner` and `sentiment` vectors (`contextual`).
    """
    corpus = Corpus(source, file, encoding)
    own_files = {split: path for split, path in (("dev", dev_file), ("test", test_file)) if path is not None}
    pieces = unit == "pieces"
    symbols = Tokens(
        unit,
        lower=lower,
        min_count=min_count,
        max_size=None if pieces else max_size,
        pieces=(max_size or 8000) if pieces else 8000,
        backwards=backwards,
    )
    whole_words = unit in ("words", "pieces")
    split_text = PositionSplit(
        dev=0.0 if dev_file else dev,
        test=0.0 if test_file else test,
        piece=piece,
        dev_at=dev_at,
        whole_words=whole_words,
    )

    def shards(split: str) -> list[Shard]:
        """Whole texts, none of which is cut for dev or test: one can be read without the others."""
        is_whole = split == "train" and file is not None and split_text.splits == ("train",)
        return whole_texts(file, encoding, split_text.about()) if is_whole and file is not None else []

    def read(split: str) -> Iterator[Example]:
        if texts := shards(split):
            return (example for text in texts for example in text.read())
        if split not in own_files:
            return split_text.examples(corpus.documents(), split)
        of_split = own_files[split]
        names = [path.name for path in ([of_split] if isinstance(of_split, Path) else of_split)]
        report_split_rule(f"{split} is the text of {', '.join(names)}")
        return pieces_of(of_split)

    def pieces_of(paths: FilePaths) -> Iterator[Example]:
        return split_text.pieces(documents_of(paths, encoding))

    def read_file(path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        if split is not None:
            raise UsageError(f"--split: {path} has no splits; all of it is scored")
        return pieces_of(path)

    return Task(
        read=read,
        input=symbols,
        target=Next(),
        head="language",
        best="nats",
        splits=tuple(split for split in SPLITS if split in (*split_text.splits, *own_files)),
        window=window,
        files=lambda split: text_files(own_files[split]) if split in own_files else corpus.files(),
        shards=shards,
        about=corpus.about()
        | {"split": split_text.about(), **{split: shown(paths) for split, paths in own_files.items()}},
        read_file=read_file,
        suffixes=(".txt", ""),
    )
