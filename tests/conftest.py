"""What all tests share."""

from __future__ import annotations

import os

from seqkit.runtime import native_library

# Many tests and their child processes have a cache of their own: the native library is built once for all of them.
os.environ.setdefault("SEQKIT_NATIVE", str(native_library.library_folder()))
