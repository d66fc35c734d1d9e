"""Slow twins: the same things again from their definitions, as plain loops, for tests to compare with."""
