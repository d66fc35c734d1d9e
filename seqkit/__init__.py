"""Train recurrent sequence models whose answers do not depend on padding, batch, chunking or restart.

The names below are the public API for plugins, together with `seqkit.readers`, `seqkit.reading`, `seqkit.heads`,
`seqkit.forecasts`, `seqkit.metrics`, `seqkit.nn`, `seqkit.spans` and `seqkit.testing`. They are imported on first use,
so that `import seqkit` is fast and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seqkit import public_api
from seqkit._version import __version__

if TYPE_CHECKING:
    from seqkit.api.model import Model as Model
    from seqkit.api.model import load as load
    from seqkit.api.recipes import check as check
    from seqkit.api.results import Result as Result
    from seqkit.api.training import Run as Run
    from seqkit.api.training import run as run
    from seqkit.errors import DataError as DataError
    from seqkit.errors import Interrupted as Interrupted
    from seqkit.errors import MissingExtra as MissingExtra
    from seqkit.errors import MissingFile as MissingFile
    from seqkit.errors import PluginError as PluginError
    from seqkit.errors import Problem as Problem
    from seqkit.errors import RecipeError as RecipeError
    from seqkit.errors import RunError as RunError
    from seqkit.errors import SeqkitError as SeqkitError
    from seqkit.errors import UsageError as UsageError
    from seqkit.fields import Label as Label
    from seqkit.fields import Labels as Labels
    from seqkit.fields import Next as Next
    from seqkit.fields import NextValues as NextValues
    from seqkit.fields import Scaling as Scaling
    from seqkit.fields import StepValues as StepValues
    from seqkit.fields import Tags as Tags
    from seqkit.fields import Text as Text
    from seqkit.fields import Tokens as Tokens
    from seqkit.fields import Values as Values
    from seqkit.fields import Vectors as Vectors
    from seqkit.fields import Words as Words
    from seqkit.interfaces import Batch as Batch
    from seqkit.interfaces import Encoded as Encoded
    from seqkit.interfaces import Encoder as Encoder
    from seqkit.interfaces import Head as Head
    from seqkit.interfaces import State as State
    from seqkit.interfaces import mask_of as mask_of
    from seqkit.io.download import Dataset as Dataset
    from seqkit.io.download import File as File
    from seqkit.io.download import fetch as fetch
    from seqkit.kernels.ragged import real_steps as real_steps
    from seqkit.option_conditions import GIVEN as GIVEN
    from seqkit.option_conditions import only_with as only_with
    from seqkit.types import JSON as JSON
    from seqkit.types import Choice as Choice
    from seqkit.types import Count as Count
    from seqkit.types import Example as Example
    from seqkit.types import Field as Field
    from seqkit.types import FileReader as FileReader
    from seqkit.types import Flaw as Flaw
    from seqkit.types import Limit as Limit
    from seqkit.types import Metric as Metric
    from seqkit.types import NamedVectors as NamedVectors
    from seqkit.types import NonNegative as NonNegative
    from seqkit.types import Positive as Positive
    from seqkit.types import Prediction as Prediction
    from seqkit.types import Probability as Probability
    from seqkit.types import ScoredExamples as ScoredExamples
    from seqkit.types import Shard as Shard
    from seqkit.types import Share as Share
    from seqkit.types import Size as Size
    from seqkit.types import Task as Task
    from seqkit.types import Truncation as Truncation
    from seqkit.types import WordVectors as WordVectors
    from seqkit.uploads import read_back as read_back
    from seqkit.uploads import upload as upload

_HOME = {name: module for module, names in public_api.HOME_MODULES.items() for name in names}

__all__ = ["__version__", *_HOME]


if not TYPE_CHECKING:  # a type checker knows the names above, and should report every other one

    def __getattr__(name: str) -> Any:
        """A public name, imported from the module that defines it."""
        if name not in _HOME:
            return public_api.deprecated_attribute(__name__, name)
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
