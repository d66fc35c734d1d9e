"""Choosing output symbols, by sampling or beam search. It knows nothing of models."""
