"""The garbage collector rests while torch is imported, and works as before afterwards."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, sys
from seqkit.runtime.garbage import no_collections_of_imports

assert "torch" not in sys.modules
gc.collect()
before = gc.get_stats()[2]["collections"]
with no_collections_of_imports():
    import torch
assert gc.get_stats()[2]["collections"] == before, "collected while torch was imported"
assert gc.isenabled()
frozen = gc.get_freeze_count()
assert frozen > 100_000, frozen

class Node:
    pass

import weakref
node = Node()
node.itself = node
gone = weakref.ref(node)
del node
gc.collect()
assert gone() is None, "what is made later is collected"
with no_collections_of_imports():
    assert gc.isenabled(), "torch has been imported before"
assert gc.get_freeze_count() == frozen
"""


def test_nothing_is_collected_during_the_import_and_everything_made_later_is() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


FAILING = """
import gc
from seqkit.runtime.garbage import no_collections_of_imports

try:
    with no_collections_of_imports():
        import no_such_module
except ImportError:
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
gc.disable()
with no_collections_of_imports():
    pass
assert not gc.isenabled(), "it was off"
assert gc.get_freeze_count() == 0
"""


def test_a_failed_import_and_a_collector_that_is_off() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
