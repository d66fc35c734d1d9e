"""Several models' heads as one head, which averages what they say: the parts that the heads of an ensemble are made of.

A head of an ensemble reads the encoded steps of all members side by side, (B, T, H_1 + ... + H_M). Probabilities are
averaged, not their logarithms (a linear opinion pool; Stone 1961, doi:10.1214/aoms/1177704873), and kept as logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.heads.decoder import Decoder, DecoderInput, DecoderState, TeacherForced
from seqkit.heads.distributions import Family, Gaussian, Mixture, Quantiles
from seqkit.interfaces import Encoded, State


def mean_log_probs(members: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of probabilities, from their logarithms (each of the same shape)."""
    return torch.stack(list(members)).logsumexp(dim=0) - math.log(len(members))


def mean_log_odds(members: Sequence[Tensor]) -> Tensor:
    """The log-odds of the mean of probabilities, from their log-odds (each of the same shape)."""
    true = mean_log_probs([functional.logsigmoid(member) for member in members])
    return true - mean_log_probs([functional.logsigmoid(-member) for member in members])


class JointScores(nn.Module):
    """Linear maps to classes: the logarithm of the mean of the members' probabilities.

    Args:
        maps: of the members, from H_m to C scores.
        widths: H_m.
        independent: each class is predicted for itself, by a logistic function; the result is the log-odds of the mean.
    """

    def __init__(self, maps: Sequence[nn.Module], widths: Sequence[int], *, independent: bool = False) -> None:
        super().__init__()
        self.maps, self.widths, self.independent = nn.ModuleList(maps), list(widths), independent

    def forward(self, x: Tensor) -> Tensor:
        """(..., H_1 + ... + H_M) -> (..., C)."""
        scores = [
            score(part).float() for score, part in zip(self.maps, torch.split(x, self.widths, dim=-1), strict=True)
        ]
        if self.independent:
            return mean_log_odds(scores)
        return mean_log_probs([member.log_softmax(dim=-1) for member in scores])


class JointPooling(nn.Module):
    """The members' poolings, side by side."""

    def __init__(self, members: Sequence[nn.Module], widths: Sequence[int]) -> None:
        super().__init__()
        self.members, self.widths = nn.ModuleList(members), list(widths)

    def forward(self, encoded: Encoded) -> Tensor:
        """-> (B, H_1 + ... + H_M)."""
        return torch.cat([pool(part) for pool, part in self._parts(encoded)], dim=-1)

    def running(self, encoded: Encoded) -> Tensor:
        """-> (B, T, H_1 + ... + H_M)."""
        return torch.cat([pool.running(part) for pool, part in self._parts(encoded)], dim=-1)

    def advance(
        self, encoded: Encoded, kept: Sequence[State], *, every_step: bool = False
    ) -> tuple[Tensor, list[State]]:
        """As `Pooling.advance`; what is kept is that of each member after the other."""
        vectors, new = [], []
        for number, (pool, part) in enumerate(self._parts(encoded)):
            before = [_share(state, number, len(self.widths)) for state in kept]
            vector, after = pool.advance(part, before, every_step=every_step)
            vectors.append(vector)
            new.append(after)
        return torch.cat(vectors, dim=-1), [sum(states, ()) for states in zip(*new, strict=True)]

    def _parts(self, encoded: Encoded) -> list[tuple[Any, Encoded]]:
        return list(zip(self.members, encoded.split(self.widths), strict=True))


def _share(state: State, number: int, count: int) -> State:
    """The part of a state that member `number` of `count` keeps, each of which keeps as many tensors."""
    size = len(state) // count
    return state[number * size : (number + 1) * size]


