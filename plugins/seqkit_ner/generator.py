"""Short news from a grammar, for entity tagging that needs no download and that no word list can solve.

Every tag follows from the words, so a perfect score is possible. A model has to learn:

* context on either side, near or far: the same names are persons, places and companies. `Preston , it was said on
  Friday , was flooded` is a place, `... was married` a person, `... was sued` a company, and `shares in Preston` are
  not `rain in Preston`; `May`, `June`, `August` and `April` are months or people;
* spelling: most names are made up of syllables, and most names of the held-out splits occur in no training sentence;
  some have an ending that shows their type;
* extent: `Bank of Preston` is one company, `Preston and Sons` too, `Preston and Lincoln` are two places; a title is not
  part of a name; numbers are dates (`in 1987`) or amounts (`1987 tonnes`);
* that a capital alone says little, because sentences begin with one.

Of `random` only `random()` is used: its numbers are the same in every version of Python.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

Span: TypeAlias = tuple[list[str], str | None]
"""Words, and the type of their entity, or None."""

PERSON, PLACE, COMPANY, DATE = "person", "place", "company", "date"

SHARED = (
    "Adair", "Austin", "Barton", "Bolton", "Burnley", "Carlisle", "Chester", "Clayton", "Durham", "Everett",
    "Fulton", "Grantham", "Hamilton", "Houston", "Jackson", "Kendal", "Lancaster", "Lincoln", "Madison", "Melrose",
    "Newton", "Preston", "Sheldon", "Stafford", "Sutton", "Wells", "Weston", "Whitby", "Winston", "York",
)  # fmt: skip
"""Names of persons, places and companies alike."""
FIRST = (
    "Ada", "April", "August", "Bela", "Carla", "Dmitri", "Elena", "Farid", "Greta", "Hana", "Ivan", "June", "Karim",
    "Lena", "Marta", "May", "Nadia", "Omar", "Petra", "Ravi", "Sofia", "Tomas", "Vera", "Yusuf",
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TITLES = ("Mr", "Mrs", "Dr", "Professor", "Judge", "Captain")
ROLES = ("minister", "spokeswoman", "striker", "novelist", "chemist", "trader", "senator", "engineer")
GOODS = ("wheat", "copper", "cement", "sugar", "steel", "timber", "tin", "coffee")
UNITS = ("tonnes", "barrels", "boxes", "tickets", "jobs", "houses")
SUFFIXES = ("Ltd", "Group", "Holdings", "Steel", "Airways", "Motors", "Foods")

ONSETS = ("b", "br", "c", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "z")
NUCLEI = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
CODAS = ("", "", "l", "m", "n", "nd", "r", "rt", "s", "x")
ENDINGS = {
    PERSON: ("sen", "ov", "escu", "ez", "ski", "man", "ini"),
    PLACE: ("ville", "burg", "stad", "mouth", "field", "grad", "ford"),
    COMPANY: ("co", "tex", "tron", "corp", "dyne", "soft", "bank"),
}

# Inserted between a subject and the predicate that shows its type.
ASIDES = (
    "", "", "", "", ", it was said on <on> ,", ", as everyone had expected since <in> ,", ", according to <titled> ,",
    ", so <company> believes ,", ", to the surprise of <place> ,", ", of all names ,",
)  # fmt: skip

PREDICATES = {
    PERSON: (
        "was married in <place>", "fell ill in <in>", "was born in <place>", "plays the piano", "has two daughters",
        "was elected on <on>", "joined <company>", "read a poem about <place>", "retired in <in>", "beat <person>",
    ),
    PLACE: (
        "was flooded in <in>", "has <amount> inhabitants", "lies near the sea", "is twinned with <place>",
        "voted for <person>", "was without water on <on>", "has a new mayor , <person>", "is known for its harbour",
        "was founded by <person>", "will get a factory of <company>",
    ),
    COMPANY: (
        "was sued by <company>", "cut <amount> jobs in <place>", "was listed in <in>", "bought <company>",
        "makes <goods> in <place>", "will close its plant in <place>", "hired <person>", "sold <amount> <units>",
        "raised its prices on <on>", "has a new chairman , <person>",
    ),
}  # fmt: skip

# Predicates of two subjects of one type; only the predicate shows the type.
PAIRED = {
    PERSON: ("were married in <place>", "met on <on>", "are brothers", "wrote a book about <place>"),
    PLACE: ("were flooded in <in>", "are joined by a bridge", "have <amount> inhabitants each", "are on the coast"),
    COMPANY: ("merged in <in>", "both cut <amount> jobs", "are being sued by <company>", "share a plant in <place>"),
}

# Sentences in which the words before or around an entity show its type.
PATTERNS = (
    "<titled> told reporters in <place> that <company> may close in <in> .",
    "<titled> and <titled> met in <place> on <on> .",
    "the mayor of <place> , <person> , resigned on <on> .",
    "the chairman of <company> , <person> , resigned on <on> .",
    "the sister of <person> , a <role> , died in <in> .",
    "shares in <company> rose by <amount> points on <on> .",
    "rain in <place> fell for <amount> days in <in> .",
    "shares in <company> and <company> fell .",
    "roads in <place> and <place> were closed .",
    "a <role> of <company> said on <on> that prices of <goods> may rise .",
    "trains from <place> to <place> were late on <on> .",
    "loans from <company> to <company> were repaid in <in> .",
    "letters from <person> to <person> were found in <in> .",
    "about <amount> <units> were lost in <place> in <in> .",
    "yesterday <person> beat <person> in <place> .",
    "it may snow in <place> , said <titled> .",
    "in <in> the people of <place> voted for <person> .",
    "on <on> the lawyers of <company> wrote to <person> .",
    "prices of <goods> rose in <in> and fell on <on> .",
)

_HASH_RANGES = (("train", 0, 205), ("dev", 205, 230), ("test", 230, 256))


def sentences(split: str, count: int, *, seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """`count` different sentences of a split ("train", "dev", "test") as (words, IOB2 tags), the same on every run.

    A hash of the words chooses the split, so no sentence is in two splits, whatever the sizes and seeds. A shorter
    split is the beginning of a longer one.
    """
    return islice(_distinct(split, random.Random(f"news {seed} {split}")), count)


def _distinct(split: str, rng: random.Random) -> Iterator[tuple[list[str], list[str]]]:
    seen: set[str] = set()
    while True:
        words, tags = sentence(rng)
        text = " ".join(words)
        if text not in seen and split_of(text) == split:
            seen.add(text)
            yield words, tags


def split_of(text: str) -> str:
    """The split of a text, which depends on the text alone; 80 : 10 : 10."""
    byte = hashlib.blake2b(text.encode("utf-8"), digest_size=1).digest()[0]
    return next(name for name, begin, end in _HASH_RANGES if begin <= byte < end)


def sentence(rng: random.Random) -> tuple[list[str], list[str]]:
    """One sentence: words and IOB2 tags."""
    spans = [span for piece in _pattern(rng).split() for span in _fill(rng, piece)]
    first, kind = spans[0]
    spans[0] = [first[0][:1].upper() + first[0][1:], *first[1:]], kind
    words, tags = [], []
    for names, kind in spans:
        words += names
        tags += ["O"] * len(names) if kind is None else [f"B-{kind}", *[f"I-{kind}"] * (len(names) - 1)]
    return words, tags


def _pattern(rng: random.Random) -> str:
    shape = rng.random()
    if shape < 0.35:
        return _pick(rng, PATTERNS)
    kind = _pick(rng, (PERSON, PLACE, COMPANY))
    if shape < 0.5:
        return f"<bare-{kind}> and <bare-{kind}> {_pick(rng, ASIDES)} {_pick(rng, PAIRED[kind])} ."
    return f"<bare-{kind}> {_pick(rng, ASIDES)} {_pick(rng, PREDICATES[kind])} ."


def _fill(rng: random.Random, piece: str) -> list[Span]:
    """The words for a piece of a pattern: `<slot>` is filled, any other word stays."""
    if not piece.startswith("<"):
        return [([piece], None)]
    spans = SLOTS[piece.strip("<>")](rng)
    return spans if isinstance(spans, list) else [spans]


def _person(rng: random.Random) -> Span:
    """A full name, or an initial before a surname."""
    first = [_pick(rng, FIRST)] if rng.random() < 0.8 else [_pick(rng, "ABCDEGHJKLMNPRST") + "."]
    return [*first, _name(rng, PERSON)], PERSON


def _titled(rng: random.Random) -> list[Span]:
    """A title, which is not part of the name, and a surname."""
    return [([_pick(rng, TITLES)], None), ([_name(rng, PERSON)], PERSON)]


def _place(rng: random.Random) -> Span:
    town, shape = _name(rng, PLACE), rng.random()
    if shape < 0.1:
        return [_pick(rng, ("New", "Port", "North", "East", "Upper")), town], PLACE
    if shape < 0.15:
        return [town, "upon", _made_up(rng)], PLACE
    return [town], PLACE


def _company(rng: random.Random) -> Span:
    name, shape = _name(rng, COMPANY), rng.random()
    if shape < 0.15:
        return [name, _pick(rng, SUFFIXES)], COMPANY
    if shape < 0.25:
        return [name, "and", _pick(rng, ("Sons", "Partners", "Daughters"))], COMPANY
    if shape < 0.4:
        return [_pick(rng, ("Bank", "University", "Port")), "of", _name(rng, PLACE)], COMPANY
    return [name], COMPANY


def _on(rng: random.Random) -> Span:
    """A date as it follows `on`."""
    shape = rng.random()
    if shape < 0.4:
        return [_pick(rng, DAYS)], DATE
    day, month = str(1 + int(rng.random() * 28)), _pick(rng, MONTHS)
    return ([day, month] if shape < 0.7 else [day, month, _year(rng)]), DATE


def _in(rng: random.Random) -> Span:
    """A date as it follows `in`."""
    shape = rng.random()
    if shape < 0.4:
        return [_year(rng)], DATE
    return ([_pick(rng, MONTHS)] if shape < 0.7 else [_pick(rng, MONTHS), _year(rng)]), DATE


def _year(rng: random.Random) -> str:
    return str(1900 + int(rng.random() * 120))


def _amount(rng: random.Random) -> Span:
    """A number that is not a date, but may look like one."""
    return [_year(rng) if rng.random() < 0.5 else str(2 + int(rng.random() * 900))], None


def _name(rng: random.Random, kind: str) -> str:
    """A name: one that is used for all types, or a new one, with or without an ending that shows its type."""
    shape = rng.random()
    if shape < 0.4:
        return _pick(rng, SHARED)
    name = _made_up(rng)
    return name + _pick(rng, ENDINGS[kind]) if shape < 0.65 else name


def _made_up(rng: random.Random) -> str:
    syllables = 1 + int(rng.random() * 2)
    name = "".join(_pick(rng, ONSETS) + _pick(rng, NUCLEI) for _ in range(syllables)) + _pick(rng, CODAS)
    return name.capitalize()


def _pick(rng: random.Random, options: Sequence[str]) -> str:
    return options[int(rng.random() * len(options))]


def _bare(kind: str) -> Callable[[random.Random], Span]:
    """A name alone, which shows no type."""
    return lambda rng: ([_name(rng, kind)], kind)


def _one_of(options: Sequence[str]) -> Callable[[random.Random], Span]:
    return lambda rng: ([_pick(rng, options)], None)


SLOTS: dict[str, Callable[[random.Random], Span | list[Span]]] = {
    "person": _person,
    "titled": _titled,
    "place": _place,
    "company": _company,
    "on": _on,
    "in": _in,
    "amount": _amount,
    "role": _one_of(ROLES),
    "goods": _one_of(GOODS),
    "units": _one_of(UNITS),
    **{f"bare-{kind}": _bare(kind) for kind in (PERSON, PLACE, COMPANY)},
}
