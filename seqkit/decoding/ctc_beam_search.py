"""Prefix beam search: the most probable texts of a CTC model, each summed over its alignments.

All probabilities are natural logarithms in double precision.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from seqkit.kernels import has_native_alignments, native_prefix_beam_search

Array: TypeAlias = NDArray[np.float64]

BLANK = 0
CPU = torch.device("cpu")


def prefix_beam_search(log_probs: Array, *, beams: int) -> list[tuple[tuple[int, ...], float]]:
    """The best texts of one sequence, the best first, with the logarithm of each text's probability.

    A text's probability is the sum over all alignments that collapse to it (Graves et al. 2006,
    doi:10.1145/1143844.1143891). The beam holds prefixes, not alignments, each with the probability of its alignments
    that end in a blank and of those that do not (Hannun et al. 2014, arXiv:1408.2873). With as many beams as there are
    prefixes the result is exact. With fewer, a prefix that leaves the beam and comes back has lost its earlier
    alignments, so probabilities are lower bounds.

    Args:
        log_probs: (T, C) of each step and class; class 0 is the blank.
        beams: prefixes kept after each step.

    Raises:
        ValueError: there is no step, or no beam, or a number is NaN.
    """
    if log_probs.ndim != 2 or len(log_probs) == 0 or beams < 1:
        raise ValueError(
            f"needs log_probs of shape (T, C) with T at least 1, and at least one beam; got {log_probs.shape} "
            f"and {beams} beams"
        )
    if np.isnan(log_probs).any():
        raise ValueError("the model's scores are not finite: log_probs has NaN")
    log_probs = np.asarray(log_probs, dtype=np.float64)
    if has_native_alignments(CPU):
        return native_prefix_beam_search(log_probs, beams)
    return _search_in_numpy(log_probs, beams)


def _search_in_numpy(log_probs: Array, beams: int) -> list[tuple[tuple[int, ...], float]]:
    """What `native_alignments.cpp` computes, for machines without a compiler."""
    classes = log_probs.shape[1]
    trie = _PrefixTrie()
    prefixes = np.zeros(1, dtype=np.int64)  # the empty text
    ends_in_blank, ends_in_symbol = np.zeros(1), np.full(1, -np.inf)
    for step in log_probs:
        totals = np.logaddexp(ends_in_blank, ends_in_symbol)
        last, beam_size = trie.last_symbols(prefixes), len(prefixes)
        # A prefix stays the same with a blank, or with its last symbol again.
        stay_blank = totals + step[BLANK]
        stay_symbol = np.where(last == BLANK, -np.inf, ends_in_symbol + step[last])
        # Any symbol extends it; its last symbol only after a blank.
        extend = totals[:, None] + step[None, :]
        nonempty = np.flatnonzero(last != BLANK)
        extend[nonempty, last[nonempty]] = ends_in_blank[nonempty] + step[last[nonempty]]
        extend[:, BLANK] = -np.inf
        # If the extended prefix is in the beam already, the two are one.
        children, parents = trie.pairs_of(prefixes)
        if children:
            symbols = last[children]
            stay_symbol[children] = np.logaddexp(stay_symbol[children], extend[parents, symbols])
            extend[parents, symbols] = -np.inf
        candidates = np.concatenate([np.logaddexp(stay_blank, stay_symbol), extend.reshape(-1)])
        best = _largest(candidates, beams)
        stayed = best[best < beam_size]
        extended = best[best >= beam_size] - beam_size
        prefixes = np.concatenate([prefixes[stayed], trie.extend(prefixes[extended // classes], extended % classes)])
        ends_in_blank = np.concatenate([stay_blank[stayed], np.full(len(extended), -np.inf)])
        ends_in_symbol = np.concatenate([stay_symbol[stayed], extend.reshape(-1)[extended]])
    totals = np.logaddexp(ends_in_blank, ends_in_symbol)
    order = np.argsort(-totals, kind="stable")
    return [(trie.text(int(prefixes[index])), float(totals[index])) for index in order if totals[index] > -np.inf]


class _PrefixTrie:
    """Numbers for prefixes. A prefix keeps its number, also after it has left the beam; 0 is the empty one."""

    def __init__(self) -> None:
        self._parent, self._symbol = [-1], [BLANK]
        self._child: dict[tuple[int, int], int] = {}

    def last_symbols(self, prefixes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The last symbol of each prefix; the blank for the empty one."""
        return np.array([self._symbol[prefix] for prefix in prefixes.tolist()], dtype=np.int64)

    def pairs_of(self, prefixes: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """Where prefixes are whose parent, i.e. all but the last symbol, is there too; and where the parents are."""
        places = {prefix: place for place, prefix in enumerate(prefixes.tolist())}
        pairs = [(places[prefix], places.get(self._parent[prefix])) for prefix in places]
        children = [child for child, parent in pairs if parent is not None]
        return children, [parent for _, parent in pairs if parent is not None]

    def extend(self, prefixes: NDArray[np.int64], symbols: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each prefix with one more symbol."""
        children = []
        for key in zip(prefixes.tolist(), symbols.tolist(), strict=True):
            if key not in self._child:
                self._child[key] = len(self._parent)
                self._parent.append(key[0])
                self._symbol.append(key[1])
            children.append(self._child[key])
        return np.array(children, dtype=np.int64)

    def text(self, node: int) -> tuple[int, ...]:
        """The symbols of a prefix."""
        symbols = []
        while node:
            symbols.append(self._symbol[node])
            node = self._parent[node]
        return tuple(reversed(symbols))


def _largest(totals: Array, count: int) -> NDArray[np.int64]:
    """The indices of the largest numbers, ascending; of equal numbers the earlier ones. -inf is never among them."""
    possible = np.flatnonzero(totals > -np.inf)
    if len(possible) <= count:
        return possible
    values = totals[possible]
    least = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = possible[values > least], possible[values == least]
    return np.sort(np.concatenate([above, equal[: count - len(above)]]))
