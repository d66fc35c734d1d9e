"""The front end: from rows of samples to normalised log-mel or MFCC frames, as an input layer saved with the model.

Every frame is made of its own row of samples and those before it (the window ends with the row), never of later ones.
So T rows give T frames, a clip of one row gives one frame, and nothing behind the end of a clip reaches a frame of it.
What works on a whole clip (normalisation, deltas) counts only its real frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqkit import State, UsageError, mask_of, upload
from seqkit_speech.audio import import_torchaudio
from seqkit_speech.augmentation import Augmenter
from seqkit_speech.options import AugmentOptions, FrameOptions

Scale = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of each channel."""

ENERGY_FLOOR = 1e-6
"""Added to the energy of a band before its logarithm: about the noise of 16-bit samples."""
DELTA_REACH = 2
"""Frames on either side from which a slope is computed."""
SMALLEST_DEVIATION = 1e-3
"""Smallest deviation that is divided by: silence stays silence."""


class SpectralFeatures(nn.Module):
    """(B, T, hop) samples -> (B, T, channels) log-mel energies (natural logarithm) or cepstral coefficients.

    Mel bands as HTK has them (O'Shaughnessy 1987); cepstra are their orthonormal DCT (Davis and Mermelstein 1980,
    doi:10.1109/TASSP.1980.1163420). Window, bands and DCT are buffers: a saved model keeps its own.
    """

    def __init__(self, options: FrameOptions, rate: int) -> None:
        super().__init__()
        audio = import_torchaudio()
        window, self.hop = options.window_and_hop(rate)
        self.points = _fourier_points(audio, options, rate, window)

        def late_window(points: int) -> Tensor:
            # The window is at the end of the transform's points, so that nothing after a row is needed.
            return torch.cat([torch.zeros(points - window), torch.hann_window(window)])

        self.mel: nn.Module = audio.transforms.MelSpectrogram(
            rate,
            self.points,
            hop_length=self.hop,
            f_min=options.low_hz,
            n_mels=options.bands,
            window_fn=late_window,
            center=False,
        )
        dct = None
        if options.features == "mfcc":
            dct = audio.functional.create_dct(options.coefficients, options.bands, "ortho")
        self.register_buffer("dct", dct)

    def forward(self, rows: Tensor) -> Tensor:
        return self.of_wave(nn.functional.pad(rows.flatten(1), (self.points - self.hop, 0)))

    def of_wave(self, wave: Tensor) -> Tensor:
        """(B, N) samples, those before the first row included -> (B, T, channels)."""
        bands: Tensor = self.mel(wave).transpose(1, 2)
        bands = (bands + ENERGY_FLOOR).log()
        return bands @ self.dct if isinstance(self.dct, Tensor) else bands


