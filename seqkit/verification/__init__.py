"""Checks of behaviour: the contracts of `seqkit prove`, and resuming bit for bit."""
