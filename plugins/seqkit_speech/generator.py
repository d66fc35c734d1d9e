"""A small formant synthesiser, for a task that needs no download: a dozen words in any number of voices.

Source and filter (Fant 1960): a train of glottal pulses and noise go through resonators of second order, one a formant
(Klatt 1980, doi:10.1121/1.383940), whose frequencies glide from phone to phone. Formants of vowels are about those of
Peterson and Barney (1952, doi:10.1121/1.1906875), for a vocal tract of 17 cm; each voice has its own length, pitch,
pace and breath. NumPy only; the same numbers on every run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from seqkit_speech.audio import Samples

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Phone:
    """A stretch of speech that sounds alike (a vowel, a consonant or a part of one).

    Attributes:
        formants: F1, F2, F3 in Hz, which the glide into this phone reaches.
        ms: duration at pace 1, in milliseconds.
        voice: amplitude of the glottal pulses.
        noise: amplitude of the noise.
        hiss: the resonance of the noise in Hz, which depends on the place of articulation.
        narrow: 1 for vowels; less for nasals, which have wider resonances.
    """

    formants: tuple[float, float, float]
    ms: float
    voice: float = 1.0
    noise: float = 0.0
    hiss: float = 0.0
    narrow: float = 1.0


_A, _AH, _AO, _EH = (730, 1090, 2440), (640, 1190, 2390), (570, 840, 2410), (530, 1840, 2480)
_IH, _IY, _UW, _UH, _O = (390, 1990, 2550), (270, 2290, 3010), (300, 870, 2240), (440, 1020, 2240), (500, 900, 2400)

_N = (Phone((250, 1450, 2500), 70, 0.5, narrow=0.5),)
_R = (Phone((320, 1100, 1600), 70, 0.8),)
_S = (Phone((320, 1700, 2600), 110, 0.0, 0.30, 6000),)
_F = (Phone((300, 1100, 2300), 95, 0.0, 0.08, 3400),)
_V = (Phone((280, 1100, 2300), 60, 0.5, 0.05, 3400),)
_Z = (Phone((280, 1700, 2600), 90, 0.4, 0.16, 6000),)
_TH = (Phone((320, 1300, 2600), 95, 0.0, 0.05, 5000),)
_T = (Phone((320, 1750, 2650), 55, 0.0), Phone((320, 1750, 2650), 25, 0.0, 0.40, 4500))
_K = (Phone((320, 1900, 2300), 60, 0.0), Phone((320, 1900, 2300), 30, 0.0, 0.35, 2300))

WORDS: Final[dict[str, tuple[Phone, ...]]] = {
    "zero": (*_Z, Phone(_IH, 80), *_R, Phone(_O, 110), Phone(_UH, 60)),
    "one": (Phone((300, 650, 2200), 60, 0.7), Phone(_AH, 140), *_N),
    "two": (*_T, Phone((320, 1500, 2300), 40), Phone(_UW, 170)),
    "three": (*_TH, *_R, Phone(_IY, 190)),
    "four": (*_F, Phone(_AO, 150), Phone((440, 1150, 1700), 90, 0.9)),
    "five": (*_F, Phone(_A, 120), Phone((400, 1900, 2550), 90), *_V),
    "six": (*_S, Phone(_IH, 90), *_K, *_S),
    "seven": (*_S, Phone(_EH, 110), *_V, Phone((500, 1400, 2400), 60, 0.8), *_N),
    "eight": (Phone(_EH, 100), Phone((330, 2150, 2700), 90), *_T),
    "nine": (*_N, Phone(_A, 120), Phone((400, 1900, 2550), 90), *_N),
    "yes": (Phone((280, 2200, 2900), 70, 0.7), Phone(_EH, 130), *_S),
    "no": (*_N, Phone(_O, 130), Phone((380, 850, 2300), 100)),
}

_SPLITS: Final = {"train": (0, 16), "dev": (16, 20), "test": (20, 26)}
"""The voices of each split, from and to; no voice is in two splits."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker.

    Attributes:
        pitch: Hz, on average.
        tract: length of the vocal tract; 1 is 17 cm, and formants are divided by it.
        pace: 1 is normal, 1.2 a fifth faster.
        breath: noise from the glottis, as a share of the voice.
        dull: how fast the voice's overtones get weaker, as the coefficient of a low-pass filter.
    """

    pitch: float
    tract: float
    pace: float
    breath: float
    dull: float

    @classmethod
    def from_number(cls, number: int) -> Voice:
        """The voice of this number: men's, women's and children's in turn, each a different one."""
        rng = _rng("voice", number)
        pitch, tract = ((110.0, 1.03), (205.0, 0.88), (265.0, 0.78))[number % 3]
        return cls(
            pitch * float(np.exp(0.13 * rng.uniform(-1, 1))),
            tract * (1 + 0.06 * float(rng.uniform(-1, 1))),
            float(rng.uniform(0.8, 1.25)),
            float(rng.uniform(0.005, 0.05)),
            float(rng.uniform(0.85, 0.96)),
        )


