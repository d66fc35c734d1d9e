"""Types of options, and options that travel together. See `seqkit_speech.speech` for what each one does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, final

from annotated_types import Ge, Le

ManifestFormat: TypeAlias = Literal["csv", "tsv", "jsonl", "json"]
Features: TypeAlias = Literal["logmel", "mfcc"]
Normalise: TypeAlias = Literal["clip", "training", "none"]
SplitBy: TypeAlias = Literal["auto", "folders", "column", "lists", "hash", "index", "speaker"]

DeltaOrder = Annotated[int, Ge(0), Le(2)]
Percent = Annotated[float, Ge(0.0), Le(90.0)]
SampleRate = Annotated[int, Ge(2_000), Le(192_000)]
SpeedChange = Annotated[float, Ge(0.0), Le(0.5)]


@final
@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How recordings are split into train, dev and test."""

    split_by: SplitBy = "auto"
    test_index: tuple[int, int] = (0, 4)
    dev_index: tuple[int, int] | None = (5, 9)
    test_speaker: str | None = None
    dev_percent: float = 10.0
    test_percent: float = 10.0
    known_from: str = "folder, file name or column"
    """What says the split of a recording, where the data say it."""

    @property
    def has_test(self) -> bool:
        """Whether there is a test split; only shares of recordings can be none."""
        is_share = self.split_by == "hash" or (self.split_by == "speaker" and self.test_speaker is None)
        return self.test_percent > 0 or not is_share


@final
@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """How samples become frames, and frames become steps."""

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
    def convolved_channels(self) -> int:
        """Numbers of one frame after the convolutions."""
        if not self.filters:
            return self.channels
        bands = self.bands
        for _ in self.filters:
            bands = (bands + 1) // 2
        return self.filters[-1] * bands

    @property
    def step_size(self) -> int:
        """Numbers of one step: those of `stack` frames after the convolutions."""
        return self.convolved_channels * self.stack

    def window_and_hop(self, rate: int) -> tuple[int, int]:
        """Length of the window and of the hop, in samples.

        Raises:
            ValueError: the options contradict each other, or do not fit sound of this rate.
        """
        window, hop = round(rate * self.window_ms / 1000), round(rate * self.hop_ms / 1000)
        if not 1 <= hop <= window:
            raise ValueError(f"hop_ms {self.hop_ms:g} must be above 0 and at most window_ms {self.window_ms:g}")
        if self.features == "mfcc" and self.coefficients > self.bands:
            raise ValueError(f"coefficients {self.coefficients} must be at most bands {self.bands}")
        if self.features == "mfcc" and self.filters:
            raise ValueError("filters need neighbouring bands, which mfcc does not have; set features to logmel")
        if self.low_hz >= rate / 2:
            raise ValueError(f"low_hz {self.low_hz:g} must be below half of the rate, {rate / 2:g}")
        return window, hop


@final
@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """How training changes sound, differently each time."""

    shift_ms: float = 0.0
    speed: float = 0.0
    warp: float = 0.0
    noise_db: tuple[float, float] | None = None
    time_masks: int = 0
    time_mask_ms: float = 100.0
    band_masks: int = 0
    band_mask: int = 8

    @property
    def does_nothing(self) -> bool:
        changes_samples = self.shift_ms > 0 or self.speed > 0 or self.noise_db is not None
        return not (changes_samples or self.warp > 0 or self.time_masks or self.band_masks)
