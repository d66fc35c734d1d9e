"""Sequences of DNA for tests: the other strand by the letters, padded batches, FASTA files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch

_COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVNacgt", "TGCAYRSWMKVHDBNtgca")


def other_strand(text: str) -> str:
    """The reverse complement."""
    return text.translate(_COMPLEMENT)[::-1]


def pad_sequences(field: Any, texts: list[str], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (B, T) and lengths (B,), with `extra` steps of padding behind the longest."""
    arrays = [field.encode(text).astype("int64") for text in texts]
    steps = max(map(len, arrays)) + extra
    rows = [np.pad(array, (0, steps - len(array))) for array in arrays]
    return torch.from_numpy(np.stack(rows)), torch.tensor([len(array) for array in arrays])


def write_fasta(path: Path, rows: list[tuple[str, str]], ends: str = "\n") -> Path:
    """A FASTA file of (sequence, label), gzipped if its name ends in .gz. Headers are `>r0 LABEL`, `>r1 LABEL`, ..."""
    text = "".join(f">r{i} {label}{ends}{sequence}{ends}" for i, (sequence, label) in enumerate(rows))
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
