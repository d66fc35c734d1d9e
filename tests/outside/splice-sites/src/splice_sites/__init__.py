"""Splice sites: is this window of DNA around the start of an intron, around its end, or around neither?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from seqkit import Count, Example, Label, Size, Task, Tokens

from splice_sites.reading import Gene, genes
from splice_sites.scores import site_scores

__all__ = ["splice_sites"]

BUNDLED = Path(__file__).parent / "data"


def splice_sites(*, folder: Path | None = None, flank: Count = 12, decoys: Size = 1) -> Task:
    """Does an intron begin (a donor) or end (an acceptor) at the bar in this window of DNA, or neither?

    `echo 'TTACAG|GTAAGTAT' | seqkit predict RUN` asks about a window of your own.

    Args:
        folder: the folder of train.sites, dev.sites and test.sites; null: 300 bundled generated genes.
        flank: bases on either side of the bar, fewer at the ends of a gene.
        decoys: windows of `neither` for each true site, around the same two letters elsewhere in the gene.
    """
    data = BUNDLED if folder is None else folder
    return Task(
        read=partial(windows, folder=data, flank=flank, decoys=decoys),
        input=Tokens("characters"),
        target=Label(),
        head="classify",
        metric=site_scores,
        best="site_f1",
        files=lambda split: [data / f"{split}.sites"],
        parse=lambda line: line.strip().upper(),
        about={"source": "generated from Mount's consensus (1982)" if folder is None else str(folder)},
    )


def windows(split: str, *, folder: Path, flank: int, decoys: int) -> Iterator[Example]:
    """The windows of a split, gene by gene: around each site, then around its decoys."""
    path = folder / f"{split}.sites"
    for gene in genes(path):
        for kind, letters, sites in (("donor", "GT", gene.donors), ("acceptor", "AG", gene.acceptors)):
            for base, line in sites:
                yield Example(window(gene, kind, base, flank), kind, f"{path.name}:{line}")
            for base in decoy_positions(gene, kind, letters, decoys * len(sites)):
                id = f"{path.name}:{gene.line} base {base}, no {kind}"
                yield Example(window(gene, kind, base, flank), "neither", id)


def window(gene: Gene, kind: str, base: int, flank: int) -> str:
    """The window around the junction before a donor's first base, or behind an acceptor's last: `..CAG|GTAAGT..`.

    The bar is at the junction; at the ends of a gene a window is shorter on one side.
    """
    junction = base - 1 if kind == "donor" else base
    return f"{gene.bases[max(0, junction - flank) : junction]}|{gene.bases[junction : junction + flank]}"


def decoy_positions(gene: Gene, kind: str, letters: str, count: int) -> list[int]:
    """Up to `count` bases, spread over the gene, that have the two letters of a site but are not one of this kind."""
    sites = {base for base, _ in (gene.donors if kind == "donor" else gene.acceptors)}
    shift = 1 if kind == "donor" else 2
    candidates = [start + shift for start in range(len(gene.bases)) if gene.bases.startswith(letters, start)]
    decoys = [base for base in candidates if base not in sites]
    return decoys if len(decoys) <= count else [decoys[k * len(decoys) // count] for k in range(count)]