class Convolutions(nn.Module):
    """Finds patterns in a spectrogram, in whichever bands they are: (B, T, channels) -> (B, T, size).

    Each layer has 3 x 3 filters, a rectifier, and the stronger of each two neighbouring bands (Arık et al. 2017,
    arXiv:1703.05390, have the like in front of a GRU). A filter sees a frame and the two before it, never a later one,
    so T frames stay T, and nothing behind a clip's end reaches a frame of it.

    Args:
        planes: how often a frame has the bands: once, and once more for each order of deltas.
        bands: of a frame.
        filters: number of filters of each layer.
    """

    def __init__(self, planes: int, bands: int, filters: Sequence[int]) -> None:
        super().__init__()
        self.planes, self.bands = planes, bands
        sizes = [planes, *filters]
        self.layers = nn.ModuleList(nn.Conv2d(inputs, outputs, 3) for inputs, outputs in pairwise(sizes))
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, arXiv:1502.01852
            nn.init.zeros_(layer.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, planes x bands) -> (B, T, filters of the last layer x remaining bands)."""
        maps = frames.reshape(*frames.shape[:2], self.planes, self.bands).transpose(1, 2)
        for layer in self.layers:
            maps = layer(nn.functional.pad(maps, (1, 1, 2, 0))).relu()
            maps = nn.functional.max_pool2d(maps, (1, 2), ceil_mode=True)
        return maps.transpose(1, 2).flatten(2)

    def advance(self, frames: Tensor, kept: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """(T, planes x bands), T >= 1 -> (T, width) and the last two frames before each layer, to be kept."""
        maps = frames.reshape(1, len(frames), self.planes, self.bands).transpose(1, 2)
        last: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            if kept:
                maps = torch.cat([kept[number], maps], dim=2)
            else:
                maps = nn.functional.pad(maps, (0, 0, 2, 0))
            last.append(maps[:, :, -2:].clone())
            maps = nn.functional.max_pool2d(layer(nn.functional.pad(maps, (1, 1))).relu(), (1, 2), ceil_mode=True)
        return maps.transpose(1, 2).flatten(2)[0], last


class FrontEnd(nn.Module):
    """Samples -> frames -> normalised -> (in training: masked) -> convolved -> stacked -> projected.

    Args:
        dim: width of a step.
        rate: samples a second.
        options: how samples become frames. See `seqkit_speech.speech`.
        augment: how training changes sound.
        scale: mean and deviation of each channel over the training data; None unless they normalise the frames.
    """

    def __init__(
        self, dim: int, *, rate: int, options: FrameOptions, augment: AugmentOptions, scale: Scale | None = None
    ) -> None:
        super().__init__()
        self.options = options
        self.spectra = SpectralFeatures(options, rate)
        self.register_buffer("mean", None if scale is None else torch.tensor(scale[0]))
        self.register_buffer("deviation", None if scale is None else torch.tensor(scale[1]))
        self.augment = Augmenter(augment, rate, self.spectra.hop)
        self.convolutions = (
            Convolutions(1 + options.deltas, options.bands, options.filters) if options.filters else None
        )
        self.projection = nn.Linear(options.step_size, dim)
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
        frames, lengths = self.stack_frames(frames, lengths)
        steps: Tensor = self.projection(frames)
        return steps.masked_fill(~mask_of(lengths, steps.shape[1], steps.device)[..., None], 0.0), lengths

    @property
    def not_in_pieces(self) -> str:
        """Why a clip cannot be read while it is coming; empty if it can."""
        if self.options.normalise != "clip":
            return ""
        return "normalise: clip takes mean and deviation of a whole clip; train with normalise: training or none"

    def advance(self, x: Tensor | None, kept: State, end: bool) -> tuple[Tensor, State]:
        """(T, hop) new rows of one clip -> the steps that are certain now, (T', dim), and what is kept.

        What is kept: samples before the next row; frames, how many of them have been passed on, and the frames before
        each convolution; frames that do not fill a step yet.

        Raises:
            UsageError: the clip is normalised as a whole.
        """
        if self.not_in_pieces:
            raise UsageError(self.not_in_pieces)
        tail, recent, passed, frames_before, *maps = kept or self._begin()
        with torch.autocast(self.projection.weight.device.type, enabled=False):
            if x is not None and len(x):
                wave = torch.cat([tail, x.float().flatten() / 32768.0])
                tail = wave[wave.shape[0] - tail.shape[0] :].clone()
                frames = self.spectra.of_wave(wave[None])
                inside = torch.ones(1, frames.shape[1], 1, dtype=torch.bool, device=frames.device)
                frames = self.normalise(frames, inside, torch.tensor([frames.shape[1]]))[0]
                recent = torch.cat([recent, frames])
            frames, recent, passed = self._with_deltas(recent, int(passed), end)
        if self.convolutions is not None and len(frames):
            frames, maps = self.convolutions.advance(frames, maps)
        frames = torch.cat([frames_before, frames]) if len(frames) else frames_before
        stack = self.options.stack
        if end:
            frames = nn.functional.pad(frames, (0, 0, 0, -len(frames) % stack))
        count = len(frames) // stack
        steps: Tensor = self.projection(frames[: count * stack].reshape(count, self.options.step_size))
        return steps, (tail, recent, passed, frames[count * stack :].clone(), *maps)

    def _begin(self) -> State:
        """What is kept before the first row of a clip."""
        weight, options = self.projection.weight, self.options
        base = options.channels // (1 + options.deltas)
        return (
            weight.new_zeros(self.spectra.points - self.spectra.hop),
            weight.new_zeros(0, base),
            torch.zeros((), dtype=torch.int64),
            weight.new_zeros(0, options.convolved_channels),
        )

    def _with_deltas(self, frames: Tensor, passed: int, end: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The frames that are certain and new, with their slopes; the frames that are kept; how many were passed on.

        Args:
            frames: (n, C) those that were kept and the new ones.
            passed: how many of them were passed on before.
            end: whether no more will come.
        """
        reach = DELTA_REACH * self.options.deltas
        count = frames.shape[0]
        certain = count if end else max(passed, count - reach)
        if self.options.deltas and count:
            with_slopes = append_deltas(frames[None], torch.tensor([count]), self.options.deltas)[0]
        else:
            with_slopes = frames if count else frames.new_zeros(0, self.options.channels)
        first = max(0, certain - reach)
        return with_slopes[passed:certain], frames[first:].clone(), torch.tensor(certain - first)

    def frames(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, hop) -> (B, T, channels), zero past the end of each clip."""
        self.augment.start_batch(self.training)
        outside = ~mask_of(lengths, x.shape[1], x.device)[..., None]
        rows = x.float().masked_fill(outside, 0.0) / 32768.0
        if self.augment.active:
            rows, lengths = self.augment.change_samples(rows, lengths)
        inside = mask_of(lengths, rows.shape[1], rows.device)[..., None]
        frames = self.spectra(rows)
        if self.augment.active:
            frames = self.augment.warp_bands(frames, self.options.low_hz)
        frames = self.normalise(frames, inside, lengths)
        deltas = self.options.deltas
        if deltas:
            frames = append_deltas(frames, lengths, deltas)
        if self.augment.active:
            frames = self.augment.mask_frames(frames, lengths, base=frames.shape[2] // (1 + deltas))
        return frames.masked_fill(~inside, 0.0), lengths

    def normalise(self, frames: Tensor, inside: Tensor, lengths: Tensor) -> Tensor:
        """Give each channel mean 0 and deviation 1, over the clip's real frames or over the training data.

        Args:
            frames: (B, T, channels).
            inside: (B, T, 1), whether a frame is real.
            lengths: (B,).
        """
        if self.options.normalise == "none":
            return frames
        if self.options.normalise == "training":
            if not (isinstance(self.mean, Tensor) and isinstance(self.deviation, Tensor)):
                raise RuntimeError("the field is not fitted yet")
            return (frames - self.mean) / self.deviation
        # Sums in double precision: in single, they would depend on the amount of padding.
        count = upload(lengths, frames.device).double()[:, None, None]
        real = frames.double().masked_fill(~inside, 0.0)
        mean = real.sum(dim=1, keepdim=True) / count
        variance = (real - mean).masked_fill(~inside, 0.0).square().sum(dim=1, keepdim=True) / count
        return ((real - mean) / variance.sqrt().clamp(min=SMALLEST_DEVIATION)).float()

    def stack_frames(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Put `stack` frames side by side as one step; the last step is filled up with zeros."""
        stack = self.options.stack
        if stack == 1:
            return frames, lengths
        frames = nn.functional.pad(frames, (0, 0, 0, -frames.shape[1] % stack))
        return frames.reshape(frames.shape[0], -1, stack * frames.shape[2]), (lengths + stack - 1) // stack


def append_deltas(frames: Tensor, lengths: Tensor, order: int, *, reach: int = DELTA_REACH) -> Tensor:
    """(B, T, C) -> (B, T, C (1 + order)): adds slopes over 2 x reach + 1 frames, and slopes of slopes.

    Before the first frame and after the last one, that frame is repeated (Young et al., The HTK Book, 5.9): the last
    one of each clip, not of the batch.
    """
    orders = [frames]
    positions = torch.arange(frames.shape[1])[None, :].expand(lengths.shape[0], -1)
    last = (lengths - 1)[:, None]
    norm = 2 * sum(n * n for n in range(1, reach + 1))
    for _ in range(order):
        slope = torch.zeros_like(frames)
        for n in range(1, reach + 1):
            later = _gather_frames(orders[-1], torch.minimum(positions + n, last))
            slope = slope + n * (later - _gather_frames(orders[-1], (positions - n).clamp(min=0)))
        orders.append(slope / norm)
    return torch.cat(orders, dim=2)


def _gather_frames(frames: Tensor, positions: Tensor) -> Tensor:
    """The frames (B, T, C) at positions (B, T), which are on the CPU."""
    index = upload(positions.contiguous(), frames.device)[..., None].expand(-1, -1, frames.shape[2])
    return frames.gather(1, index)


def _fourier_points(audio: Any, options: FrameOptions, rate: int, window: int) -> int:
    """Points of the Fourier transform: a power of two that holds the window and has a point in every band."""
    points = 1 << (window - 1).bit_length()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchaudio warns of an empty band, which is checked here
        for _ in range(5):
            bands = audio.functional.melscale_fbanks(points // 2 + 1, options.low_hz, rate / 2, options.bands, rate)
            if bool((bands.amax(dim=0) > 0).all()):
                return points
            points *= 2
    raise ValueError(f"bands: {options.bands} are too many for sound of {rate:,} Hz")


@torch.no_grad()
def feature_statistics(clips: Iterable[np.ndarray], *, rate: int, options: FrameOptions) -> Scale:
    """Mean and deviation of each channel over the frames of all clips.

    Args:
        clips: rows of samples, (T, hop) int16 each.
        rate: samples a second.
        options: how samples become frames.

    Raises:
        ValueError: there are no clips.
    """
    spectra = SpectralFeatures(options, rate)
    count, mean, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for rows in clips:
        frames = spectra(torch.from_numpy(rows.astype("float32"))[None] / 32768.0)[0].double()
        # Chan, Golub and LeVeque 1979: blocks are merged without a loss of digits.
        frame_count, clip_mean = len(frames), frames.mean(dim=0)
        shift = clip_mean - mean
        weight = count * frame_count / (count + frame_count)
        squares = squares + (frames - clip_mean).square().sum(dim=0) + shift.square() * weight
        mean = mean + shift * (frame_count / (count + frame_count))
        count += frame_count
    if count == 0:
        raise ValueError("no clip of the training data can be read")
    deviation = (squares / count).sqrt().clamp(min=SMALLEST_DEVIATION)
    return tuple(mean.tolist()), tuple(deviation.tolist())
