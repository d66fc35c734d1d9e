"""What all tests share."""

from __future__ import annotations

import os

# A core and a thread for each worker, and for what it starts; torch reads it when it starts.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from seqkit.runtime import native_library

# Many tests and their child processes have a cache of their own: the native library is built once for all of them.
os.environ.setdefault("SEQKIT_NATIVE", str(native_library.library_folder()))