class JointNumbers(nn.Module):
    """Numbers, or the parameters of a distribution of each, as the mean of the members says them.

    Points are averaged. Of Gaussians, it is the Gaussian with the mean and the variance of their mixture
    (Lakshminarayanan et al. 2017, arXiv:1612.01474); of mixtures, the mixture of all their components; of quantiles,
    the mean of each quantile (Vincent 1912).

    Args:
        maps: of the members, from H_m to the raw outputs.
        widths: H_m.
        family: of each number; None: it is a point.
        count: K, how many numbers.
    """

    def __init__(self, maps: Sequence[nn.Module], widths: Sequence[int], family: Family | None, count: int) -> None:
        super().__init__()
        self.maps, self.widths, self.family, self.count = nn.ModuleList(maps), list(widths), family, count

    def forward(self, x: Tensor) -> Tensor:
        """(..., H_1 + ... + H_M) -> (..., K) numbers, or (..., K, P) parameters."""
        outputs = [
            score(part).float() for score, part in zip(self.maps, torch.split(x, self.widths, dim=-1), strict=True)
        ]
        family = self.family
        if family is None:
            return torch.stack(outputs).mean(dim=0)
        members = torch.stack(
            [
                family.parameters(raw.reshape(*raw.shape[:-1], family.size, self.count).transpose(-1, -2))
                for raw in outputs
            ]
        )
        if isinstance(family, Gaussian):
            means, variances = members[..., 0], members[..., 1].exp()
            mean = means.mean(dim=0)
            variance = (variances + (means - mean).square()).mean(dim=0)
            return torch.stack([mean, variance.log()], dim=-1)
        if isinstance(family, Mixture):
            weight, location, scale = (torch.cat(tuple(part), dim=-1) for part in members.chunk(3, dim=-1))
            return torch.cat([weight / len(members), location, scale], dim=-1)
        return members.mean(dim=0)


def joint_family(family: Family | None, members: int) -> Family | None:
    """The family of what `JointNumbers` gives.

    Raises:
        TypeError: the mean of such distributions is no distribution of a known family.
    """
    if family is None or isinstance(family, Gaussian | Quantiles):
        return family
    if isinstance(family, Mixture):
        return Mixture(family.components * members)
    raise TypeError(
        f"a mean of several distributions of the family {type(family).__name__} is of no family that can be predicted "
        "with; take loss: mixture, gaussian or quantiles"
    )


class JointSoftmax(nn.Module):
    """The language model heads of several models: the mean of their probabilities of the next symbol.

    It has the methods of `AdaptiveSoftmax`, and is used in its place.
    """

    def __init__(self, members: Sequence[nn.Module], widths: Sequence[int]) -> None:
        super().__init__()
        self.members, self.widths = nn.ModuleList(members), list(widths)

    def log_probabilities(self, steps: Tensor) -> Tensor:
        """(..., H_1 + ... + H_M) -> (..., V), of all symbols."""
        heads: list[Any] = list(self.members)
        parts = zip(heads, torch.split(steps, self.widths, dim=-1), strict=True)
        return mean_log_probs([head.logits(part).log_softmax(dim=-1) for head, part in parts])

    def loss(self, steps: Tensor, y: Tensor) -> Tensor:
        """(N, H_1 + ... + H_M), (N,) symbols or -1 for none -> () the sum of their negative log-probabilities."""
        return self.nats(steps, y).sum()

    def nats(self, steps: Tensor, y: Tensor) -> Tensor:
        """The same, (N,) for each symbol, 0 where there is none."""
        return functional.nll_loss(self.log_probabilities(steps), y, ignore_index=-1, reduction="none")

    def best(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H_1 + ... + H_M) -> (N,) the log-probability of the most probable symbol, and (N,) that symbol."""
        best = self.log_probabilities(steps).max(dim=-1)
        return best.values, best.indices


@dataclass(frozen=True)
class JointInput:
    """What the members' decoders read."""

    members: tuple[DecoderInput, ...]

    def take_rows(self, index: Tensor) -> Self:
        """The input of these examples only."""
        return type(self)(tuple(member.take_rows(index) for member in self.members))


@dataclass(frozen=True)
class JointState:
    """What the members' decoders carry from step to step."""

    members: tuple[DecoderState, ...]

    def take_rows(self, index: Tensor) -> Self:
        """The state of these examples only."""
        return type(self)(tuple(member.take_rows(index) for member in self.members))

    def take_beams(self, parents: Tensor) -> Self:
        """The state of new beams; (B, K') says which old beam of its example each of them continues."""
        return type(self)(tuple(member.take_beams(parents) for member in self.members))