def voices(split: str) -> range:
    """The numbers of the voices of a split."""
    return range(*_SPLITS[split])


def synthesise_word(word: str, voice: int, take: int, rate: int) -> Samples:
    """One word, (N,), with silence around it and noise in the background. Each take is a little different.

    Args:
        word: one of `WORDS`.
        voice: the number of a voice.
        take: the number of the take.
        rate: samples a second.
    """
    rng = _rng("take", word, voice, take)
    spoken = synthesise(WORDS[word], Voice.from_number(voice), rng, rate)
    silence_before, silence_after = rng.uniform(0.01, 0.12, size=2)
    wave = np.concatenate([np.zeros(round(silence_before * rate)), spoken, np.zeros(round(silence_after * rate))])
    wave *= rng.uniform(0.15, 0.7) / np.abs(wave).max()
    noise = rng.standard_normal(len(wave)) * np.sqrt(np.mean(spoken**2)) * 10 ** (-rng.uniform(12, 40) / 20)
    wave += noise * 0.3
    samples: Samples = (wave / max(1.0, float(np.abs(wave).max()))).astype(np.float32)
    return samples


def synthesise(phones: tuple[Phone, ...], voice: Voice, rng: np.random.RandomState, rate: int) -> Array:
    """The phones one after the other, (N,), without silence around them."""
    tracks, count = _tracks(phones, voice, rng, rate)
    glottis = _pulses(count, tracks, voice, rng, rate)
    breath = rng.standard_normal(count)
    throat = (glottis + voice.breath * breath * np.abs(glottis).mean() * 8) * tracks["voice"]
    hiss = rng.standard_normal(count) * tracks["noise"]
    centres = [tracks["f1"], tracks["f2"], tracks["f3"], np.full(count, min(3500.0 / voice.tract, 0.47 * rate))]
    widths = [60 / tracks["narrow"], 90 / tracks["narrow"], 130 / tracks["narrow"], np.full(count, 250.0)]
    voiced = _filtered(throat, centres, widths, rate)
    noisy = _filtered(hiss, [tracks["hiss"]], [tracks["hiss"] * 0.35 + 200], rate)
    spoken: Array = voiced / (np.abs(voiced).max() + 1e-9)
    spoken += noisy / (np.abs(noisy).max() + 1e-9) * tracks["noise"].max()
    return spoken


