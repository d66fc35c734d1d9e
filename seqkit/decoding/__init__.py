"""Choosing output symbols by sampling or beam search. It needs no model, only its scores."""
