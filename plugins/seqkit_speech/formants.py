"""A small formant synthesiser, for a task that needs no download: a dozen words in as many voices as one likes.

Source and filter (Fant 1960): a train of glottal pulses and noise go through resonators of second order, one a formant
(Klatt 1980, doi:10.1121/1.383940), whose frequencies glide from sound to sound. Formants of vowels are about those of
Peterson and Barney (1952, doi:10.1121/1.1906875), for a vocal tract of 17 cm; a voice has its own length, pitch, pace
and breath. NumPy only; the same numbers on every run.
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
class Sound:
    """A stretch of speech.

    Attributes:
        formants: F1, F2, F3 in Hz, where the glide into this sound ends.
        ms: how long, at a plain pace.
        voice: amplitude of the glottal pulses.
        noise: amplitude of the noise.
        hiss: the resonance of the noise in Hz: where in the mouth it is made.
        narrow: 1 for vowels; nasals are duller, with wider resonances.
    """

    formants: tuple[float, float, float]
    ms: float
    voice: float = 1.0
    noise: float = 0.0
    hiss: float = 0.0
    narrow: float = 1.0


_A, _AH, _AO, _EH = (730, 1090, 2440), (640, 1190, 2390), (570, 840, 2410), (530, 1840, 2480)
_IH, _IY, _UW, _UH, _O = (390, 1990, 2550), (270, 2290, 3010), (300, 870, 2240), (440, 1020, 2240), (500, 900, 2400)

_N = (Sound((250, 1450, 2500), 70, 0.5, narrow=0.5),)
_R = (Sound((320, 1100, 1600), 70, 0.8),)
_S = (Sound((320, 1700, 2600), 110, 0.0, 0.30, 6000),)
_F = (Sound((300, 1100, 2300), 95, 0.0, 0.08, 3400),)
_V = (Sound((280, 1100, 2300), 60, 0.5, 0.05, 3400),)
_Z = (Sound((280, 1700, 2600), 90, 0.4, 0.16, 6000),)
_TH = (Sound((320, 1300, 2600), 95, 0.0, 0.05, 5000),)
_T = (Sound((320, 1750, 2650), 55, 0.0), Sound((320, 1750, 2650), 25, 0.0, 0.40, 4500))
_K = (Sound((320, 1900, 2300), 60, 0.0), Sound((320, 1900, 2300), 30, 0.0, 0.35, 2300))

WORDS: Final[dict[str, tuple[Sound, ...]]] = {
    "zero": (*_Z, Sound(_IH, 80), *_R, Sound(_O, 110), Sound(_UH, 60)),
    "one": (Sound((300, 650, 2200), 60, 0.7), Sound(_AH, 140), *_N),
    "two": (*_T, Sound((320, 1500, 2300), 40), Sound(_UW, 170)),
    "three": (*_TH, *_R, Sound(_IY, 190)),
    "four": (*_F, Sound(_AO, 150), Sound((440, 1150, 1700), 90, 0.9)),
    "five": (*_F, Sound(_A, 120), Sound((400, 1900, 2550), 90), *_V),
    "six": (*_S, Sound(_IH, 90), *_K, *_S),
    "seven": (*_S, Sound(_EH, 110), *_V, Sound((500, 1400, 2400), 60, 0.8), *_N),
    "eight": (Sound(_EH, 100), Sound((330, 2150, 2700), 90), *_T),
    "nine": (*_N, Sound(_A, 120), Sound((400, 1900, 2550), 90), *_N),
    "yes": (Sound((280, 2200, 2900), 70, 0.7), Sound(_EH, 130), *_S),
    "no": (*_N, Sound(_O, 130), Sound((380, 850, 2300), 100)),
}

_SPLITS: Final = {"train": (0, 16), "dev": (16, 20), "test": (20, 26)}
"""Which voices are heard in which split: no voice in two of them."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Somebody who speaks.

    Attributes:
        pitch: Hz, on average.
        tract: length of the vocal tract; 1 is 17 cm, and formants are divided by it.
        pace: 1 is plain, 1.2 a fifth faster.
        breath: noise from the glottis, as a share of the voice.
        dull: how fast the voice's overtones get weaker, as the coefficient of a low pass.
    """

    pitch: float
    tract: float
    pace: float
    breath: float
    dull: float

    @classmethod
    def number(cls, number: int) -> Voice:
        """The voice of this number: men's, women's and children's in turn, each its own."""
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
    """The numbers of the voices that are heard in a split."""
    return range(*_SPLITS[split])


