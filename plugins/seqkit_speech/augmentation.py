"""How training changes sound: time shift, speed, noise, warped frequencies, and SpecAugment's masks; for training only.

In training by seqkit, what is drawn for a clip depends on the seed, the step and the clip alone. Elsewhere, a generator
of this module draws, which is seeded for each batch with (seed, batches so far); both are in the module's saved state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqkit import mask_of, upload
from seqkit.nn import draw_normal, draw_uniform
from seqkit_speech.options import AugmentOptions


class Augmenter(nn.Module):
    """Draws and applies augmentation. `start_batch` is called once a batch.

    Args:
        options: what to do and how much.
        rate: samples a second.
        hop: samples a frame.
    """

    def __init__(self, options: AugmentOptions, rate: int, hop: int) -> None:
        super().__init__()
        self.options, self.rate, self.hop = options, rate, hop
        self.active = False
        self.seed = int(torch.randint(2**62, ()))  # from torch's generator, which the recipe's seed has set
        self.drawn = 0
        self.generator = torch.Generator()

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.seed, self.drawn], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        self.seed, self.drawn = state.tolist()

    def start_batch(self, training: bool) -> None:
        """Start a new batch. Outside of training, nothing is drawn and the batch stays as it is."""
        self.active = training and not self.options.does_nothing
        if self.active:
            # Multiplied by an odd constant (Knuth's), so that the seeds of neighbouring batches are far apart.
            self.generator.manual_seed((self.seed + self.drawn * 0x9E3779B97F4A7C15) % 2**63)
            self.drawn += 1

    def change_samples(self, rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Shift clips, change their speed and add noise: (B, T, hop) -> (B, T', hop); T' is T unless speed changes."""
        options = self.options
        if options.shift_ms or options.speed:
            rows, lengths = self._shift_and_stretch(rows, lengths)
        if options.noise_db is not None:
            rows = self._add_noise(rows, lengths, options.noise_db)
        return rows, lengths

    def warp_bands(self, frames: Tensor, low_hz: float) -> Tensor:
        """Scale the frequencies of each clip by a drawn factor: vocal tract length perturbation.

        After Jaitly and Hinton 2013, but a band is read between two neighbouring bands of the finished spectrogram, not
        summed up anew. What would lie below the lowest or above the highest band is that band.

        Args:
            frames: (B, T, bands) log-mel, without deltas.
            low_hz: lower edge of the lowest band.
        """
        if not self.options.warp:
            return frames
        bands = frames.shape[2]
        low, high = _mel(torch.tensor([low_hz, self.rate / 2], dtype=torch.float64))
        spacing = (high - low) / (bands + 1)
        centres = low + spacing * torch.arange(1, bands + 1, dtype=torch.float64)
        factors = 1.0 + self.options.warp * self._draw_uniform(len(frames))
        positions = (_mel(_hertz(centres)[None] * factors[:, None]) - low) / spacing - 1.0
        positions = positions.clamp(0, bands - 1)
        left = positions.long().clamp(max=max(bands - 2, 0))
        right = (left + 1).clamp(max=bands - 1)
        weight = upload((positions - left).float(), frames.device)[:, None].expand_as(frames)

        def read(columns: Tensor) -> Tensor:
            return frames.gather(2, upload(columns, frames.device)[:, None].expand_as(frames))

        return torch.lerp(read(left), read(right), weight)

    def mask_frames(self, frames: Tensor, lengths: Tensor, *, base: int) -> Tensor:
        """SpecAugment (Park et al. 2019, arXiv:1904.08779): blocks of frames and of bands set to zero, the mean.

        Args:
            frames: (B, T, channels), channels a multiple of base: the deltas of a band are masked with it.
            lengths: (B,).
            base: channels without deltas.
        """
        options = self.options
        hidden = torch.zeros(frames.shape[:2], dtype=torch.bool)
        for _ in range(options.time_masks):
            # At most a fifth of a short clip, so that most of it is left.
            widest = torch.minimum(torch.tensor(options.time_mask_ms / 1000 * self.rate / self.hop), lengths * 0.2)
            hidden |= self._draw_blocks(widest, lengths, frames.shape[1])
        if options.time_masks:
            frames = frames.masked_fill(upload(hidden, frames.device)[..., None], 0.0)
        if options.band_masks:
            bands = torch.zeros(len(lengths), base, dtype=torch.bool)
            count = torch.full_like(lengths, base)
            for _ in range(options.band_masks):
                bands |= self._draw_blocks(count.clamp(max=options.band_mask).float(), count, base)
            bands = bands.repeat(1, frames.shape[2] // base)
            frames = frames.masked_fill(upload(bands, frames.device)[:, None, :], 0.0)
        return frames

    def _shift_and_stretch(self, rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Read each clip from a drawn position at a drawn pace, with linear interpolation between samples."""
        options, hop = self.options, self.hop
        batch = len(lengths)
        pace = 1.0 + options.speed * self._draw_uniform(batch)
        shift = torch.round(options.shift_ms / 1000 * self.rate * self._draw_uniform(batch))
        new_lengths = (lengths / pace).ceil().long().clamp(min=1)
        steps = int(new_lengths.max())
        wave = nn.functional.pad(rows.flatten(1), (0, 1))
        positions = (torch.arange(steps * hop, dtype=torch.float64)[None] - shift[:, None]) * pace[:, None]
        inside = (positions >= 0) & (positions <= (lengths * hop - 1)[:, None])
        inside &= torch.arange(steps * hop)[None] < (new_lengths * hop)[:, None]
        positions = positions.clamp(0, rows.shape[1] * hop - 1)
        left = positions.long()
        weight = upload((positions - left).float(), rows.device)
        left = upload(left, rows.device)
        moved = torch.lerp(wave.gather(1, left), wave.gather(1, left + 1), weight)
        return moved.masked_fill(~upload(inside, rows.device), 0.0).reshape(batch, steps, hop), new_lengths

    def _add_noise(self, rows: Tensor, lengths: Tensor, range_db: tuple[float, float]) -> Tensor:
        """Add white noise. The ratio of the clip's power to the noise's is drawn from a range in decibels."""
        low, high = range_db
        ratio = low + (high - low) * self._draw(len(lengths), 1, 1)
        inside = mask_of(lengths, rows.shape[1], rows.device)[..., None]
        count = upload(lengths * self.hop, rows.device)[:, None, None]
        power = rows.square().sum(dim=(1, 2), keepdim=True) / count
        noise = upload(draw_normal(tuple(rows.shape), generator=self.generator), rows.device)
        return rows + (noise * (power * upload(10 ** (-ratio / 10), rows.device)).sqrt()).masked_fill(~inside, 0.0)

    def _draw(self, *shape: int) -> Tensor:
        """(B, ...) from 0 to 1."""
        return draw_uniform(shape, generator=self.generator)

    def _draw_uniform(self, batch: int) -> Tensor:
        """(B,) float64 from -1 to 1."""
        return 2.0 * self._draw(batch).double() - 1.0

    def _draw_blocks(self, widest: Tensor, lengths: Tensor, size: int) -> Tensor:
        """(B, size) bool: in each row a block of up to `widest` (B,) positions within the first `lengths` (B,)."""
        draws = self._draw(len(lengths), 2).t()
        width = (draws[0] * (widest.floor() + 1)).floor()
        start = (draws[1] * (lengths - width + 1)).floor()
        positions = torch.arange(size)[None]
        return (positions >= start[:, None]) & (positions < (start + width)[:, None])

    def extra_repr(self) -> str:
        return str(self.options)


def _mel(hertz: Tensor) -> Tensor:
    """The mel scale of HTK, which torchaudio's filters have."""
    return 2595.0 * torch.log10(1.0 + hertz / 700.0)


def _hertz(mel: Tensor) -> Tensor:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
