"""Audio for tests: small WAV files, and a mark for tests that need the extra `speech`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def _loads(name: str) -> bool:
    """Whether a library is installed and can be imported: torchaudio fails beside a torch that is not its own."""
    return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode == 0


needs_audio = pytest.mark.skipif(not (_loads("torchaudio") and _loads("soundfile")), reason="needs the extra `speech`")


def wav_bytes(samples: np.ndarray, rate: int = 8000) -> bytes:
    """A WAV file of 16 bits, mono."""
    data = np.round(samples * 32767).astype("<i2").tobytes()
    head = b"WAVEfmt " + np.array([16], "<u4").tobytes() + np.array([1, 1], "<u2").tobytes()
    head += np.array([rate, 2 * rate], "<u4").tobytes() + np.array([2, 16], "<u2").tobytes()
    body = head + b"data" + np.array([len(data)], "<u4").tobytes() + data
    return b"RIFF" + np.array([len(body)], "<u4").tobytes() + body


def tone(hertz: float, seconds: float = 0.1, rate: int = 8000) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write_clips(folder: Path, *names: str, seconds: float = 0.1) -> Path:
    """Write a tone to each of these files, each with its own frequency."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav_bytes(tone(300 + 10 * number, seconds)))
    return folder