def utterance(word: str, voice: int, take: int, rate: int) -> Samples:
    """(N,) one word as this voice says it the `take`-th time: each time a little different, with silence around it
    and noise behind it.

    Args:
        word: one of `WORDS`.
        voice: the number of a voice.
        take: which of its attempts.
        rate: samples a second.
    """
    rng = _rng("take", word, voice, take)
    spoken = speak(WORDS[word], Voice.number(voice), rng, rate)
    before, after = rng.uniform(0.01, 0.12, size=2)
    wave = np.concatenate([np.zeros(round(before * rate)), spoken, np.zeros(round(after * rate))])
    wave *= rng.uniform(0.15, 0.7) / np.abs(wave).max()
    noise = rng.standard_normal(len(wave)) * np.sqrt(np.mean(spoken**2)) * 10 ** (-rng.uniform(12, 40) / 20)
    wave += noise * 0.3
    found: Samples = (wave / max(1.0, float(np.abs(wave).max()))).astype(np.float32)
    return found


def speak(sounds: tuple[Sound, ...], voice: Voice, rng: np.random.RandomState, rate: int) -> Array:
    """(N,) the sounds in a row, without silence around them."""
    tracks, count = _tracks(sounds, voice, rng, rate)
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
    sounds: tuple[Sound, ...], voice: Voice, rng: np.random.RandomState, rate: int
) -> tuple[dict[str, Array], int]:
    """Each number of the sounds, sample by sample: it glides over the seam of two sounds."""
    pace = voice.pace * np.exp(0.12 * rng.uniform(-1, 1))
    lengths = [sound.ms / 1000 / pace * np.exp(0.18 * rng.uniform(-1, 1)) for sound in sounds]
    seams = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(1, round(seams[-1] * rate))
    at = np.arange(count) / rate
    # Held over the middle of each sound; between the middles' edges, a straight line.
    reach = np.minimum(0.3 * np.array(lengths), 0.03)
    knots = np.stack([seams[:-1] + reach, np.maximum(seams[1:] - reach, seams[:-1] + reach)], axis=1).reshape(-1)

    def track(numbers: list[float], shape: float = 1.0) -> Array:
        found: Array = np.interp(at, knots, np.repeat(numbers, 2)) * shape
        return found

    tract = voice.tract * np.exp(0.02 * rng.uniform(-1, 1))
    blur = np.exp(0.05 * rng.standard_normal((len(sounds), 3)))
    tracks = {
        f"f{k + 1}": np.minimum(
            track([s.formants[k] * blur[i, k] for i, s in enumerate(sounds)], 1 / tract), 0.47 * rate
        )
        for k in range(3)
    }
    tracks["hiss"] = np.minimum(track([s.hiss or 3000.0 for s in sounds], 1 / tract), 0.45 * rate)
    tracks["voice"] = track([s.voice for s in sounds])
    tracks["noise"] = track([s.noise * np.exp(0.3 * rng.uniform(-1, 1)) for s in sounds])
    tracks["narrow"] = track([s.narrow for s in sounds])
    edge = np.minimum(1.0, np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1)) / (0.008 * rate))
    tracks["voice"] *= edge
    tracks["noise"] *= edge
    # Declarative: the pitch falls.
    fall, start = rng.uniform(0.05, 0.35), np.exp(0.1 * rng.uniform(-1, 1))
    tracks["pitch"] = voice.pitch * start * (1 + fall * (0.5 - np.linspace(0, 1, count)))
    return tracks, count


def _pulses(count: int, tracks: dict[str, Array], voice: Voice, rng: np.random.RandomState, rate: int) -> Array:
    """Glottal pulses: one a period, with a little jitter, their overtones falling off."""
    phase = np.cumsum(tracks["pitch"] / rate) + 0.02 * np.cumsum(rng.standard_normal(count)) * np.sqrt(50 / rate)
    beats = np.flatnonzero(np.diff(np.floor(phase), prepend=0.0) > 0)
    train = np.zeros(count)
    train[beats] = np.exp(0.08 * rng.standard_normal(len(beats)))
    # A low pass of first order as its own impulse response, cut where nothing is left of it.
    taps = voice.dull ** np.arange(min(count, 160))
    pulses: Array = np.convolve(train, taps)[:count]
    return pulses


def _filtered(source: Array, centres: list[Array], widths: list[Array], rate: int) -> Array:
    """The source through resonators of second order in a row, which change every 5 ms (overlap and add)."""
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
        below = 1 - 2 * radius * turn + radius**2  # a gain of 1 at 0 Hz, as Klatt has it
        frames *= below / (1 - 2 * radius * turn * unit + radius**2 * unit**2)
    pieces = np.fft.irfft(frames, points)
    out = np.zeros(len(padded) + points)
    for start, piece in zip(starts, pieces, strict=True):
        out[start : start + points] += piece
    return out[size : size + len(source)]


def _rng(*parts: object) -> np.random.RandomState:
    """A generator for these words and numbers. RandomState's stream is frozen: it is the same in every NumPy."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))
