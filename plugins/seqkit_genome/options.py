"""Types of options, and options that travel together. See `seqkit_genome.genome` for what each one does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, final

from annotated_types import Ge, Le

Case: TypeAlias = Literal["fold", "keep", "mask"]
Format: TypeAlias = Literal["auto", "fasta", "fastq", "csv", "tsv", "jsonl", "json", "parquet", "uci"]
Gaps: TypeAlias = Literal["refuse", "remove", "unknown"]
Names: TypeAlias = Literal["refuse", "allow"]
Signal: TypeAlias = Literal["splice", "promoter"]
Strands: TypeAlias = Literal["given", "augment", "average", "both"]

FoldCount = Annotated[int, Ge(2)]
KmerLength = Annotated[int, Ge(1), Le(8)]


@final
@dataclass(frozen=True)
class Spelling:
    """How letters become bases."""

    case: Case = "fold"
    gaps: Gaps = "refuse"


@final
@dataclass(frozen=True, kw_only=True)
class Scan:
    """Motif scanners in front of the recurrence: see `seqkit_genome.layers.MotifScanners`.

    Attributes:
        width: bases that a scanner looks at.
        filters: number of scanners; None: as many as the encoder's input is wide.
        pool: of this many consecutive steps, the strongest response is kept.
        dropout: share of the responses that training drops.
    """

    width: int
    filters: int | None = None
    pool: int = 1
    dropout: float = 0.0
