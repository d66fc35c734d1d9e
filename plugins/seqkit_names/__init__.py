"""One step in, many out: names of a kind (a language, a people, a style): the task `names`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from seqkit import Count, Size, Task, Text, Tokens, only_with
from seqkit_names import sources

__all__ = ["names"]


@only_with("sizes", "data_seed", source="generated", folder=None)
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

    There is no single right answer, so the score is the negative log-likelihood of the held-out names in nats per
    character; the end of a name counts as one. `seqkit generate RUN --prompt Vostian` writes new names.

    Files are split by position: after repeats in a file are left out, the tenth of every ten names is test and the
    ninth is dev.

    Args:
        source: generated, names of made-up languages from grammars of syllables (offline); languages, the surnames of
            18 languages.
        sizes: how many names are generated for train, dev and test.
        data_seed: seed of the generated names; the recipe's seed has no part in it.
        folder: a folder of your own files, used instead of source: one for each kind of name and called after it
            (Finnish.txt), one name a line.
        unit: what a step of a name is.
        lower: lower the case of names first.
        min_count: a character seen less often in training is unknown.
    """
    if folder is not None:
        examples = sources.folder(folder)
    else:
        examples = sources.generated(sizes, data_seed) if source == "generated" else sources.languages()
    return Task(
        read=examples.read,
        input=Tokens("words"),
        target=Text(unit, lower=lower, min_count=min_count),
        head="generate",
        best="nats",
        files=examples.files,
        parse=_parse_kind,
        about=examples.about,
        read_file=lambda path, split, labelled: sources.read_other(path, split),
    )


def _parse_kind(line: str) -> list[str]:
    """A line is the kind of name, which is the only step of the input."""
    return [line.strip()]