class JointDecoder(nn.Module):
    """Decoders of several models that write one text: at each symbol their probabilities are averaged.

    It has the methods of `Decoder`. Its readout is the logarithm of the mean probabilities, and its attention the mean
    of their weights.
    """

    def __init__(self, members: Sequence[Decoder], widths: Sequence[int]) -> None:
        super().__init__()
        self.members, self.widths = nn.ModuleList(members), list(widths)
        self.input_feeding = self.coverage = False
        self.tensors_per_state = 0

    @property
    def _decoders(self) -> list[Any]:
        return list(self.members)

    @property
    def attention(self) -> nn.Module | None:
        """The first member's, if all have one."""
        modules = [decoder.attention for decoder in self._decoders]
        return None if any(module is None for module in modules) else modules[0]

    @property
    def bias(self) -> Tensor:
        """(V,), of the first member; it says how many symbols there are."""
        bias: Tensor = self._decoders[0].bias
        return bias

    @property
    def hidden(self) -> int:
        """The widths of the members' states, summed."""
        return sum(decoder.hidden for decoder in self._decoders)

    def begin(self, encoded: Encoded) -> tuple[JointInput, JointState]:
        """The input of every step, and the state before the first symbol, with one beam."""
        parts = zip(self._decoders, encoded.split(self.widths), strict=True)
        sources, states = zip(*(decoder.begin(part) for decoder, part in parts), strict=True)
        return JointInput(sources), JointState(states)

    def step(self, source: JointInput, state: JointState, symbols: Tensor) -> tuple[Tensor, JointState, Tensor | None]:
        """(B, K) symbols read -> (B, K, V) log-probabilities, the next state, and weights of attention or None."""
        log_probs, states, weights = [], [], []
        for decoder, of_source, of_state in zip(self._decoders, source.members, state.members, strict=True):
            readout, after, attended = decoder.step(of_source, of_state, symbols)
            log_probs.append(decoder.logits(readout).log_softmax(dim=-1))
            states.append(after)
            weights.append(attended)
        attended = None if any(weight is None for weight in weights) else torch.stack(weights).mean(dim=0)
        return mean_log_probs(log_probs), JointState(tuple(states)), attended

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Those of each member, whose names begin with its number: `member_1_state_0`."""
        return self._named([decoder.axes for decoder in self._decoders])

    def to_tensors(self, source: JointInput, state: JointState) -> dict[str, Tensor]:
        """As `Decoder.to_tensors`, with the names of `axes`."""
        pairs = zip(self._decoders, source.members, state.members, strict=True)
        return self._named([decoder.to_tensors(*pair) for decoder, *pair in pairs])

    def state_tensors(self, state: JointState) -> dict[str, Tensor]:
        """As `Decoder.state_tensors`, with the names of `axes`."""
        return self._named([d.state_tensors(of_d) for d, of_d in zip(self._decoders, state.members, strict=True)])

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> tuple[JointInput, JointState]:
        """The reverse of `to_tensors`."""
        sources, states = [], []
        for number, decoder in enumerate(self._decoders, 1):
            prefix = f"member_{number}_"
            named = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
            source, state = decoder.from_tensors(named)
            sources.append(source)
            states.append(state)
        return JointInput(tuple(sources)), JointState(tuple(states))

    def _named(self, members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {f"member_{k}_{name}": value for k, member in enumerate(members, 1) for name, value in member.items()}

    def logits(self, readout: Tensor) -> Tensor:
        """The log-probabilities, as `step` gives them."""
        return readout

    def nats(self, readout: Tensor, y: Tensor, smoothing: float) -> Tensor:
        """(N, V), (N,) the true next symbols -> () the sum of their negative log-probabilities."""
        return functional.cross_entropy(readout, y, label_smoothing=smoothing, reduction="sum")

    def teacher_forcing(self, source: JointInput, state: JointState, symbols: Tensor, lengths: Tensor) -> TeacherForced:
        """Read known texts (B, U) from the first state on."""
        log_probs = []
        for decoder, of_source, of_state in zip(self._decoders, source.members, state.members, strict=True):
            readout = decoder.teacher_forcing(of_source, of_state, symbols, lengths).readout
            log_probs.append(decoder.logits(readout).log_softmax(dim=-1))
        return TeacherForced(mean_log_probs(log_probs))


@torch.no_grad()
def scale_map(linear: nn.Module, factor: float) -> None:
    """Multiply what a linear map gives by a number, in its weights.

    Raises:
        TypeError: it is not a linear map, but that of an ensemble.
    """
    if not isinstance(linear, nn.Linear):
        raise TypeError("the probabilities of an ensemble are not scaled; calibrate the models that it is made of")
    linear.weight.mul_(factor)
    linear.bias.mul_(factor)


def mean_map(maps: Sequence[Any]) -> nn.Linear:
    """The linear map of side-by-side inputs whose output is the mean of the members' outputs."""
    weight = torch.cat([member.weight for member in maps], dim=1) / len(maps)
    joint = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        joint.weight.copy_(weight)
        joint.bias.copy_(torch.stack([member.bias for member in maps]).mean(dim=0))
    return joint
