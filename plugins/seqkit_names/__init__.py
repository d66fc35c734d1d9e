"""One to many: names of a kind (a language, a people, a style): the task `names`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from seqkit import Count, Size, Task, Text, Tokens
from seqkit_names import sources

__all__ = ["names"]


def names(
    *,
    source: Literal["generated", "languages"] = "generated",
    sizes: tuple[Count, Count, Count] = (6000, 600, 1200),
    data_seed: Size = 1,
    folder: Path | None = None,
    unit: Literal["characters", "bytes"] = "characters",
    lower: bool = False,
    min_count: Count = 1,
) -> Task:
    """What are the names of this language? One step in, many out.

    There is no right answer, so there is none to count: the score is the negative log-likelihood of the held-out names
    in nats a character, each name's end being one. `seqkit generate RUN --prompt Vostian` writes new ones.

    Files are split by place: of each file's names, repeats within it left out, the tenth of every ten is test and the
    ninth is dev.

    Args:
        source: generated, names of made-up languages from grammars of syllables (offline); languages, the surnames of
            18 languages.
        sizes: how many names are generated for train, dev and test.
        data_seed: seed of the generated names, apart from the recipe's seed.
        folder: a folder of your own files, one for each kind of name and called after it (Finnish.txt), one name a
            line; given, it decides instead of source.
        unit: what a step of a name is.
        lower: lower the case of names first.
        min_count: a character seen less often in training is unknown.
    """
    if folder is not None:
        found = sources.folder(folder)
    else:
        found = sources.generated(sizes, data_seed) if source == "generated" else sources.languages()
    return Task(
        read=found.read,
        input=Tokens("words"),
        target=Text(unit, lower=lower, min_count=min_count),
        head="generate",
        best="nats",
        files=found.files,
        parse=_kind,
        about=found.about,
    )


def _kind(line: str) -> list[str]:
    return [line.strip()]
