"""seqkit from Python: `load`, `run` and `check`, and what they return. Importing this package imports no torch."""
