"""Optimisers, learning-rate schedules, and gradients treated as one list of numbers."""
