"""Where chains of residues with their structure come from: CB513, the user's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from seqkit import DataError, Dataset, Example, File, Flaw, MissingFile, Problem, fetch
from seqkit.readers import FileNames, ShareSplit, SplitFiles, TableFormat, column_index, is_remote, records
from seqkit.reading import report_changed, report_split_rule
from seqkit_proteins.fields import UNKNOWN

CB513 = Dataset(
    "protein/cb513",
    (File("CB513.csv.gz", None, "de3f9cedede7739813884e369355d5efa2e21cc78ee4f61353648e6754c6148f", 125_019),),
    licence="not stated (facts derived from the Protein Data Bank)",
    about="CB513 (Cuff and Barton 1999), in the form of NetSurfP-2.0 (Klausen et al. 2019)",
    by_hand=(
        "data/CB513.csv of github.com/shahid-43/protein_secondary_structure_prediction, compressed with gzip -n; it "
        "also works as your own (folder, with columns `input`, `dssp3` and `cb513_mask`), packed or not"
    ),
)
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
_DEV_PART: Final = 10
"""One chain in so many that are not test is dev."""


class Columns(NamedTuple):
    """The columns of residues, of structures, and of which residues count (None: all)."""

    sequence: str
    structure: str
    counted: str | None


def read_table(path: Path, columns: Columns, layout: TableFormat, *, labelled: bool = True) -> Iterator[Example]:
    """The chains of a table: residues, and a structure for each, `-` where it does not count.

    Raises:
        DataError: a column that is missing, or a chain with another number of structures than residues. Without
            `labelled`, such a chain is an example with a `Flaw` for its input.
    """
    if not (is_remote(path) or path.is_file()):
        raise MissingFile(path, "file")
    rows = records(path, layout=layout)
    header = next(rows)
    names = [name.strip() for name in header.fields]
    needed = [name for name in columns if name is not None] if labelled else [columns.sequence]
    for name in needed:
        column_index(path, header.number, names, name)
    for row in rows:
        id = f"{path.name}:{row.number}"
        try:
            if len(row.fields) != len(names):
                raise ValueError(f"has {len(row.fields)} columns, and the first line has {len(names)}")
            residues, *cells = [row.fields[names.index(name)].strip() for name in needed]
            if not residues:
                raise ValueError("has no residues")
            structure = _counted(len(residues), *cells) if labelled else None
        except ValueError as error:
            if labelled:
                raise DataError(Problem(f"{path}:{row.number}", str(error))) from None
            yield Example(Flaw(str(error)), None, id)
            continue
        yield Example(residues, structure, id)


def _counted(count: int, structure: str, marks: str | None = None) -> str:
    """A structure with `-` where it does not count. Raises ValueError for anything that is not as long as the chain."""
    if len(structure) != count:
        raise ValueError(f"has {count} residues and {len(structure)} structures")
    if marks is None:
        return structure
    values = marks.split() if " " in marks else list(marks)
    if len(values) != count:
        raise ValueError(f"has {count} residues and {len(values)} marks of which count")
    for place, value in enumerate(values, start=1):
        if value not in ("0", "1", "0.0", "1.0"):
            raise ValueError(f"residue {place}: the mark {value!r} should be 0 or 1")
    return "".join(letter if value[0] == "1" else UNKNOWN for letter, value in zip(structure, values, strict=True))


@final
@dataclass(frozen=True, kw_only=True)
class Chains:
    """CB513: its different chains, dealt out to folds in turn.

    Attributes:
        folds: how many.
        fold: the one that is test.
        columns: those of the file.
        trains_on_all: training learns from all residues of its chains whose structure is known.
    """

    folds: int
    fold: int
    columns: Columns
    trains_on_all: bool = False
    splits: tuple[str, ...] = ("train", "dev", "test")

    def files(self, split: str) -> list[Path]:
        return [fetch(CB513) / CB513.files[0].path]

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"dataset": CB513.name, "licence": CB513.licence, "about": CB513.about, "fold": self.fold}

    def examples(self, split: str) -> Iterator[Example]:
        """The chains of a split, each once."""
        report_split_rule(
            f"of {self.folds} folds, to which the different chains are dealt out in turn, fold {self.fold} is test; "
            f"every {_DEV_PART}th of the other chains is dev"
        )
        number_of_others = 0
        for number, (example, repeats) in enumerate(self._chains):
            if number % self.folds == self.fold:
                belongs_to = "test"
            else:
                number_of_others += 1
                belongs_to = "train" if number_of_others % _DEV_PART else "dev"
            if belongs_to == split:
                for id in repeats:
                    report_changed("row of a chain that has one already, joined to it", id)
                is_all = self.trains_on_all and split == "train"
                yield Example(example.input, self._structures[example.id], example.id) if is_all else example

    @cached_property
    def _structures(self) -> dict[str, str]:
        """The structures of all residues of each row, by its id, whether they count or not."""
        (path,) = self.files("train")
        rows = read_table(path, self.columns._replace(counted=None), TableFormat())
        return {example.id: example.target for example in rows}

    @cached_property
    def _chains(self) -> list[tuple[Example, list[str]]]:
        """Each chain with the structures that count in any of its rows, and the ids of its further rows."""
        (path,) = self.files("train")
        chains: dict[str, tuple[Example, list[str]]] = {}
        for example in read_table(path, self.columns, TableFormat()):
            if example.input not in chains:
                chains[example.input] = (example, [])
                continue
            first, repeats = chains[example.input]
            pairs = zip(first.target, example.target, strict=True)
            joined = "".join(other if letter == UNKNOWN else letter for letter, other in pairs)
            chains[example.input] = (Example(first.input, joined, first.id), [*repeats, example.id])
        return list(chains.values())


def own_files(
    folder: Path, names: Mapping[str, FileNames | None], columns: Columns, layout: TableFormat, shares: ShareSplit
) -> SplitFiles:
    """The user's tables."""

    def read(path: Path) -> Iterator[tuple[Example, str]]:
        return ((example, "") for example in read_table(path, columns, layout))

    return SplitFiles(folder=folder, names=names, read=read, shares=shares)
