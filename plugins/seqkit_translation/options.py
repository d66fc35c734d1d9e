"""Types of options."""

from __future__ import annotations

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["both", "numbers", "dates"]
ScoreKind: TypeAlias = Literal["text", "translation"]
Unit: TypeAlias = Literal["words", "characters", "bytes", "pieces"]
WordTokenizer: TypeAlias = Literal["marked", "spaces"]
