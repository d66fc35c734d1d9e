"""Sound as an input field: what is stored, and what becomes of it in the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, final

import numpy as np

from seqkit import JSON, Field
from seqkit_speech.audio import Clip, Folder, Speech

if TYPE_CHECKING:
    from torch import nn

Features: TypeAlias = Literal["logmel", "mfcc"]
Normalise: TypeAlias = Literal["clip", "training", "none"]

_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class View:
    """How sound becomes frames. `seqkit_speech.speech` says what the options mean."""

    features: Features = "logmel"
    bands: int = 40
    coefficients: int = 13
    window_ms: float = 25.0
    hop_ms: float = 10.0
    low_hz: float = 20.0
    deltas: int = 0
    normalise: Normalise = "clip"
    filters: tuple[int, ...] = ()
    stack: int = 1

    @property
    def channels(self) -> int:
        """Numbers of one frame."""
        return (self.bands if self.features == "logmel" else self.coefficients) * (1 + self.deltas)

    @property
    def size(self) -> int:
        """Numbers of one frame after the convolutions, before stacking."""
        if not self.filters:
            return self.channels
        bands = self.bands
        for _ in self.filters:
            bands = (bands + 1) // 2
        return self.filters[-1] * bands

    def samples(self, rate: int) -> tuple[int, int]:
        """(window, hop) in samples.

        Raises:
            ValueError: there is no such view of sound of this rate.
        """
        window, hop = round(rate * self.window_ms / 1000), round(rate * self.hop_ms / 1000)
        if not 1 <= hop <= window:
            raise ValueError(f"hop_ms {self.hop_ms:g} must be above 0 and at most window_ms {self.window_ms:g}")
        if self.features == "mfcc" and self.coefficients > self.bands:
            raise ValueError(f"coefficients {self.coefficients} cannot be more than bands {self.bands}")
        if self.features == "mfcc" and self.filters:
            raise ValueError("filters look for patterns in neighbouring bands; coefficients of mfcc are no neighbours")
        if self.low_hz >= rate / 2:
            raise ValueError(f"low_hz {self.low_hz:g} must be below half of the rate, {rate / 2:g}")
        return window, hop


@dataclass(frozen=True)
class Augment:
    """What training does to sound, anew each time. `seqkit_speech.speech` says what the options mean."""

    shift_ms: float = 0.0
    speed: float = 0.0
    noise_db: tuple[float, float] | None = None
    time_masks: int = 0
    time_mask_ms: float = 100.0
    band_masks: int = 0
    band_mask: int = 8

    @property
    def changes_sound(self) -> bool:
        return self.shift_ms > 0 or self.speed > 0 or self.noise_db is not None

    @property
    def does_nothing(self) -> bool:
        return not (self.changes_sound or self.time_masks or self.band_masks)


@final
@dataclass(frozen=True)
class Waveform(Field):
    """Mono sound, stored as 16-bit samples in rows of one hop: (T, hop) int16, so that a step is a frame.

    A value is `Speech`, which is decoded and resampled here, or (N,) samples at the field's rate, within -1 to 1. The
    last row is filled up with silence. Each row gives one frame, which sees this row and what came before, so that no
    frame depends on what stands behind the end of its clip.

    Args:
        rate: samples a second.
        view: how sound becomes frames.
        augment: what training does to it.
    """

    unit = "frames"

    rate: int = 16_000
    view: View = field(default=View(), kw_only=True)
    augment: Augment = field(default=Augment(), kw_only=True)
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = field(default=None, kw_only=True, repr=False)
    """Mean and deviation of each channel over the frames of the training data (normalise: training)."""

    def __post_init__(self) -> None:
        self.view.samples(self.rate)

    def fit(self, values: Iterable[Any]) -> Self:
        """Learns the mean and the deviation of each channel, if the view asks for them.

        Clips that cannot be read are passed over: they are told when they are encoded.
        """
        if self.view.normalise != "training":
            return self
        from seqkit_speech.frontend import statistics

        return replace(self, scale=statistics(self, values))

    def encode(self, value: Any) -> np.ndarray:
        """(T, hop) int16.

        Raises:
            ValueError: a clip cannot be read, or samples are empty, not finite or beyond full scale.
        """
        samples = value.samples(self.rate) if isinstance(value, Speech) else _checked(value)
        hop = self.view.samples(self.rate)[1]
        rows = np.zeros((-(-len(samples) // hop), hop), dtype=np.int16)
        rows.reshape(-1)[: len(samples)] = np.clip(np.rint(samples * _FULL_SCALE), -32768, 32767)
        return rows

    def decode(self, array: np.ndarray) -> np.ndarray:
        """(N,) float32 samples, the silence at the end of the last row included."""
        return np.asarray(array).reshape(-1).astype(np.float32) / np.float32(_FULL_SCALE)

    @property
    def size(self) -> int:
        """Numbers of a frame as it goes into the projection."""
        return self.view.size * self.view.stack

    def state(self) -> JSON:
        return None if self.scale is None else {"mean": list(self.scale[0]), "deviation": list(self.scale[1])}

    def restore(self, state: JSON) -> Self:
        return self if state is None else replace(self, scale=(tuple(state["mean"]), tuple(state["deviation"])))

    def layer(self, dim: int) -> nn.Module:
        """The front end: (B, T, hop) samples -> (B, ceil(T / stack), dim)."""
        from seqkit_speech.frontend import FrontEnd

        return FrontEnd(self, dim)

    def parse(self, line: str) -> Any:
        """A line is the path of an audio file."""
        if not line.strip():
            raise ValueError("is empty; a line is the path of an audio file")
        return Clip(Folder(Path.cwd()), line.strip())


def _checked(value: Any) -> np.ndarray:
    samples = np.asarray(value)
    if samples.ndim != 1 or samples.dtype.kind not in "fiu":
        raise ValueError(f"should be (N,) samples, but has shape {samples.shape} of {samples.dtype}")
    if len(samples) == 0:
        raise ValueError("has no samples")
    if not np.isfinite(samples).all():
        raise ValueError("has a sample that is no finite number")
    if np.abs(samples).max() > 1.0:
        raise ValueError(f"goes up to {np.abs(samples).max():.3g} where full scale is 1")
    return samples.astype(np.float32)
