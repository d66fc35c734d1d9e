"""D1: a conditional random field, its loss and its best paths; the loss of connectionist temporal classification.
D2: beam search of a decoder with attention, and of connectionist temporal classification."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target

if TYPE_CHECKING:
    from torch import Tensor

BATCH, SYMBOLS, WIDTH = 32, 2000, 128
CTC_ROWS, CTC_BEAMS = 8, 16


def _cases() -> list[Case]:
    cases = []
    for operation in ("loss", "best paths"):
        for classes in (9, 50):
            for steps in (50, 400):
                name = f"CRF {operation} C{classes} T{steps}"
                options = {"operation": operation, "classes": classes, "steps": steps}
                cases.append(Case(name, options, quick=steps == 50))
    for classes, steps in ((30, 100), (30, 400), (500, 400)):
        options = {"operation": "alignments", "classes": classes, "steps": steps}
        cases.append(Case(f"CTC loss C{classes} T{steps}", options, quick=steps == 100))
    for classes, steps in ((30, 100), (30, 400), (500, 400)):
        options = {"operation": "texts", "classes": classes, "steps": steps}
        cases.append(Case(f"CTC beam {CTC_BEAMS} C{classes} T{steps}", options, quick=steps == 100))
    cases += [Case(f"beam {k}", {"operation": "beam", "classes": k, "steps": 20}, quick=k < 10) for k in (1, 5, 10)]
    return cases


def chain(classes: int, steps: int) -> tuple[Tensor, ...]:
    """Emissions (B, T, C), transitions, start and end scores, tags (B, T), lengths from a third of T to T."""
    import torch

    g = torch.Generator().manual_seed(classes + steps)
    lengths = torch.randint(steps // 3, steps + 1, (BATCH,), generator=g)
    lengths[0] = steps
    emissions = torch.randn(BATCH, steps, classes, generator=g)
    tags = torch.randint(0, classes, (BATCH, steps), generator=g)
    return (
        emissions,
        *(torch.randn(*s, generator=g) for s in ((classes, classes), (classes,), (classes,))),
        tags,
        lengths,
    )


def notes(lengths: Tensor, steps: int) -> Mapping[str, Any]:
    return {"tokens": int(lengths.sum()), "padded": len(lengths) * steps}


def seqkit(operation: str, classes: int, steps: int) -> Prepared:
    if operation == "texts":
        from seqkit.decoding.ctc_beam_search import prefix_beam_search

        return searched(lambda log_probs: prefix_beam_search(log_probs, beams=CTC_BEAMS)[0][0], classes, steps)
    import torch

    from seqkit.heads.crf_algorithms import Chain, best_paths, negative_log_likelihood

    if operation == "beam":
        return beam(classes, steps)
    if operation == "alignments":
        from seqkit.heads.ctc_algorithms import ctc_nats

        return aligned(ctc_nats, classes, steps)
    emissions, transitions, start, end, tags, lengths = chain(classes, steps)
    inputs = [scores.requires_grad_() for scores in (emissions, transitions, start, end)]

    def loss() -> tuple[Tensor, ...]:
        total = negative_log_likelihood(Chain.of(*inputs, lengths), tags).sum()
        return total, *torch.autograd.grad(total, inputs)

    def paths() -> Tensor:
        with torch.no_grad():
            states: Tensor = best_paths(Chain.of(*inputs, lengths))[0][:, 0]
        return states

    return prepared(operation, loss, paths, classes, steps)


def prepared(operation: str, loss: Any, paths: Any, classes: int, steps: int) -> Prepared:
    """A round is ten calls: one is too short to time.

    Paths are compared by their scores in double precision: where two are nearly as good, rounding decides which it is.
    """
    *scores, _, lengths = chain(classes, steps)

    def run() -> None:
        for _ in range(10):
            loss() if operation == "loss" else paths()

    def outputs() -> Mapping[str, Any]:
        if operation == "loss":
            names = ("loss", "of emissions", "of transitions", "of start", "of end")
            return {name: tensor.detach().numpy() for name, tensor in zip(names, loss(), strict=True)}
        from seqkit.heads.crf_algorithms import Chain, path_score

        path_scores = path_score(Chain.of(*scores, lengths), paths())
        return {"scores of the paths": path_scores.numpy()}

    return Prepared(run, outputs, {key: 10 * value for key, value in notes(lengths, steps).items()})


def torchcrf(operation: str, classes: int, steps: int) -> Prepared:
    import torch
    from torchcrf import CRF

    emissions, transitions, start, end, tags, lengths = chain(classes, steps)
    crf = CRF(classes, batch_first=True)
    with torch.no_grad():
        crf.transitions.copy_(transitions)
        crf.start_transitions.copy_(start)
        crf.end_transitions.copy_(end)
    emissions.requires_grad_()
    mask = torch.arange(steps)[None] < lengths[:, None]
    inputs = [emissions, crf.transitions, crf.start_transitions, crf.end_transitions]

    def loss() -> tuple[Tensor, ...]:
        total = -crf(emissions, tags, mask=mask, reduction="sum")
        return total, *torch.autograd.grad(total, inputs)

    def paths() -> Tensor:
        with torch.no_grad():
            states = torch.zeros(BATCH, steps, dtype=torch.int64)
            for row, path in enumerate(crf.decode(emissions, mask=mask)):
                states[row, : len(path)] = torch.tensor(path)
        return states

    return prepared(operation, loss, paths, classes, steps)


def torch_ctc(operation: str, classes: int, steps: int) -> Prepared:
    from torch.nn import functional

    def nats(log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        return functional.ctc_loss(log_probs.transpose(0, 1), texts, lengths, counts, reduction="none")

    return aligned(nats, classes, steps)


def aligned(nats: Any, classes: int, steps: int) -> Prepared:
    """The loss with its gradient: texts of a sixth of their sequence's steps, from log-probabilities, ten calls."""
    import torch

    g = torch.Generator().manual_seed(classes + steps)
    lengths = torch.randint(steps // 3, steps + 1, (BATCH,), generator=g)
    lengths[0] = steps
    counts = lengths // 6
    texts = torch.randint(1, classes, (BATCH, int(counts.max())), generator=g)
    log_probs = (3.0 * torch.randn(BATCH, steps, classes, generator=g)).log_softmax(-1).requires_grad_()

    def loss(log_probs: Tensor) -> tuple[Tensor, Tensor]:
        of_texts = nats(log_probs, texts, lengths, counts)
        return of_texts, torch.autograd.grad(of_texts.sum(), log_probs)[0]

    def run() -> None:
        for _ in range(10):
            loss(log_probs)

    def outputs() -> Mapping[str, Any]:
        # In double precision: in single, torch's gradient over 400 steps is off by 1e-3.
        wide = log_probs.detach().double().requires_grad_()
        of_texts, gradient = loss(wide)
        # Torch's gradient presumes that a softmax comes before; behind one, both are the same.
        through_softmax = gradient - wide.detach().exp() * gradient.sum(-1, keepdim=True)
        return {"loss": of_texts.detach().numpy(), "gradient": through_softmax.numpy()}

    return Prepared(run, outputs, {key: 10 * value for key, value in notes(lengths, steps).items()})


def pyctcdecode(operation: str, classes: int, steps: int) -> Prepared:
    """As it comes: at each step it leaves out symbols below -5 nats, and beams that are 10 nats behind the best one."""
    return _pyctcdecode(classes, steps)


def pyctcdecode_unpruned(operation: str, classes: int, steps: int) -> Prepared:
    """All symbols of all steps, and no beam for its score alone, as seqkit searches."""
    return _pyctcdecode(classes, steps, beam_prune_logp=-math.inf, token_min_logp=-math.inf)


def _pyctcdecode(classes: int, steps: int, **pruning: float) -> Prepared:
    """Without a language model. There is no space among the symbols: each text is one word."""
    import logging

    from pyctcdecode import build_ctcdecoder

    logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
    letters = [chr(0x4E00 + number) for number in range(classes)]
    decoder = build_ctcdecoder(["", *letters[1:]])
    numbers = {letter: number for number, letter in enumerate(letters)}

    def search(log_probs: Any) -> Sequence[int]:
        return [numbers[letter] for letter in decoder.decode(log_probs, beam_width=CTC_BEAMS, **pruning)]

    return searched(search, classes, steps)


def searched(search: Callable[[Any], Sequence[int]], classes: int, steps: int) -> Prepared:
    """The best text of each sequence, by `search` from (T, C) to classes, one after the other.

    Texts are compared by their probability over all alignments: where two are nearly as good, the searches may differ.
    """
    arrays = _sharp_log_probs(classes, steps)

    def run() -> None:
        for log_probs in arrays:
            search(log_probs)

    def outputs() -> Mapping[str, Any]:
        import numpy as np

        return {"log-probabilities": np.array([text_log_prob(array, search(array)) for array in arrays])}

    return Prepared(run, outputs, {"tokens": CTC_ROWS * steps, "padded": CTC_ROWS * steps})


def _sharp_log_probs(classes: int, steps: int) -> list[Any]:
    """(T, C) of each sequence, as trained models have them: one class of a step has most of the probability.

    A symbol takes one or two steps, and one to three blanks are between symbols.
    """
    import numpy as np

    generator = np.random.default_rng(classes + steps)
    arrays = []
    for _ in range(CTC_ROWS):
        path = np.zeros(steps, dtype=np.int64)
        start = 0
        while start < steps:
            stop = start + int(generator.integers(1, 3))
            path[start:stop] = generator.integers(1, classes)
            start = stop + int(generator.integers(1, 4))
        scores = generator.normal(size=(steps, classes))
        scores[np.arange(steps), path] += generator.normal(math.log(classes) + 4, 2, size=steps)
        arrays.append(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
    return arrays


def text_log_prob(log_probs: Any, text: Sequence[int]) -> float:
    """The logarithm of a text's probability, summed over its alignments. By numpy alone: peers need not have torch.

    Args:
        log_probs: (T, C) of each step and class; class 0 is the blank.
        text: classes.
    """
    import numpy as np

    states = np.zeros(2 * len(text) + 1, dtype=np.int64)
    states[1::2] = text
    can_skip = np.zeros(len(states), dtype=bool)
    can_skip[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), -np.inf)
    scores[:2] = log_probs[0, states[:2]]
    for step in log_probs[1:]:
        skipped = np.where(can_skip, np.append([-np.inf] * 2, scores)[: len(states)], -np.inf)
        scores = np.logaddexp(np.logaddexp(scores, np.append(-np.inf, scores[:-1])), skipped) + step[states]
    return float(np.logaddexp.reduce(scores[-2:]))


def beam(beams: int, steps: int) -> Prepared:
    """Sentences of up to 20 words to sentences, an LSTM with attention, as a round of evaluation has it."""
    import torch

    from seqkit.encoders import lstm
    from seqkit.fields import Text
    from seqkit.heads import attend
    from seqkit.interfaces import Batch
    from seqkit.layers.embedding import Embedding

    torch.manual_seed(2)
    target = Text("characters").fit(["".join(chr(0x4E00 + i) for i in range(SYMBOLS))])
    layer, encoder = Embedding(SYMBOLS, WIDTH), lstm(WIDTH, hidden=WIDTH, bidirectional=True)
    head = attend(encoder.out_dim, target, layer, hidden=2 * WIDTH, embedding=WIDTH, beams=beams, max_length=steps)
    lengths = torch.randint(steps // 2, steps + 1, (BATCH,), generator=torch.Generator().manual_seed(1))
    lengths[0] = steps
    x = torch.randint(4, SYMBOLS, (BATCH, steps), generator=torch.Generator().manual_seed(5))
    batch = Batch(x, lengths)

    def run() -> None:
        with torch.no_grad():
            head.eval().predict(encoder(*layer(x, lengths)), batch)

    return Prepared(run, None, notes(lengths, steps))


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """How much a beam costs beside greedy search."""
    medians = {case["name"]: case["results"].get("seqkit", {}).get("median") for case in cases}
    greedy = medians.get("beam 1")
    return {
        f"{name} costs, in greedy searches": round(t / greedy, 2)
        for name, t in medians.items()
        if greedy and t and name.startswith("beam ")
    }


HERE = __name__
_CTC = [case.name for case in _cases() if case.name.startswith("CTC loss")]
_CTC_BEAM = [case.name for case in _cases() if case.name.startswith("CTC beam")]
_CRF = [case.name for case in _cases() if case.name.startswith("CRF")]
GROUP = Group(
    "decoding",
    "A conditional random field over 32 sequences: the loss with its gradients, and the best paths (ten calls per "
    "round); the loss of CTC with its gradient, texts of a sixth of their sequence's steps; beam search of CTC, 8 "
    "sequences one after the other, 16 beams, without a language model; and beam search of a decoder with attention, "
    "2,000 symbols, up to 20 steps. pyctcdecode leaves out symbols and beams that are unlikely, unless it is told not "
    "to; seqkit leaves out none. pytorch-crf sums in single precision: over 400 steps its "
    "gradients differ from ours by up to 3e-4, and with inputs in double precision by 4e-8.",
    _cases(),
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("pytorch-crf", f"{HERE}:torchcrf", needs=("torchcrf",), only=_CRF),
        Contender("torch", f"{HERE}:torch_ctc", only=_CTC),
        Contender("pyctcdecode", f"{HERE}:pyctcdecode", needs=("pyctcdecode",), only=_CTC_BEAM),
        Contender(
            "pyctcdecode, unpruned",
            f"{HERE}:pyctcdecode_unpruned",
            needs=("pyctcdecode",),
            only=[name for name in _CTC_BEAM if "C30" in name],  # with 500 classes a round takes minutes
        ),
    ],
    [
        Target("CRF loss", "CRF loss", "pytorch-crf", 2, 5),
        Target("Viterbi", "CRF best paths", "pytorch-crf", 2, 5),
        Target("CTC loss", "CTC loss", "torch", 3, 3),
        Target("CTC beam search", "CTC beam", "pyctcdecode", 3, 3),
        Target("CTC beam search, nothing left out", f"CTC beam {CTC_BEAMS} C30", "pyctcdecode, unpruned", 3, 3),
    ],
    tolerance=1e-3,
    derive=derive,
)
