"""minGRU: a gated recurrence whose gates do not depend on the state, so that all steps are computed at once.

L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, Were RNNs All We Needed?, arXiv:2410.01201.
"""

from seqkit_mingru.encoder import MinGRU
from seqkit_mingru.scan import scan

__all__ = ["MinGRU", "scan"]
