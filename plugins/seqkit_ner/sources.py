"""Where sentences with tags come from: the generator, published data, the user's CoNLL files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from seqkit import Dataset, Example, File, MissingFile, Shard, UsageError, fetch
from seqkit.readers import FileNames, as_shards, plain_names, read_shards, shard_files, shown_names
from seqkit.reading import report_split_rule
from seqkit_ner import generator
from seqkit_ner.conll_reader import WITH_COLUMNS, ConllReader
from seqkit_ner.formats import (
    files_of,
    form_of,
)
from seqkit_ner.options import DataSource


@final
@dataclass(frozen=True)
class Source:
    """Sentences with tags.

    Attributes:
        read: gives the examples of a split.
        splits: the splits of this source.
        files: gives the files that a split is read from; None: there are none.
        about: facts for the run folder.
        shards: the files of a split that can be read one by one.
    """

    read: Callable[[str], Iterable[Example]]
    splits: tuple[str, ...] = ("train", "dev", "test")
    files: Callable[[str], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    shards: Callable[[str], Sequence[Shard]] | None = None


def named(name: DataSource, sizes: tuple[int, int, int], seed: int, features: tuple[int, ...] = ()) -> Source:
    """The source of this name; `sizes` and `seed` are for the generated sentences, `features` for files.

    Raises:
        UsageError: features of generated sentences, which have no columns.
    """
    if name == "generated":
        if features:
            raise UsageError("features: the generated sentences have no columns; give a folder, or source: conll2000")
        return generated(sizes, seed)
    return published({"ncbi-disease": NCBI_DISEASE, "wnut17": WNUT17, "conll2000": CONLL2000}[name], features)


def generated(sizes: tuple[int, int, int], seed: int) -> Source:
    """Short news from the generator; `sizes` are the numbers of sentences of train, dev and test."""
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        report_split_rule("by a hash of the generated words: no sentence is in two splits")
        for number, (words, tags) in enumerate(generator.sentences(split, counts[split], seed=seed), 1):
            yield Example(words, tags, f"generated {split}:{number}")

    return Source(read, about={"dataset": "generated news", "sizes": counts, "seed": seed})


_NCBI_URL = (
    "https://raw.githubusercontent.com/cambridgeltl/MTL-Bioinformatics-2016"
    "/df0df02fae6dbb87d88ffcf323b9096528f06f84/data/NCBI-disease-IOB"
)
NCBI_DISEASE = Dataset(
    "ner/ncbi_disease",
    tuple(
        File(name, f"{_NCBI_URL}/{name}", sha256, size)
        for name, size, sha256 in (
            ("train.tsv", 1_137_445, "58379baf4614b8d757d93dd7a21b202849ca99f9b9d71b49185523ff5443300c"),
            ("devel.tsv", 200_352, "b4e1e7efcc2a35047bf2f3d281648357470e674f555d4a26a0049ac37d59cc61"),
            ("test.tsv", 205_664, "8f088ce45dc4746592188f9e69de3d89d87f3bb8f0ed8c4a287d018123fa148d"),
        )
    ),
    licence="CC BY 4.0 (the corpus itself is CC0)",
    about="diseases in abstracts of PubMed (Doğan, Leaman and Lu 2014), in the form of Crichton et al. 2017",
)

_WNUT_URL = "https://raw.githubusercontent.com/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
WNUT17 = Dataset(
    "ner/wnut17",
    tuple(
        File(name, f"{_WNUT_URL}/{name}", sha256, size)
        for name, size, sha256 in (
            ("wnut17train.conll", 493_781, "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5"),
            ("emerging.dev.conll", 114_749, "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8"),
            ("emerging.test.annotated", 192_425, "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0"),
        )
    ),
    licence="CC BY 4.0",
    about="new and rare entities in tweets, comments and forums (Derczynski et al. 2017, WNUT shared task)",
)

CONLL2000 = Dataset(
    "tagging/conll2000",
    (
        File("train.txt.gz", None, "bb828b11822d90dd2189b9b2d81436f7f09f9d53cf2e3514ffc408cf90434e4f", 599_687),
        File("test.txt.gz", None, "e9b6ab142898d592b355518374e03cbca0d9678a125aee84876c7a3a6334ce5d", 136_951),
    ),
    licence="not stated (the text is the Penn Treebank's, LDC); for research",
    about="chunks of the Wall Street Journal (Tjong Kim Sang and Buchholz 2000, CoNLL-2000 shared task)",
    by_hand=(
        "train.txt and test.txt of packages/corpora/conll2000.zip at github.com/nltk/nltk_data, each compressed with "
        "gzip -n; they also work as your own (folder), packed or not"
    ),
)

_FILE_NAMES: dict[Dataset, dict[str, str]] = {
    NCBI_DISEASE: {"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"},
    WNUT17: {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"},
    CONLL2000: {"train": "train.txt.gz", "test": "test.txt.gz"},
}
_DEV_PART = 10
"""Where a data set has no dev, the last of so many parts of train is dev."""


def published(dataset: Dataset, features: tuple[int, ...] = ()) -> Source:
    """A published data set in its official split, in IOB2. Without a dev file, the last tenth of train is dev."""
    names = _FILE_NAMES[dataset]
    reader = ConllReader(separator="space" if dataset == CONLL2000 else "tab", features=features)

    def file(split: str) -> Path:
        return fetch(dataset) / names.get(split, names["train"])

    def read(split: str) -> Iterator[Example]:
        if split == "test" or "dev" in names:
            report_split_rule("by file, as published")
            return reader.read(file(split))
        report_split_rule("by position: the last tenth of the sentences of train is dev")
        examples = list(reader.read(file("train")))
        first_of_dev = len(examples) - len(examples) // _DEV_PART
        return iter(examples[first_of_dev:] if split == "dev" else examples[:first_of_dev])

    about = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
    return Source(read, files=lambda split: [file(split)], about=about)


def folder(path: Path, names: Mapping[str, FileNames | None], reader: ConllReader, held_out: float) -> Source:
    """A folder of the user's files.

    Args:
        path: the folder.
        names: the file of each split; None: there is none. Without one for dev, part of train is dev.
        reader: reads the files.
        held_out: the share of train that is dev where dev has no file.
    """
    has_dev, has_test = names["dev"] is not None, names["test"] is not None
    splits = ("train", *(("dev",) if has_dev or held_out > 0 else ()), *(("test",) if has_test else ()))

    def shards(split: str) -> list[Path]:
        own_names = names["train" if split == "dev" and not has_dev else split] or ""
        return shard_files(path, own_names, split, suffixes=SUFFIXES)

    def read(split: str, paths: Sequence[Path] | None = None, names: Sequence[str] | None = None) -> Iterator[Example]:
        examples = read_shards(shards(split) if paths is None else paths, reader.read, names)
        if split == "test" or has_dev or held_out == 0:
            report_split_rule("by file")
            return examples
        report_split_rule(rule)
        return (example for example in examples if is_held_out(example.input, held_out) == (split == "dev"))

    about: dict[str, Any] = {"dataset": str(path), "files": plain_names(names)}
    rule = f"{held_out:.4g} of {shown_names(names['train'])} is dev, chosen by a hash of the words"
    if not has_dev and held_out > 0:
        about["dev"] = f"{held_out:.4g} of {shown_names(names['train'])}, chosen by a hash of the words"

    def parts(split: str) -> list[Shard]:
        return as_shards(shards(split), lambda paths, of_paths: read(split, paths, of_paths), files_of)

    def files(split: str) -> list[Path]:
        return [file for shard in shards(split) for file in files_of(shard)]

    return Source(read, splits, files, about, parts)


SUFFIXES = (".conll", ".conllu", ".jsonl", ".json", ".iob", ".iob2", ".bio", ".bioes", ".col", ".tsv")
"""The usual names of files that the tasks read."""
SUFFIXES_OF_COLUMNS = tuple(suffix for suffix in SUFFIXES if form_of(Path(f"file{suffix}")) in WITH_COLUMNS)
"""Those of files that have columns."""


def read_other(
    path: Path,
    split: str | None,
    labelled: bool,
    names: Mapping[str, FileNames | None],
    reader: ConllReader,
    held_out: float,
) -> Iterable[Example]:
    """The sentences of a file, or of a split (test, if the user did not say) of another folder with such files.

    Raises:
        DataError: there is no such file.
        UsageError: the folder has no such split, or a split is asked for of a file.
    """
    if not path.is_dir():
        if not all(item.exists() for item in files_of(path)):
            raise MissingFile(path)
        if split is not None:
            raise UsageError(f"--split: {path} is no folder with a file for each split; all of it is scored")
        return reader.read(path, labelled=labelled)
    source = folder(path, names, reader, held_out)
    if (split or "test") not in source.splits:
        raise UsageError(f"{path}: the recipe names no file for {split or 'test'}; give the file itself")
    return source.read(split or "test")


def is_held_out(steps: Sequence[Any], share: float) -> bool:
    """Whether a sentence of train is dev. It depends on the words alone, so repeats of a sentence are in one split."""
    words = [step if isinstance(step, str) else step[0] for step in steps]
    digest = hashlib.blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
