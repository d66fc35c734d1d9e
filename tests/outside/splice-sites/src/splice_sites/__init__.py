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
        folder: where train.sites, dev.sites and test.sites are; null: 300 generated genes that come along.
        flank: bases on either side of the place that is asked about, where the gene has as many.
        decoys: windows of `neither` for each true site, around the same two letters elsewhere in the gene.
    """
    place = BUNDLED if folder is None else folder
    return Task(
        read=partial(windows, folder=place, flank=flank, decoys=decoys),
        input=Tokens("characters"),
        target=Label(),
        head="classify",
        metric=site_scores,
        best="site_f1",
        files=lambda split: [place / f"{split}.sites"],
        parse=lambda line: line.strip().upper(),
        about={"source": "generated from Mount's consensus (1982)" if folder is None else str(folder)},
    )


def windows(split: str, *, folder: Path, flank: int, decoys: int) -> Iterator[Example]:
    """The windows of a split, gene by gene: around each site, then around its decoys."""
    path = folder / f"{split}.sites"
    for gene in genes(path):
        for kind, letters, places in (("donor", "GT", gene.donors), ("acceptor", "AG", gene.acceptors)):
            for at, line in places:
                yield Example(cut(gene, kind, at, flank), kind, f"{path.name}:{line}")
            for at in lookalikes(gene, kind, letters, decoys * len(places)):
                yield Example(cut(gene, kind, at, flank), "neither", f"{path.name}:{gene.line} base {at}, no {kind}")


def cut(gene: Gene, kind: str, at: int, flank: int) -> str:
    """The window around the junction before a donor's first base, or behind an acceptor's last: `..CAG|GTAAGT..`.

    The bar says where the junction is: at the ends of a gene a window is shorter on one side.
    """
    junction = at - 1 if kind == "donor" else at
    return f"{gene.bases[max(0, junction - flank) : junction]}|{gene.bases[junction : junction + flank]}"


def lookalikes(gene: Gene, kind: str, letters: str, count: int) -> list[int]:
    """Up to `count` places, spread over the gene, that have a site's two letters and are no site of its kind."""
    true = {at for at, _ in (gene.donors if kind == "donor" else gene.acceptors)}
    shift = 1 if kind == "donor" else 2
    found = [at + shift for at in range(len(gene.bases)) if gene.bases.startswith(letters, at)]
    free = [at for at in found if at not in true]
    return free if len(free) <= count else [free[k * len(free) // count] for k in range(count)]
