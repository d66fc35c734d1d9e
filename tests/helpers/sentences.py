"""Sentences to fit fields on."""

from __future__ import annotations

UNITS = ["characters", "words", "bytes", "pieces"]
CORPUS = ["the cat sat on the mat .", "the dog sat on the log !", "cats and dogs , and a größeres 映画 🎬"] * 5
