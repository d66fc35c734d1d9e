"""Where recordings come from that no file holds: synthesised words, and strings of words made by joining clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar, final

import numpy as np

from seqkit_speech import formants
from seqkit_speech.audio import Samples, Speech
from seqkit_speech.corpus import Recording

SPLITS = ("train", "dev", "test")
T = TypeVar("T")


class Recordings(Protocol):
    """What a task reads: `Corpus`, `Synthesised`, `Joined`."""

    def recordings(self, split: str) -> Sequence[Recording]:
        """Those of "train", "dev" or "test"."""
        ...

    def files(self, split: str) -> list[Path]:
        """All files that they depend on."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Utterance(Speech):
    """One word as the synthesiser's voice says it the `take`-th time."""

    word: str
    voice: int
    take: int

    def samples(self, rate: int) -> Samples:
        return formants.utterance(self.word, self.voice, self.take, rate)


@final
@dataclass(frozen=True, slots=True)
class Chain(Speech):
    """Clips one after the other, with silence of so many seconds between two."""

    clips: tuple[Speech, ...]
    gaps: tuple[float, ...]

    def samples(self, rate: int) -> Samples:
        parts = [self.clips[0].samples(rate)]
        for clip, gap in zip(self.clips[1:], self.gaps, strict=True):
            parts += [np.zeros(round(gap * rate), dtype=np.float32), clip.samples(rate)]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Synthesised:
    """Words of the project's own synthesiser. No voice is in two splits.

    Attributes:
        sizes: how many clips of train, dev and test.
        words: the words wanted; None: all twelve.
    """

    sizes: tuple[int, int, int]
    words: tuple[str, ...] | None = None

    def recordings(self, split: str) -> list[Recording]:
        words, voices = self.words or tuple(formants.WORDS), formants.voices(split)
        found = []
        for number in range(_size(self.sizes, split)):
            # All words by one voice, then by the next one, then all of it again.
            word, turn = words[number % len(words)], number // len(words)
            voice, take = voices[turn % len(voices)], turn // len(voices)
            spoken = Utterance(word, voice, take)
            found.append(
                Recording(spoken, word, f"{split}: {word}, voice {voice}, take {take}", str(voice), take, split)
            )
        return found

    def files(self, split: str) -> list[Path]:
        return []


@dataclass(frozen=True)
class Joined:
    """Strings of words, each made of clips of one speaker (of anybody where speakers are not known).

    A split's strings are made of that split's clips only. What is drawn is a fixed function of the split and `seed`.

    Attributes:
        parts: where the clips come from.
        words: fewest and most of a string.
        sizes: how many strings of train, dev and test.
        gap_ms: least and most silence between two words.
        seed: of the drawing.
    """

    parts: Recordings
    words: tuple[int, int]
    sizes: tuple[int, int, int]
    gap_ms: tuple[float, float]
    seed: int = 0

    def recordings(self, split: str) -> list[Recording]:
        by_speaker: dict[str, list[Recording]] = {}
        for recording in self.parts.recordings(split):
            by_speaker.setdefault(recording.speaker or "", []).append(recording)
        rng = Random(f"strings {self.seed} {split}")
        speakers = sorted(by_speaker)
        found = []
        for number in range(_size(self.sizes, split)):
            speaker = _pick(rng, speakers)
            count = self.words[0] + int(rng.random() * (self.words[1] - self.words[0] + 1))
            parts = [_pick(rng, by_speaker[speaker]) for _ in range(count)]
            low, high = self.gap_ms
            gaps = tuple((low + (high - low) * rng.random()) / 1000 for _ in parts[1:])
            chain = Chain(tuple(part.clip for part in parts), gaps)
            id = f"{split} string {number + 1}: {', '.join(part.id.rpartition('/')[2] for part in parts)}"
            found.append(Recording(chain, " ".join(part.label for part in parts), id, speaker or None, None, split))
        return found

    def files(self, split: str) -> list[Path]:
        return self.parts.files(split)


def _size(sizes: tuple[int, int, int], split: str) -> int:
    return dict(zip(SPLITS, sizes, strict=True))[split]


def _pick(rng: Random, options: Sequence[T]) -> T:
    # Of `rng` only `random()` is used: its numbers never change between Pythons.
    return options[int(rng.random() * len(options))]
