"""Sound as an input field: what is stored, and the input layer that makes frames of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from seqkit import JSON, Field
from seqkit_speech.audio import FileAudio, Folder, LazyAudio
from seqkit_speech.options import AugmentOptions, FrameOptions

if TYPE_CHECKING:
    from torch import nn

_FULL_SCALE = 32768.0


@final
@dataclass(frozen=True)
class Waveform(Field):
    """Mono sound, stored as 16-bit samples in rows of one hop: (T, hop) int16, so that a step is a frame.

    A value is `LazyAudio`, which is decoded and resampled here, or (N,) samples at the field's rate, within -1 to 1.
    The last row is filled up with silence. Each row gives one frame. A frame depends on its row and the rows before
    it, so that none depends on what is behind the end of its clip.

    Args:
        rate: samples a second.
        frames: how samples become frames.
        augment: how training changes sound.
    """

    unit = "frames"

    rate: int = 16_000
    frames: FrameOptions = field(default=FrameOptions(), kw_only=True)
    augment: AugmentOptions = field(default=AugmentOptions(), kw_only=True)
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = field(default=None, kw_only=True, repr=False)
    """Mean and deviation of each channel over the frames of the training data (normalise: training)."""

    def __post_init__(self) -> None:
        self.frames.window_and_hop(self.rate)

    def fit(self, values: Iterable[Any]) -> Self:
        """Learns the mean and the deviation of each channel, if they normalise the frames.

        Clips that cannot be read are skipped here and reported when they are encoded.
        """
        if self.frames.normalise != "training":
            return self
        from seqkit_speech.layers import feature_statistics

        return replace(self, scale=feature_statistics(self._readable(values), rate=self.rate, options=self.frames))

    def encode(self, value: Any) -> np.ndarray:
        """(T, hop) int16.

        Raises:
            ValueError: a clip cannot be read, or samples are empty, not finite or beyond full scale.
        """
        samples = value.samples(self.rate) if isinstance(value, LazyAudio) else _checked_samples(value)
        hop = self.frames.window_and_hop(self.rate)[1]
        rows = np.zeros((-(-len(samples) // hop), hop), dtype=np.int16)
        rows.reshape(-1)[: len(samples)] = _quantised(samples)
        return rows

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """Rows of whole hops. A piece is samples as for `encode`, (N,) int16, or their bytes (little-endian).

        What is kept are the bytes that are no whole hop yet. At the end they are filled up with silence.
        """
        raw = bytes.fromhex(kept or "")
        if isinstance(piece, bytes | bytearray | memoryview):
            raw += bytes(piece)
        elif piece is not None and len(piece):
            if len(raw) % 2:
                raise ValueError("is an array of samples, and the piece before it ended inside a sample")
            samples = np.asarray(piece)
            raw += (
                (samples if samples.dtype == np.int16 else _quantised(_checked_samples(samples)))
                .astype("<i2")
                .tobytes()
            )
        hop = self.frames.window_and_hop(self.rate)[1]
        if end:
            raw += bytes(-len(raw) % (2 * hop))
        size = len(raw) // (2 * hop) * 2 * hop
        rows = np.frombuffer(raw[:size], dtype="<i2").astype(np.int16).reshape(-1, hop)
        return (rows if len(rows) else None), (raw[size:].hex() or None)

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        return self.rate

    @property
    def frame_bytes(self) -> int:
        """Bytes of the samples of one step, for who cuts a stream of samples into steps."""
        return 2 * self.frames.window_and_hop(self.rate)[1] * self.frames.stack

    def decode(self, array: np.ndarray) -> np.ndarray:
        """(N,) float32 samples, with the silence at the end of the last row."""
        return np.asarray(array).reshape(-1).astype(np.float32) / np.float32(_FULL_SCALE)

    @property
    def size(self) -> int:
        """Numbers of a step, as the projection to the encoder's width gets them."""
        return self.frames.step_size

    def state(self) -> JSON:
        return None if self.scale is None else {"mean": list(self.scale[0]), "deviation": list(self.scale[1])}

    def restore(self, state: JSON) -> Self:
        return self if state is None else replace(self, scale=(tuple(state["mean"]), tuple(state["deviation"])))

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        """Noise, each row of its own loudness."""
        loudness = generator.uniform(0.01, 0.3, (steps, 1))
        noise = generator.standard_normal((steps, self.frames.window_and_hop(self.rate)[1]))
        return np.clip(np.rint(noise * loudness * _FULL_SCALE), -32768, 32767).astype(np.int16)

    def describe(self) -> dict[str, JSON]:
        return {"hop": self.frames.window_and_hop(self.rate)[1], "full_scale": _FULL_SCALE}

    def layer(self, dim: int) -> nn.Module:
        """The front end: (B, T, hop) samples -> (B, ceil(T / stack), dim)."""
        from seqkit_speech.layers import FrontEnd

        return FrontEnd(dim, rate=self.rate, options=self.frames, augment=self.augment, scale=self.scale)

    def parse(self, line: str) -> Any:
        """A line is the path of an audio file."""
        if not line.strip():
            raise ValueError("is empty; the path of an audio file is expected")
        return FileAudio(Folder(Path.cwd()), line.strip())

    def _readable(self, values: Iterable[Any]) -> Iterator[np.ndarray]:
        """The rows, (T, hop) int16, of each value that can be read."""
        for value in values:
            try:
                rows = self.encode(value)
            except ValueError:
                continue
            yield rows


def _quantised(samples: np.ndarray) -> np.ndarray:
    """Samples within -1 to 1 as whole numbers of 16 bits."""
    return np.asarray(np.clip(np.rint(samples * _FULL_SCALE), -32768, 32767))


def _checked_samples(value: Any) -> np.ndarray:
    samples = np.asarray(value)
    if samples.ndim != 1 or samples.dtype.kind not in "fiu":
        raise ValueError(f"should be (N,) samples, but has shape {samples.shape} of {samples.dtype}")
    if len(samples) == 0:
        raise ValueError("has no samples")
    if not np.isfinite(samples).all():
        raise ValueError("has a sample that is not a finite number")
    if np.abs(samples).max() > 1.0:
        raise ValueError(f"goes up to {np.abs(samples).max():.3g}, but full scale is 1")
    return samples.astype(np.float32)
