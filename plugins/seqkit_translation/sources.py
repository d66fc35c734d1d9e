"""Where pairs of texts come from: the generator, Multi30K, the user's files."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from seqkit import DataError, Dataset, Example, File, MissingFile, Problem, UsageError, fetch, readers
from seqkit.reading import report_left_out, report_split_rule
from seqkit_translation import generator
from seqkit_translation.options import Kind

SUFFIXES = readers.TABLE_SUFFIXES


@final
@dataclass(frozen=True)
class Source:
    """Pairs of texts.

    Attributes:
        read: gives the pairs of a split.
        splits: the splits of this source.
        files: gives the files that a split is read from; None: there are none.
        about: facts for the run folder.
    """

    read: Callable[[str], Iterable[Example]]
    splits: tuple[str, ...] = ("train", "dev", "test")
    files: Callable[[str], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def generated(sizes: tuple[int, int, int], seed: int, kind: Kind) -> Source:
    """Pairs from the generator; `sizes` are the numbers of pairs of train, dev and test."""
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        report_split_rule("by a hash of the generated target: none is in two splits")
        pairs = generator.pairs(split, counts[split], seed=seed, kind=kind)
        for number, (source, target) in enumerate(pairs, 1):
            yield Example(source, target, f"generated {split}:{number}")

    about = {"dataset": f"generated transductions ({kind})", "sizes": counts, "seed": seed}
    return Source(read, about=about)


_MULTI30K_URL = (
    "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
)
_MULTI30K = {
    "en": (
        (568_929, "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"),
        (21_650, "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
        (21_077, "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"),
    ),
    "de": (
        (637_044, "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"),
        (24_681, "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
        (22_890, "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"),
    ),
    "fr": (
        (604_242, "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c"),
        (23_001, "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9"),
        (22_310, "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90"),
    ),
}
_MULTI30K_NAMES = {"train": "train", "dev": "val", "test": "test_2016_flickr"}


def multi30k_files(languages: Sequence[str]) -> Dataset:
    """The files of these languages."""
    return Dataset(
        "translation/multi30k",
        tuple(
            File(f"{name}.{language}.gz", f"{_MULTI30K_URL}/{name}.{language}.gz", sha256, size)
            for language in languages
            for name, (size, sha256) in zip(_MULTI30K_NAMES.values(), _MULTI30K[language], strict=True)
        ),
        licence="none stated; for research and education only, as the Flickr30k pictures that the captions are of",
        about="Multi30K task 1: captions of pictures in English, German and French (Elliott et al. 2016, 2017)",
    )


def multi30k(pair: tuple[str, str]) -> Source:
    """Multi30K; the test split is Flickr 2016.

    Raises:
        UsageError: it does not have this pair of languages.
    """
    if len(set(pair)) < 2 or not set(pair) <= set(_MULTI30K):
        known = ", ".join(_MULTI30K)
        raise UsageError(f"pair: [{', '.join(pair)}] should be two different languages of {known}, such as [de, en]")
    dataset = multi30k_files(pair)

    def files(split: str) -> list[Path]:
        folder = fetch(dataset)
        return [folder / f"{_MULTI30K_NAMES[split]}.{language}.gz" for language in pair]

    def read(split: str) -> Iterator[Example]:
        report_split_rule("by file, as published")
        return readers.parallel(*files(split))

    about = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about, "pair": list(pair)}
    return Source(read, files=files, about=about)


@final
@dataclass(frozen=True, kw_only=True)
class PairReader:
    """Reads pairs from the user's files: two parallel files, or one with both sides.

    Attributes:
        pair: the languages in the names of parallel files, input first.
        input: the column of the input, if a file has both sides.
        target: the column of the target.
        header: whether the first line names the columns.
        skip_blank: leave out pairs of which a side is blank.
        layout: the format of files with both sides.
    """

    pair: tuple[str, str]
    input: str | int | None = None
    target: str | int | None = None
    header: bool | None = None
    skip_blank: bool = False
    layout: readers.TableFormat = field(default_factory=readers.TableFormat)

    def files(self, folder: Path, name: str) -> list[Path]:
        """The file, or the two files if the name has `{}` for the language."""
        return [folder / name.replace("{}", side) for side in self.pair] if "{}" in name else [folder / name]

    def shards(self, folder: Path, names: readers.FileNames, split: str) -> list[tuple[Path, ...]]:
        """The files of a split: of each shard its file, or its two files if the names have `{}`.

        Raises:
            DataError: one is not there, or there are not as many of one language as of the other.
        """
        listed = readers.each_name(names)
        is_parallel = any("{}" in name for name in listed)
        sides = [
            readers.shard_files(folder, [name.replace("{}", side) for name in listed], split, suffixes=SUFFIXES)
            for side in (self.pair if is_parallel else self.pair[:1])
        ]
        if len({len(side) for side in sides}) > 1:
            counts = " and ".join(f"{len(side):,} of {name}" for side, name in zip(sides, self.pair, strict=True))
            raise DataError(Problem(str(folder / listed[0]), f"matches {counts}", "each file needs its other side"))
        return list(zip(*sides, strict=True))

    def read_shards(self, shards: Sequence[tuple[Path, ...]]) -> Iterator[Example]:
        """The pairs of all shards, one after the other."""
        files = {shard[0]: shard for shard in shards}
        return readers.read_shards(list(files), lambda path: self.read(files[path]))

    def read(self, files: Sequence[Path]) -> Iterator[Example]:
        """The pairs of a split."""
        for example in self._read(files):
            sides = (example.input, example.target)
            if self.skip_blank and any(isinstance(side, str) and not side.strip() for side in sides):
                report_left_out("pair of which a side is blank", example.id)
            else:
                yield example

    def read_inputs(self, path: Path) -> Iterator[Example]:
        """The inputs of a file that may have targets too; a row that cannot be read is a `Flaw`."""
        return self._table(path, labelled=False)

    def _read(self, files: Sequence[Path]) -> Iterator[Example]:
        return readers.parallel(*files) if len(files) == 2 else self._table(files[0])

    def _table(self, path: Path, *, labelled: bool = True) -> Iterator[Example]:
        return readers.table(
            path,
            input=self.input,
            target=self.target,
            names=("input", "target"),
            labelled=labelled,
            header=self.header,
            skip_blank=self.skip_blank and labelled,
            flaws=not labelled,
            layout=self.layout,
        )

    def check(self, name: str) -> None:
        """Raises UsageError if files of this name do not have such columns."""
        if "{}" in name:
            if self.pair[0] == self.pair[1]:
                raise UsageError(f"pair: [{', '.join(self.pair)}]: '{name}' would be the same file on both sides")
            return
        form = self.layout.of_name(name)
        for option, column in (("input_column", self.input), ("target_column", self.target)):
            if form in ("jsonl", "json") and isinstance(column, int):
                raise UsageError(f"{option}: {column}: JSON lines have keys, not columns; name the key for '{name}'")
            if isinstance(column, str) and self.header is False and form not in ("jsonl", "json", "parquet"):
                raise UsageError(f"{option}: '{column}' is a name, but header: false means that columns have none")


def folder(path: Path, names: Mapping[str, readers.FileNames | None], reader: PairReader, held_out: float) -> Source:
    """A folder of the user's files.

    Args:
        path: the folder.
        names: the file of each split; None: there is none. Without one for dev, part of train is dev.
        reader: reads the files.
        held_out: the share of train that is dev where dev has no file.

    Raises:
        UsageError: a file's name or a column that the reader does not support.
    """
    for name in itertools.chain.from_iterable(map(readers.each_name, names.values())):
        reader.check(name)
    has_dev, has_test = names["dev"] is not None, names["test"] is not None
    splits = ("train", *(("dev",) if has_dev or held_out > 0 else ()), *(("test",) if has_test else ()))

    def shards(split: str) -> list[tuple[Path, ...]]:
        own_names = names["train" if split == "dev" and not has_dev else split]
        return reader.shards(path, own_names or "", split)

    def read(split: str) -> Iterator[Example]:
        examples = reader.read_shards(shards(split))
        if split == "test" or has_dev or held_out == 0:
            report_split_rule("by file")
            return examples
        report_split_rule(rule)
        return (example for example in examples if is_held_out(example.input, held_out) == (split == "dev"))

    about: dict[str, Any] = {"dataset": str(path), "files": readers.plain_names(names), "pair": list(reader.pair)}
    rule = f"{held_out:.4g} of {readers.shown_names(names['train'])} is dev, chosen by a hash of the input"
    if not has_dev and held_out > 0:
        about["dev"] = f"{held_out:.4g} of {readers.shown_names(names['train'])}, chosen by a hash of the input"
    return Source(read, splits, lambda split: [file for shard in shards(split) for file in shard], about)


def read_other(
    path: Path,
    split: str | None,
    labelled: bool,
    names: Mapping[str, readers.FileNames | None],
    reader: PairReader,
    held_out: float,
) -> Iterable[Example]:
    """The pairs of a file (of two parallel files, if its name has `{}`), or of a split of another folder with such
    files: of test, if the user did not say. Without `labelled`, the inputs of a file.

    Raises:
        DataError: there is no such file.
        UsageError: the file is not of a kind that the reader supports, the folder has no such split, or a split is
            asked for of a file.
    """
    if path.is_dir():
        source = folder(path, names, reader, held_out)
        if (split or "test") not in source.splits:
            raise UsageError(f"{path}: the recipe names no file for {split or 'test'}; give the file itself")
        return source.read(split or "test")
    if split is not None:
        raise UsageError(f"--split: {path} is no folder with a file for each split; all of it is scored")
    reader.check(path.name)
    files = reader.files(path.parent, path.name)
    for file_path in files:
        if not file_path.exists():
            raise MissingFile(file_path)
    return reader.read(files) if labelled else reader.read_inputs(path)


def is_held_out(text: Any, share: float) -> bool:
    """Whether a pair of train is dev. It depends on the input alone, so repeats of an input are in one split."""
    digest = hashlib.blake2b(str(text).strip().encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
