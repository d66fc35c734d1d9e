"""Python's garbage collector while torch is imported. Imports no torch.

Torch makes about 270,000 objects that live as long as the process. The collector goes through all of them again and
again while they are made, at each of its full collections later, and once more when the process ends: a quarter of the
processor time of `import torch`. None of them is ever garbage, so it need not look at them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collections_of_imports() -> Iterator[None]:
    """Within this, nothing is collected; what exists at its end is never looked at again. For imports only.

    Without effect if torch has been imported before, or if the collector is off: the process is then somebody else's
    (a notebook, a test), whose objects should be collected as they were.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
