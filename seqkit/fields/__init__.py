"""Fields: the two sides of an example, to and from numbers. NumPy only; `layer` imports torch when it is called."""

from seqkit.fields.labels import Label, Labels, Next, Tags
from seqkit.fields.numeric import StepValues, Values
from seqkit.fields.scaling import Scaling
from seqkit.fields.tokenizers import Unit
from seqkit.fields.tokens import Text, Tokens
from seqkit.fields.vectors import NextValues, Vectors
from seqkit.fields.words import Words

__all__ = [
    "Label",
    "Labels",
    "Next",
    "NextValues",
    "Scaling",
    "StepValues",
    "Tags",
    "Text",
    "Tokens",
    "Unit",
    "Values",
    "Vectors",
    "Words",
]
