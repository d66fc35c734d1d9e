"""What the names of files say: a pattern with groups for label, speaker, index and split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final, final

from seqkit import UsageError

GROUPS: Final = ("label", "speaker", "index", "split")


@final
@dataclass(frozen=True)
class NamePattern:
    """A regular expression that a file's name matches in full; one with a `/` is tried on its path first.

    Attributes:
        text: the expression.

    Raises:
        UsageError: it is no regular expression, or has other groups than those that are read.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            groups = self._expression.groupindex
        except re.error as error:
            raise UsageError(f"pattern: is not a regular expression: {error}") from None
        unknown = sorted(set(groups) - set(GROUPS))
        if unknown or not groups:
            reason = f"has the group '{unknown[0]}'" if unknown else "has no named group such as (?P<label>[a-z]+)"
            raise UsageError(f"pattern: {reason}; the groups that are read are label, speaker, index and split")

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(self.text)

    @property
    def has_label(self) -> bool:
        """Whether it says what is said in a recording."""
        return "label" in self._expression.groupindex

    def groups(self, path: str) -> dict[str, str | None]:
        """What the path of a file says.

        Args:
            path: with `/`, as it is below the folder, in the archive or in the manifest.

        Raises:
            ValueError: it does not match, or its index is not a number.
        """
        match = self._expression.fullmatch(path) if "/" in self.text else None
        match = match or self._expression.fullmatch(PurePosixPath(path).name)
        if match is None:
            subject = "its path" if "/" in self.text else "its name"
            raise ValueError(f"{subject} does not match the pattern {self.text}")
        groups = match.groupdict()
        index = groups.get("index")
        if index is not None and not (index.isascii() and index.isdigit()):
            raise ValueError(f"its index {index!r} is not a number")
        return groups
