"""Where sentences with entities come from: the generator, published data, a folder of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from seqkit import DataError, Dataset, Example, File, Problem, fetch
from seqkit_ner import generator
from seqkit_ner.conll import Layout


@final
@dataclass(frozen=True)
class Source:
    """Sentences with tags.

    Attributes:
        read: the examples of a split.
        splits: which there are.
        files: the files behind a split; None: there are none.
        about: facts for the run folder.
    """

    read: Callable[[str], Iterable[Example]]
    splits: tuple[str, ...] = ("train", "dev", "test")
    files: Callable[[str], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def generated(sizes: tuple[int, int, int], seed: int) -> Source:
    """News in brief from the generator, as many sentences as `sizes` says for train, dev and test."""
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        for number, (words, tags) in enumerate(generator.sentences(split, counts[split], seed=seed), 1):
            yield Example(words, tags, f"generated {split}:{number}")

    return Source(read, about={"dataset": "generated news", "sizes": counts, "seed": seed})


_NCBI_AT = (
    "https://raw.githubusercontent.com/cambridgeltl/MTL-Bioinformatics-2016"
    "/df0df02fae6dbb87d88ffcf323b9096528f06f84/data/NCBI-disease-IOB"
)
NCBI_DISEASE = Dataset(
    "ner/ncbi_disease",
    tuple(
        File(name, f"{_NCBI_AT}/{name}", sha256, size)
        for name, size, sha256 in (
            ("train.tsv", 1_137_445, "58379baf4614b8d757d93dd7a21b202849ca99f9b9d71b49185523ff5443300c"),
            ("devel.tsv", 200_352, "b4e1e7efcc2a35047bf2f3d281648357470e674f555d4a26a0049ac37d59cc61"),
            ("test.tsv", 205_664, "8f088ce45dc4746592188f9e69de3d89d87f3bb8f0ed8c4a287d018123fa148d"),
        )
    ),
    licence="CC BY 4.0 (the corpus itself is CC0)",
    about="diseases in abstracts of PubMed (Doğan, Leaman and Lu 2014), in the form of Crichton et al. 2017",
)

_WNUT_AT = "https://raw.githubusercontent.com/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
WNUT17 = Dataset(
    "ner/wnut17",
    tuple(
        File(name, f"{_WNUT_AT}/{name}", sha256, size)
        for name, size, sha256 in (
            ("wnut17train.conll", 493_781, "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5"),
            ("emerging.dev.conll", 114_749, "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8"),
            ("emerging.test.annotated", 192_425, "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0"),
        )
    ),
    licence="CC BY 4.0",
    about="new and rare entities in tweets, comments and forums (Derczynski et al. 2017, WNUT shared task)",
)

_NAMES = {
    NCBI_DISEASE: {"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"},
    WNUT17: {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"},
}


def published(dataset: Dataset) -> Source:
    """A published data set in its official split. Both have a tab between word and tag, and IOB2."""
    names, layout = _NAMES[dataset], Layout(separator="tab")

    def file(split: str) -> Path:
        return fetch(dataset) / names[split]

    about = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
    return Source(lambda split: layout.read(file(split)), files=lambda split: [file(split)], about=about)


def folder(path: Path, names: Mapping[str, str | None], layout: Layout, held_out: float) -> Source:
    """A folder of the user's.

    Args:
        path: the folder.
        names: the file of each split; None: there is none. Without one for dev, part of train is dev.
        layout: how the files are laid out.
        held_out: the share of train that is dev where dev has no file.
    """
    has_dev, has_test = names["dev"] is not None, names["test"] is not None
    splits = ("train", *(("dev",) if has_dev or held_out > 0 else ()), *(("test",) if has_test else ()))

    def file(split: str) -> Path:
        found = path / str(names["train" if split == "dev" and not has_dev else split])
        if not found.is_file():
            null = {"train": "", "dev": "; null holds out a part of train instead", "test": "; null goes without"}
            raise DataError(Problem(str(found), "there is no such file", f"`{split}` names the file{null[split]}"))
        return found

    def read(split: str) -> Iterator[Example]:
        examples = layout.read(file(split))
        if split == "test" or has_dev or held_out == 0:
            return examples
        return (example for example in examples if is_held_out(example.input, held_out) == (split == "dev"))

    about: dict[str, Any] = {"dataset": str(path), "files": dict(names)}
    if not has_dev and held_out > 0:
        about["dev"] = f"{held_out:.4g} of {names['train']}, chosen by a hash of the words"
    return Source(read, splits, lambda split: [file(split)], about)


def is_held_out(words: Sequence[str], share: float) -> bool:
    """Whether a sentence of train is dev: a fixed function of its words, so that repeats of it stay on one side."""
    digest = hashlib.blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
