"""What training does to sound: time shift, speed, noise, and SpecAugment's masks. Never at work in evaluation.

All numbers are drawn from a generator of its own, started anew for each batch from (seed, batches so far). Both are
part of the module's saved state, so a resumed run draws what the uninterrupted one would have, and dropout or other
users of torch's generator make no difference to it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqkit import mask_of
from seqkit_speech.waveform import Augment


class Augmenter(nn.Module):
    """Draws and applies augmentation. `begin` is called once a batch.

    Args:
        options: what to do and how much.
        rate: samples a second.
        hop: samples a frame.
    """

    def __init__(self, options: Augment, rate: int, hop: int) -> None:
        super().__init__()
        self.options, self.rate, self.hop = options, rate, hop
        self.active = False
        self.seed = int(torch.randint(2**62, ()))  # of torch's generator, which the recipe's seed has set
        self.drawn = 0
        self.generator = torch.Generator()

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.seed, self.drawn], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        self.seed, self.drawn = state.tolist()

    def begin(self, training: bool) -> None:
        """A new batch. Outside of training, nothing will be done to it and nothing is drawn."""
        self.active = training and not self.options.does_nothing
        if self.active:
            # Multiplied by an odd constant (Knuth's), so that neighbouring batches have far-off seeds.
            self.generator.manual_seed((self.seed + self.drawn * 0x9E3779B97F4A7C15) % 2**63)
            self.drawn += 1

    def sound(self, rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, hop) -> the same shifted, faster or slower, and noisy; (B, T', hop) where the speed changes."""
        options = self.options
        if options.shift_ms or options.speed:
            rows, lengths = self._moved(rows, lengths)
        if options.noise_db is not None:
            rows = self._noisy(rows, lengths, options.noise_db)
        return rows, lengths

    def spectra(self, frames: Tensor, lengths: Tensor, *, base: int) -> Tensor:
        """SpecAugment (Park et al. 2019, arXiv:1904.08779): blocks of frames and of bands set to zero, the mean.

        Args:
            frames: (B, T, channels), channels a multiple of base: the deltas of a band are masked with it.
            lengths: (B,).
            base: channels without deltas.
        """
        options = self.options
        hidden = torch.zeros(frames.shape[:2], dtype=torch.bool)
        for _ in range(options.time_masks):
            # At most a fifth of a short clip, so that something is left of it.
            widest = torch.minimum(torch.tensor(options.time_mask_ms / 1000 * self.rate / self.hop), lengths * 0.2)
            hidden |= self._block(widest, lengths, frames.shape[1])
        if options.time_masks:
            frames = frames.masked_fill(sent(hidden, frames)[..., None], 0.0)
        if options.band_masks:
            bands = torch.zeros(len(lengths), base, dtype=torch.bool)
            count = torch.full_like(lengths, base)
            for _ in range(options.band_masks):
                bands |= self._block(count.clamp(max=options.band_mask).float(), count, base)
            frames = frames.masked_fill(sent(bands.repeat(1, frames.shape[2] // base), frames)[:, None, :], 0.0)
        return frames

    def _moved(self, rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Each clip read from another place on, at another pace, with linear interpolation between samples."""
        options, hop = self.options, self.hop
        batch = len(lengths)
        pace = 1.0 + options.speed * self._uniform(batch)
        shift = torch.round(options.shift_ms / 1000 * self.rate * self._uniform(batch))
        lengths_new = (lengths / pace).ceil().long().clamp(min=1)
        steps = int(lengths_new.max())
        wave = nn.functional.pad(rows.flatten(1), (0, 1))
        at = (torch.arange(steps * hop, dtype=torch.float64)[None] - shift[:, None]) * pace[:, None]
        real = (at >= 0) & (at <= (lengths * hop - 1)[:, None])
        real &= torch.arange(steps * hop)[None] < (lengths_new * hop)[:, None]
        at = at.clamp(0, rows.shape[1] * hop - 1)
        before = at.long()
        part = sent((at - before).float(), rows)
        before = sent(before, rows)
        moved = torch.lerp(wave.gather(1, before), wave.gather(1, before + 1), part)
        return moved.masked_fill(~sent(real, rows), 0.0).reshape(batch, steps, hop), lengths_new

    def _noisy(self, rows: Tensor, lengths: Tensor, range_db: tuple[float, float]) -> Tensor:
        """White noise, at a ratio of the clip's power to the noise's that is drawn from a range in decibels."""
        low, high = range_db
        ratio = low + (high - low) * torch.rand(len(lengths), 1, 1, generator=self.generator)
        inside = mask_of(lengths, rows.shape[1], rows.device)[..., None]
        count = sent(lengths * self.hop, rows)[:, None, None]
        power = rows.square().sum(dim=(1, 2), keepdim=True) / count
        noise = sent(torch.randn(rows.shape, generator=self.generator), rows)
        return rows + (noise * (power * sent(10 ** (-ratio / 10), rows)).sqrt()).masked_fill(~inside, 0.0)

    def _uniform(self, batch: int) -> Tensor:
        """(B,) float64 from -1 to 1."""
        return 2.0 * torch.rand(batch, dtype=torch.float64, generator=self.generator) - 1.0

    def _block(self, widest: Tensor, lengths: Tensor, size: int) -> Tensor:
        """(B, size) bool: a block of up to `widest` (B,) places somewhere in the first `lengths` (B,)."""
        draws = torch.rand(2, len(lengths), generator=self.generator)
        width = (draws[0] * (widest.floor() + 1)).floor()
        start = (draws[1] * (lengths - width + 1)).floor()
        at = torch.arange(size)[None]
        return (at >= start[:, None]) & (at < (start + width)[:, None])

    def extra_repr(self) -> str:
        return str(self.options)


def sent(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor from the CPU on the device of `like`, without waiting for it."""
    if like.device.type == "cuda":
        return tensor.pin_memory().to(like.device, non_blocking=True)
    return tensor
