"""The front end: from rows of samples to normalised log-mel or MFCC frames, as an input layer saved with the model.

Every frame is made of its own row of samples and those before it (the window ends with the row), never of later ones.
So T rows give T frames, a clip of one row gives one frame, and nothing behind the end of a clip can reach a frame of
it. What looks at a whole clip (normalisation, deltas) counts its real frames only.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seqkit import mask_of
from seqkit_speech.audio import _torchaudio
from seqkit_speech.augment import Augmenter, sent
from seqkit_speech.convolving import Convolutions
from seqkit_speech.waveform import View, Waveform

FLOOR = 1e-6
"""Added to the energy of a band before its logarithm: about the noise of 16-bit samples."""
FLATTEST = 1e-3
"""Smallest deviation that is divided by: silence stays silence."""


class Spectra(nn.Module):
    """(B, T, hop) samples -> (B, T, channels) log-mel energies (natural logarithm) or cepstral coefficients.

    Mel bands as HTK has them (O'Shaughnessy 1987); cepstra are their orthonormal DCT (Davis and Mermelstein 1980,
    doi:10.1109/TASSP.1980.1163420). Window, bands and DCT are buffers: a saved model keeps its own.
    """

    def __init__(self, view: View, rate: int) -> None:
        super().__init__()
        audio = _torchaudio()
        window, self.hop = view.samples(rate)
        self.points = _points(audio, view, rate, window)

        def late(points: int) -> Tensor:
            # The window stands at the end of the transform's points, so that nothing after a row is needed.
            return torch.cat([torch.zeros(points - window), torch.hann_window(window)])

        self.mel: nn.Module = audio.transforms.MelSpectrogram(
            rate, self.points, hop_length=self.hop, f_min=view.low_hz, n_mels=view.bands, window_fn=late, center=False
        )
        dct = None
        if view.features == "mfcc":
            dct = audio.functional.create_dct(view.coefficients, view.bands, "ortho")
        self.register_buffer("dct", dct)

    def forward(self, rows: Tensor) -> Tensor:
        wave = nn.functional.pad(rows.flatten(1), (self.points - self.hop, 0))
        bands: Tensor = self.mel(wave).transpose(1, 2)
        bands = (bands + FLOOR).log()
        return bands @ self.dct if isinstance(self.dct, Tensor) else bands


class FrontEnd(nn.Module):
    """Samples -> frames -> normalised -> (in training: masked) -> convolved -> stacked -> projected.

    See `speech` for the options.

    Attributes:
        mean: (channels,) and
        deviation: (channels,): of the training data; None unless the view normalises by them.
    """

    def __init__(self, sound: Waveform, dim: int) -> None:
        super().__init__()
        self.view = sound.view
        self.spectra = Spectra(sound.view, sound.rate)
        mean = None if sound.scale is None else torch.tensor(sound.scale[0])
        deviation = None if sound.scale is None else torch.tensor(sound.scale[1])
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.augment = Augmenter(sound.augment, sound.rate, self.spectra.hop)
        view = sound.view
        self.convolutions = Convolutions(1 + view.deltas, view.bands, view.filters) if view.filters else None
        self.projection = nn.Linear(sound.size, dim)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, hop) 16-bit samples as numbers, (B,) -> (B, T', dim), (B,); T' = ceil(T / stack).

        With `speed`, training changes T.
        """
        with torch.autocast(x.device.type, enabled=False):  # logarithms and sums of squares need single precision
            frames, lengths = self.frames(x, lengths)
        if self.convolutions is not None:
            outside = ~mask_of(lengths, frames.shape[1], frames.device)[..., None]
            frames = self.convolutions(frames).masked_fill(outside, 0.0)
        frames, lengths = self.stacked(frames, lengths)
        steps: Tensor = self.projection(frames)
        return steps.masked_fill(~mask_of(lengths, steps.shape[1], steps.device)[..., None], 0.0), lengths

    def frames(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, hop) -> (B, T, channels), zero past the end of each clip."""
        self.augment.begin(self.training)
        outside = ~mask_of(lengths, x.shape[1], x.device)[..., None]
        rows = x.float().masked_fill(outside, 0.0) / 32768.0
        if self.augment.active:
            rows, lengths = self.augment.sound(rows, lengths)
        inside = mask_of(lengths, rows.shape[1], rows.device)[..., None]
        frames = self.normalised(self.spectra(rows), inside, lengths)
        if self.view.deltas:
            frames = with_deltas(frames, lengths, self.view.deltas)
        if self.augment.active:
            frames = self.augment.spectra(frames, lengths, base=frames.shape[2] // (1 + self.view.deltas))
        return frames.masked_fill(~inside, 0.0), lengths

    def normalised(self, frames: Tensor, inside: Tensor, lengths: Tensor) -> Tensor:
        """Each channel with mean 0 and deviation 1, over the clip's real frames or by the training data's numbers."""
        if self.view.normalise == "none":
            return frames
        if self.view.normalise == "training":
            if not (isinstance(self.mean, Tensor) and isinstance(self.deviation, Tensor)):
                raise RuntimeError("the field is not fitted yet")
            return (frames - self.mean) / self.deviation
        # Sums in double precision: in single, they would depend on how much padding they run over.
        count = sent(lengths, frames).double()[:, None, None]
        known = frames.double().masked_fill(~inside, 0.0)
        mean = known.sum(dim=1, keepdim=True) / count
        spread = (known - mean).masked_fill(~inside, 0.0).square().sum(dim=1, keepdim=True) / count
        return ((known - mean) / spread.sqrt().clamp(min=FLATTEST)).float()

    def stacked(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """`stack` frames side by side as one step, the last one filled up with zeros."""
        times = self.view.stack
        if times == 1:
            return frames, lengths
        frames = nn.functional.pad(frames, (0, 0, 0, -frames.shape[1] % times))
        return frames.reshape(frames.shape[0], -1, times * frames.shape[2]), (lengths + times - 1) // times


def with_deltas(frames: Tensor, lengths: Tensor, order: int, *, reach: int = 2) -> Tensor:
    """(B, T, C) -> (B, T, C (1 + order)): slopes over 2 x reach + 1 frames, and slopes of slopes.

    Before the first frame and after the last one, that frame is repeated (Young et al., The HTK Book, 5.9): the last
    one of each clip, not of the batch.
    """
    found = [frames]
    at = torch.arange(frames.shape[1])[None, :].expand(len(lengths), -1)
    last = (lengths - 1)[:, None]
    norm = 2 * sum(n * n for n in range(1, reach + 1))
    for _ in range(order):
        slope = torch.zeros_like(frames)
        for n in range(1, reach + 1):
            after = _taken(found[-1], torch.minimum(at + n, last))
            slope = slope + n * (after - _taken(found[-1], (at - n).clamp(min=0)))
        found.append(slope / norm)
    return torch.cat(found, dim=2)


def _taken(frames: Tensor, at: Tensor) -> Tensor:
    """(B, T, C) at (B, T) places on the CPU."""
    where = sent(at.contiguous(), frames)[..., None].expand(-1, -1, frames.shape[2])
    return frames.gather(1, where)


def _points(audio: Any, view: View, rate: int, window: int) -> int:
    """Points of the Fourier transform: a power of two that holds the window and has a point in every band."""
    points = 1 << (window - 1).bit_length()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty band is what is looked for
        for _ in range(5):
            bands = audio.functional.melscale_fbanks(points // 2 + 1, view.low_hz, rate / 2, view.bands, rate)
            if bool((bands.amax(dim=0) > 0).all()):
                return points
            points *= 2
    raise ValueError(f"bands: {view.bands} are too many for sound of {rate:,} Hz")


@torch.no_grad()
def statistics(sound: Waveform, values: Iterable[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel over the frames of all clips that can be read."""
    spectra = Spectra(sound.view, sound.rate)
    count, mean, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for value in values:
        try:
            rows = sound.encode(value)
        except ValueError:
            continue
        frames = spectra(torch.from_numpy(rows.astype("float32"))[None] / 32768.0)[0].double()
        # Chan, Golub and LeVeque 1979: blocks are merged without a loss of digits.
        n, middle = len(frames), frames.mean(dim=0)
        shift = middle - mean
        squares = squares + (frames - middle).square().sum(dim=0) + shift.square() * (count * n / (count + n))
        mean = mean + shift * (n / (count + n))
        count += n
    if count == 0:
        raise ValueError("no clip of the training data can be read")
    deviation = (squares / count).sqrt().clamp(min=FLATTEST)
    return tuple(mean.tolist()), tuple(deviation.tolist())