def _tracks(
    phones: tuple[Phone, ...], voice: Voice, rng: np.random.RandomState, rate: int
) -> tuple[dict[str, Array], int]:
    """The parameters of the phones at each sample, and the number of samples. They glide from one phone to the next."""
    pace = voice.pace * np.exp(0.12 * rng.uniform(-1, 1))
    lengths = [phone.ms / 1000 / pace * np.exp(0.18 * rng.uniform(-1, 1)) for phone in phones]
    seams = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(1, round(seams[-1] * rate))
    times = np.arange(count) / rate
    # A parameter is constant over the middle of each phone and changes linearly between the middles.
    reach = np.minimum(0.3 * np.array(lengths), 0.03)
    knots = np.stack([seams[:-1] + reach, np.maximum(seams[1:] - reach, seams[:-1] + reach)], axis=1).reshape(-1)

    def track(numbers: list[float], shape: float = 1.0) -> Array:
        values: Array = np.interp(times, knots, np.repeat(numbers, 2)) * shape
        return values

    tract = voice.tract * np.exp(0.02 * rng.uniform(-1, 1))
    blur = np.exp(0.05 * rng.standard_normal((len(phones), 3)))
    tracks = {
        f"f{k + 1}": np.minimum(
            track([phone.formants[k] * blur[i, k] for i, phone in enumerate(phones)], 1 / tract), 0.47 * rate
        )
        for k in range(3)
    }
    tracks["hiss"] = np.minimum(track([phone.hiss or 3000.0 for phone in phones], 1 / tract), 0.45 * rate)
    tracks["voice"] = track([phone.voice for phone in phones])
    tracks["noise"] = track([phone.noise * np.exp(0.3 * rng.uniform(-1, 1)) for phone in phones])
    tracks["narrow"] = track([phone.narrow for phone in phones])
    edge = np.minimum(1.0, np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1)) / (0.008 * rate))
    tracks["voice"] *= edge
    tracks["noise"] *= edge
    # The pitch falls, as in a statement.
    fall, start = rng.uniform(0.05, 0.35), np.exp(0.1 * rng.uniform(-1, 1))
    tracks["pitch"] = voice.pitch * start * (1 + fall * (0.5 - np.linspace(0, 1, count)))
    return tracks, count


def _pulses(count: int, tracks: dict[str, Array], voice: Voice, rng: np.random.RandomState, rate: int) -> Array:
    """Glottal pulses: one a period, with a little jitter and a low-pass filter."""
    phase = np.cumsum(tracks["pitch"] / rate) + 0.02 * np.cumsum(rng.standard_normal(count)) * np.sqrt(50 / rate)
    beats = np.flatnonzero(np.diff(np.floor(phase), prepend=0.0) > 0)
    train = np.zeros(count)
    train[beats] = np.exp(0.08 * rng.standard_normal(len(beats)))
    # The impulse response of a first-order low-pass filter, cut where it is close to zero.
    taps = voice.dull ** np.arange(min(count, 160))
    pulses: Array = np.convolve(train, taps)[:count]
    return pulses


def _filtered(source: Array, centres: list[Array], widths: list[Array], rate: int) -> Array:
    """The source after a chain of second-order resonators, which change every 5 ms (overlap and add)."""
    hop = max(1, round(0.005 * rate))
    size = 4 * hop
    points = 1 << (2 * size - 1).bit_length()  # as long again, for the resonances to die out
    padded = np.pad(source, (size, size + points))
    starts = np.arange(0, len(source) + size, hop)
    window = np.hanning(size + 1)[:-1] / 2
    frames = np.fft.rfft(padded[starts[:, None] + np.arange(size)] * window, points)
    middle = np.clip(starts - size // 2, 0, len(source) - 1)
    unit = np.exp(-2j * np.pi * np.arange(points // 2 + 1) / points)
    for centre, width in zip(centres, widths, strict=True):
        radius = np.exp(-np.pi * width[middle] / rate)[:, None]
        turn = np.cos(2 * np.pi * centre[middle] / rate)[:, None]
        gain = 1 - 2 * radius * turn + radius**2  # 1 at 0 Hz, as in Klatt
        frames *= gain / (1 - 2 * radius * turn * unit + radius**2 * unit**2)
    pieces = np.fft.irfft(frames, points)
    out = np.zeros(len(padded) + points)
    for start, piece in zip(starts, pieces, strict=True):
        out[start : start + points] += piece
    return out[size : size + len(source)]


def _rng(*seed: object) -> np.random.RandomState:
    """A generator seeded with these words and numbers. RandomState draws the same in every version of NumPy."""
    digest = hashlib.sha256(repr(seed).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))
