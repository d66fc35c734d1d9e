"""Prefix beam search: the most probable texts of a CTC model, each text's alignments summed up.

Numbers are natural logarithms in double precision throughout.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

BLANK = 0


def prefix_beam_search(log_probs: Array, *, beams: int) -> list[tuple[tuple[int, ...], float]]:
    """The best texts of one sequence, the best first, with the logarithm of each text's probability.

    A text's probability is the sum over all alignments that collapse to it (Graves et al. 2006,
    doi:10.1145/1143844.1143891). Prefixes are kept rather than alignments, each with the probability that it ends in
    a blank and that it does not (Hannun et al. 2014, arXiv:1408.2873). With as many beams as there are prefixes the
    answer is exact; with fewer, a text that falls out of the beam and comes back has lost what it had, so
    probabilities are lower bounds.

    Args:
        log_probs: (T, C) logarithms of the probabilities of each step, class 0 the blank.
        beams: prefixes kept after each step.

    Raises:
        ValueError: there is no step, or no beam.
    """
    if log_probs.ndim != 2 or len(log_probs) == 0 or beams < 1:
        raise ValueError(f"needs (T, C) with T at least 1 and a beam, not {log_probs.shape} and {beams}")
    classes = log_probs.shape[1]
    trie = _Trie()
    nodes = np.zeros(1, dtype=np.int64)  # the empty text
    in_blank, in_symbol = np.zeros(1), np.full(1, -np.inf)
    for step in np.asarray(log_probs, dtype=np.float64):
        whole = np.logaddexp(in_blank, in_symbol)
        last, kept = trie.symbols(nodes), len(nodes)
        # A prefix stays what it is by a blank, or by its last symbol once more.
        stay_blank = whole + step[BLANK]
        stay_symbol = np.where(last == BLANK, -np.inf, in_symbol + step[last])
        # It grows by any symbol; by its last symbol only over a blank in between.
        grow = whole[:, None] + step[None, :]
        has_last = np.flatnonzero(last != BLANK)
        grow[has_last, last[has_last]] = in_blank[has_last] + step[last[has_last]]
        grow[:, BLANK] = -np.inf
        # A prefix that grows into another one of the beam adds to it.
        place = {int(node): at for at, node in enumerate(nodes)}
        for at, parent in enumerate(trie.parents(nodes)):
            origin = place.get(int(parent))
            if origin is not None and last[at] != BLANK:
                stay_symbol[at] = np.logaddexp(stay_symbol[at], grow[origin, last[at]])
                grow[origin, last[at]] = -np.inf
        totals = np.concatenate([np.logaddexp(stay_blank, stay_symbol), grow.reshape(-1)])
        best = _largest(totals, beams)
        stays = best[best < kept]
        grows = best[best >= kept] - kept
        nodes = np.concatenate([nodes[stays], trie.children(nodes[grows // classes], grows % classes)])
        in_blank = np.concatenate([stay_blank[stays], np.full(len(grows), -np.inf)])
        in_symbol = np.concatenate([stay_symbol[stays], grow.reshape(-1)[grows]])
    totals = np.logaddexp(in_blank, in_symbol)
    order = np.argsort(-totals, kind="stable")
    return [(trie.text(int(nodes[at])), float(totals[at])) for at in order if totals[at] > -np.inf]


class _Trie:
    """Every prefix has one number, for ever: its parent's and its last symbol decide. 0 is the empty one."""

    def __init__(self) -> None:
        self._parent, self._symbol = [-1], [BLANK]
        self._child: dict[tuple[int, int], int] = {}

    def symbols(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The last symbol of each prefix; the blank for the empty one."""
        return np.array([self._symbol[node] for node in nodes.tolist()], dtype=np.int64)

    def parents(self, nodes: NDArray[np.int64]) -> list[int]:
        return [self._parent[node] for node in nodes.tolist()]

    def children(self, nodes: NDArray[np.int64], symbols: NDArray[np.int64]) -> NDArray[np.int64]:
        found = []
        for key in zip(nodes.tolist(), symbols.tolist(), strict=True):
            if key not in self._child:
                self._child[key] = len(self._parent)
                self._parent.append(key[0])
                self._symbol.append(key[1])
            found.append(self._child[key])
        return np.array(found, dtype=np.int64)

    def text(self, node: int) -> tuple[int, ...]:
        symbols = []
        while node:
            symbols.append(self._symbol[node])
            node = self._parent[node]
        return tuple(reversed(symbols))


def _largest(totals: Array, count: int) -> NDArray[np.int64]:
    """Where the largest numbers are, in their order; of equals the earlier. -inf is never among them."""
    possible = np.flatnonzero(totals > -np.inf)
    if len(possible) <= count:
        return possible
    values = totals[possible]
    least = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = possible[values > least], possible[values == least]
    return np.sort(np.concatenate([above, equal[: count - len(above)]]))
